package differential

import (
	"math/big"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	n := func(i int64) number { return number{integer: big.NewInt(i)} }
	type list = []any
	type object = map[string]any
	for _, test := range []struct {
		text   string
		want   any
		hazard hazard // "": none
	}{
		{`null`, nil, ""}, {" true\t", true, ""}, {"\r\nfalse", false, ""}, {`""`, "", ""}, {`[]`, list{}, ""}, {`{}`, object{}, ""},
		{`[1, -2 ,[ ]]`, list{n(1), n(-2), list{}}, ""}, {`{"a":{"b":null},"c":""}`, object{"a": object{"b": nil}, "c": ""}, ""},
		{`"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\uDE00é€😀"`, "\"\\/\b\f\n\r\tAé€😀é€😀", ""}, {`"\u0000\u007f"`, "\x00\x7f", ""}, {`"\ufffd"`, "\ufffd", ""},
		{`0`, n(0), ""}, {`-0`, n(0), ""}, {`14.0`, n(14), ""}, {`1.4e1`, n(14), ""}, {`140E-1`, n(14), ""}, {`0e999999999`, n(0), ""}, {`0.00e-5`, n(0), ""},
		{`9007199254740991`, n(1<<53 - 1), ""}, {`900719925474099100e-2`, n(1<<53 - 1), ""}, {`-9007199254740991`, n(-(1<<53 - 1)), ""},
		{`1.5`, number{fraction: 1.5}, ""}, {`-15e-1`, number{fraction: -1.5}, ""}, {`5e-324`, number{fraction: 5e-324}, ""},
		{``, nil, emptyBody}, {"\ufeff1", nil, byteOrderMark}, {"\"\xff\"", nil, invalidUTF8}, {"\"\xed\xa0\x80\"", nil, invalidUTF8}, {"\"\xc0\x80\"", nil, invalidUTF8},
		{`"\ud83d"`, nil, loneSurrogate}, {`"\ude00"`, nil, loneSurrogate}, {`"\ud83d\ud83d\ude00"`, nil, loneSurrogate}, {`"\ud83d\n"`, nil, loneSurrogate},
		{`{"a":1,"a":1}`, nil, repeatedName}, {`{"a":1,"\u0061":2}`, nil, repeatedName}, {`[{"a":{"b":1,"b":1}}]`, nil, repeatedName},
		{`9007199254740992`, nil, largeInteger}, {`-9007199254740992.0`, nil, largeInteger}, {`1e400`, nil, largeInteger}, {`1e999999999999999999999`, nil, largeInteger},
		{"1" + strings.Repeat("0", 400) + ".5", nil, outOfRange},
		{`14.0000000000000000000001`, nil, nearInteger}, {`9007199254740992.5`, nil, nearInteger}, {`1e-400`, nil, nearInteger}, {`1e-99999999999999999999`, nil, nearInteger},
		{strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001), nil, tooDeep}, {strings.Repeat("[", 1<<20), nil, tooDeep},
	} {
		got, hazards, err := parse([]byte(test.text))
		short := test.text[:min(len(test.text), 60)]
		if err != nil || (test.hazard == "") != (len(hazards) == 0) || test.hazard != "" && !hazards[test.hazard] {
			t.Errorf("parse(%q): got %v, hazards %v, %v; want hazard %q", short, got, hazards, err, test.hazard)
		} else if test.hazard == "" && !reflect.DeepEqual(got, test.want) && !sameZero(got, test.want) {
			t.Errorf("parse(%q): got %#v, want %#v", short, got, test.want)
		}
	}
	if _, hazards, err := parse([]byte(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))); err != nil || len(hazards) > 0 {
		t.Errorf("10,000 levels: got %v, %v; want a value", hazards, err)
	}
	for _, text := range []string{
		" ", "nul", "nulll", "True", "tru", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1.e1", "0x1", "1_0", "NaN", "Infinity", "1 1", "1,", "[1,]", "[,1]", "[1 2]", "[", "]",
		`{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1 "b":2}`, `"`, `"a`, `"\"`, `"\x41"`, `"\u12g4"`, "\"\\u12\x154\"", `"\u123"`, "\"\n\"", "\"\x00\"", `'a'`,
		"\x00", "\v1", "1\f", "\u00a01", "1/**/", "1\x00", "{}{}", "null null", "\ufeff", "\xef\xbb1",
	} {
		if got, hazards, err := parse([]byte(text)); err == nil {
			t.Errorf("parse(%q): got %#v, hazards %v; want an error", text, got, hazards)
		}
	}
}

// sameZero reports whether both are zero, for which big.Int has two forms.
func sameZero(got, want any) bool {
	a, ok := got.(number)
	b, ok2 := want.(number)
	return ok && ok2 && a.integer != nil && b.integer != nil && a.integer.Cmp(b.integer) == 0
}
