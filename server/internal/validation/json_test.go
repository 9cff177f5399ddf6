package validation_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/server/internal/validation"
)

func TestDecodeGivesTheValue(t *testing.T) {
	for _, tt := range []struct {
		input string
		want  any
	}{
		{`null`, nil},
		{`true`, true},
		{`false`, false},
		{`""`, ""},
		{`"a\"\\\/\b\f\n\r\t"`, "a\"\\/\b\f\n\r\t"},
		{`"\u00e9\uD83D\uDD11"`, "\u00e9\U0001F511"},
		{"\"\u00e9\U0001F511\"", "\u00e9\U0001F511"},
		{`"\u0000"`, "\x00"},
		{"\"\u2028\"", "\u2028"},
		{`"\uFFFD"`, "\uFFFD"},
		{`14`, int64(14)},
		{`[]`, []any{}},
		{`{}`, map[string]any{}},
		{`[null,[1],{}]`, []any{nil, []any{int64(1)}, map[string]any{}}},
		{`{"a":{"b":[true]},"":1.5}`, map[string]any{"a": map[string]any{"b": []any{true}}, "": 1.5}},
		{`{"a":1,"A":2}`, map[string]any{"a": int64(1), "A": int64(2)}},
		{`[{"a":1},{"a":1}]`, []any{map[string]any{"a": int64(1)}, map[string]any{"a": int64(1)}}},
		{" \t\r\n{ \"a\" : [ 1 , 2 ] } \t\r\n", map[string]any{"a": []any{int64(1), int64(2)}}},
	} {
		if got, err := validation.Decode([]byte(tt.input)); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Decode(%s):\n got %#v, %v\nwant %#v", tt.input, got, err, tt.want)
		}
	}
}

const (
	beyond    = "an integer is beyond ±9007199254740991"
	tooFine   = "a number has more digits than a 64-bit float can hold"
	notJSON   = "it is not valid JSON in UTF-8"
	truncated = "it ends too early"
	repeated  = "a name is repeated in an object"
	more      = "there is more after the value"
)

func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		rule, input, reason string // reason "": any
	}{
		{"nothing", ``, "it is empty"},
		{"only white space", " \n", "it is empty"},
		{"a value cut short", `{`, truncated},
		{"a name without a value", `{"a"`, truncated},
		{"a colon without a value", `{"a":`, truncated},
		{"an array cut short", `[1,`, truncated},
		{"a string cut short", `"abc`, truncated},
		{"a word cut short", `tru`, truncated},
		{"a number cut short", `-`, truncated},
		{"an escape cut short", `"\u12`, truncated},

		{"two values", `1 2`, more},
		{"two objects", `{}{}`, more},
		{"a value and a string", `{} "x"`, more},
		{"a value and a brace", `{}}`, ""},
		{"a value and a comma", `{},`, ""},
		{"a value and a word", `{} x`, ""},
		{"a value and a zero byte", "{}\x00", ""},

		{"a byte order mark", "\xef\xbb\xbf{}", notJSON},
		{"a byte order mark at the end", "{}\xef\xbb\xbf", ""},
		{"UTF-16", "{\x00}\x00", notJSON},
		{"an invalid byte", "\"\xff\"", notJSON},
		{"an overlong sequence", "\"\xc0\xaf\"", notJSON},
		{"a sequence cut short", "\"\xe2\x82\"", notJSON},
		{"a surrogate in UTF-8", "\"\xed\xa0\x80\"", notJSON},
		{"a byte beyond Unicode", "\"\xf4\x90\x80\x80\"", notJSON},
		{"an invalid byte in a name", "{\"\xff\":1}", notJSON},
		{"a lone high surrogate", `"\ud83d"`, notJSON},
		{"a lone low surrogate", `"\udd11"`, notJSON},
		{"surrogates in the wrong order", `"\udd11\ud83d"`, notJSON},
		{"a high surrogate and a letter", `"\ud83dx"`, notJSON},
		{"a lone surrogate in a name", `{"\ud83d":1}`, notJSON},

		{"a repeated name", `{"a":1,"a":1}`, repeated},
		{"a repeated name, once escaped", `{"a":1,"\u0061":2}`, repeated},
		{"a repeated empty name", `{"":1,"":2}`, repeated},
		{"a repeated name further down", `[{"x":{"a":1,"b":2,"a":3}}]`, repeated},

		{"an integer beyond", `9007199254740992`, beyond},
		{"an integer below", `-9007199254740992`, beyond},
		{"an integer beyond 64 bits", `18446744073709551616`, beyond},
		{"an integer beyond, deep", `{"a":[9007199254740992]}`, beyond},

		{"a comma at the end of an array", `[1,]`, notJSON},
		{"a comma at the end of an object", `{"a":1,}`, notJSON},
		{"no comma", `[1 2]`, notJSON},
		{"no colon", `{"a" 1}`, notJSON},
		{"a name that is a number", `{1:1}`, notJSON},
		{"a name without quotes", `{a:1}`, notJSON},
		{"single quotes", `'a'`, notJSON},
		{"a comment", `/* */ {}`, notJSON},
		{"a wrong bracket", `[}`, notJSON},
		{"capitals", `True`, notJSON},
		{"NaN", `NaN`, notJSON},
		{"Infinity", `-Infinity`, notJSON},
		{"a leading zero", `01`, ""},
		{"a plus", `+1`, notJSON},
		{"a point at the start", `.5`, notJSON},
		{"a point at the end", `1.`, truncated},
		{"a point and no digits", `[1.]`, notJSON},
		{"an exponent without digits", `[1e]`, notJSON},
		{"hexadecimal", `0x1`, ""},
		{"an unknown escape", `"\x41"`, notJSON},
		{"a control character", "\"\n\"", notJSON},
	} {
		got, err := validation.Decode([]byte(tt.input))
		var refusal *validation.JSONError
		if !errors.As(err, &refusal) {
			t.Errorf("%s: Decode(%q): got %#v, %v, want a *validation.JSONError", tt.rule, tt.input, got, err)
			continue
		}
		if got != nil {
			t.Errorf("%s: Decode(%q): got %#v beside the error, want nil", tt.rule, tt.input, got)
		}
		if tt.reason != "" && refusal.Reason != tt.reason {
			t.Errorf("%s: Decode(%q): got reason %q, want %q", tt.rule, tt.input, refusal.Reason, tt.reason)
		}
		if refusal.Offset < 0 || refusal.Offset > int64(len(tt.input)) {
			t.Errorf("%s: Decode(%q): got offset %d, want one within the input's %d bytes", tt.rule, tt.input, refusal.Offset, len(tt.input))
		}
	}
}

func TestErrorSaysWhere(t *testing.T) {
	for _, tt := range []struct{ input, want string }{
		{``, "at byte 0: it is empty"},
		{`{} 1`, "at byte 4: there is more after the value"},
		{`[1, 9007199254740992, 2]`, "at byte 20: an integer is beyond ±9007199254740991"},
		{`[0.5,1e-400]`, "at byte 11: a number has more digits than a 64-bit float can hold"},
	} {
		if _, err := validation.Decode([]byte(tt.input)); err == nil || err.Error() != tt.want {
			t.Errorf("Decode(%s): got error %v, want %q", tt.input, err, tt.want)
		}
	}
}

func TestDecodeTakesNumbersByValue(t *testing.T) {
	digits := func(n int) string { return strings.Repeat("0", n) }
	for _, tt := range []struct {
		input  string
		want   any
		reason string
	}{
		{`14`, int64(14), ""},
		{`14.0`, int64(14), ""},
		{`14.000`, int64(14), ""},
		{`1.4e1`, int64(14), ""},
		{`1.4E1`, int64(14), ""},
		{`1.4e+1`, int64(14), ""},
		{`1.4e+0001`, int64(14), ""},
		{`140e-1`, int64(14), ""},
		{`0.14e2`, int64(14), ""},
		{`0.00014e5`, int64(14), ""},
		{`1400000e-5`, int64(14), ""},
		{`-14.0`, int64(-14), ""},
		{`-140e-1`, int64(-14), ""},
		{`0`, int64(0), ""},
		{`-0`, int64(0), ""},
		{`-0.0`, int64(0), ""},
		{`0e5`, int64(0), ""},
		{`0e999999999`, int64(0), ""},
		{`-0e-999999999`, int64(0), ""},
		{`0.0e99999999999999999999`, int64(0), ""},
		{`10`, int64(10), ""},
		{`1e2`, int64(100), ""},
		{`1e15`, int64(1e15), ""},
		{`9007199254740991`, int64(1<<53 - 1), ""},
		{`-9007199254740991`, int64(-(1<<53 - 1)), ""},
		{`9007199254740991.0`, int64(1<<53 - 1), ""},
		{`9.007199254740991e15`, int64(1<<53 - 1), ""},
		{`1` + digits(100) + `e-100`, int64(1), ""},
		{`0.` + digits(99) + `1e100`, int64(1), ""},

		{`9007199254740992`, nil, beyond},
		{`-9007199254740992`, nil, beyond},
		{`9007199254740992.0`, nil, beyond},
		{`9.007199254740992e15`, nil, beyond},
		{`9999999999999999`, nil, beyond},
		{`1e16`, nil, beyond},
		{`1e17`, nil, beyond},
		{`1e308`, nil, beyond},
		{`1e400`, nil, beyond},
		{`-1e400`, nil, beyond},
		{`1e999999999`, nil, beyond},
		{`1e2147483647`, nil, beyond},
		{`1e2147483648`, nil, beyond},
		{`1e9223372036854775807`, nil, beyond},
		{`1e99999999999999999999`, nil, beyond},
		{`1e+99999999999999999999`, nil, beyond},
		{`1.5e99999999999999999999`, nil, beyond},
		{`-1.5e99999999999999999999`, nil, beyond},

		{`0.1`, 0.1, ""},
		{`1.5`, 1.5, ""},
		{`-1.5`, -1.5, ""},
		{`15e-1`, 1.5, ""},
		{`1.50`, 1.5, ""},
		{`1e-7`, 1e-7, ""},
		{`365.0000000001`, 365.0000000001, ""},
		{`2.2250738585072014e-308`, 2.2250738585072014e-308, ""},
		{`5e-324`, math.SmallestNonzeroFloat64, ""},
		{`4503599627370495.5`, 4503599627370495.5, ""},

		{`14.0000000000000000000001`, nil, tooFine},
		{`13.9999999999999999999999`, nil, tooFine},
		{`-0.99999999999999999999999`, nil, tooFine},
		{`9007199254740991.5`, nil, tooFine},
		{`4503599627370496.5`, nil, tooFine},
		{`123456789012345678901234567890.5`, nil, tooFine},
		{`1e-400`, nil, tooFine},
		{`-1e-400`, nil, tooFine},
		{`1e-324`, nil, tooFine},
		{`1e-999999999`, nil, tooFine},
		{`1e-9223372036854775808`, nil, tooFine},
		{`1e-99999999999999999999`, nil, tooFine},
		{`1.5e-99999999999999999999`, nil, tooFine},
		{`1` + digits(400) + `.5`, nil, "a number is out of range"},
	} {
		got, err := validation.Decode([]byte(tt.input))
		if tt.reason != "" {
			var refusal *validation.JSONError
			if !errors.As(err, &refusal) || refusal.Reason != tt.reason {
				t.Errorf("Decode(%s): got %#v, %v, want a refusal with reason %q", abridged(tt.input), got, err, tt.reason)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("Decode(%s): got %T %v, error %v, want %T %v", abridged(tt.input), got, got, err, tt.want, tt.want)
		}
		if f, ok := got.(float64); ok && f == math.Trunc(f) {
			t.Errorf("Decode(%s): got the float64 %v, want an int64 for an integer", abridged(tt.input), f)
		}
	}
}

func abridged(text string) string {
	if len(text) > 60 {
		return fmt.Sprintf("%s…%s (%d bytes)", text[:30], text[len(text)-20:], len(text))
	}
	return text
}

// Every spelling of one integer is one value, whatever the spelling.
func TestDecodeTakesEverySpellingOfAnIntegerAlike(t *testing.T) {
	for _, n := range []int64{1, 14, 365, 1000, 123456789, 1<<53 - 1} {
		text := fmt.Sprint(n)
		for shift := range 40 {
			fraction := text
			if len(fraction) <= shift {
				fraction = strings.Repeat("0", shift-len(fraction)+1) + fraction
			}
			at := len(fraction) - shift
			spellings := []string{fmt.Sprintf("%s%se-%d", text, strings.Repeat("0", shift), shift)}
			if shift > 0 {
				spellings = append(spellings, fmt.Sprintf("%s.%se%d", fraction[:at], fraction[at:], shift))
			}
			for _, spelling := range spellings {
				for sign, want := range map[string]int64{"": n, "-": -n} {
					if got, err := validation.Decode([]byte(sign + spelling)); err != nil || got != want {
						t.Errorf("Decode(%s%s): got %#v, %v, want %d", sign, spelling, got, err, want)
					}
				}
			}
		}
	}
}

func TestDecodeTakesLongNumbersInBoundedTime(t *testing.T) {
	const million = 1_000_000
	zeros, nines := strings.Repeat("0", million), strings.Repeat("9", million)
	for _, tt := range []struct {
		name, input string
		want        any // nil: refused
	}{
		{"an integer", "1" + zeros, nil},
		{"an integer of nines", nines, nil},
		{"an integer brought back by its exponent", "14" + zeros + "e-1000000", int64(14)},
		{"zeros after the point", "14." + zeros, int64(14)},
		{"zeros and a one after the point", "14." + zeros + "1", nil},
		{"nines after the point", "0." + nines, nil},
		{"a fraction of nines", "0.1" + nines, 0.2},
		{"a small number", "0." + zeros + "1", nil},
		{"a small number brought back by its exponent", "0." + zeros + "14e1000002", int64(14)},
		{"an exponent of zeros", "14e" + zeros, int64(14)},
		{"an exponent of nines", "14e" + nines, nil},
		{"a negative exponent of nines", "14e-" + nines, nil},
		{"zero with an exponent of nines", "0e" + nines, int64(0)},
	} {
		start := time.Now()
		got, err := validation.Decode([]byte(tt.input))
		const limit = 5 * time.Second // some milliseconds are usual
		if took := time.Since(start); took > limit {
			t.Errorf("%s: Decode took %v, want at most %v", tt.name, took, limit)
		}
		if tt.want == nil {
			var refusal *validation.JSONError
			if !errors.As(err, &refusal) {
				t.Errorf("%s: got %v, %v, want a *validation.JSONError", tt.name, got, err)
			}
		} else if err != nil || got != tt.want {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestDecodeBoundsNesting(t *testing.T) {
	arrays := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for _, tt := range []struct {
		name, input string
		accepted    bool
	}{
		{"9,999 arrays", arrays(9_999), true},
		{"10,000 arrays", arrays(10_000), true},
		{"10,001 arrays", arrays(10_001), false},
		{"9,999 objects", objects(9_999), true},
		{"10,000 objects", objects(10_000), true},
		{"10,001 objects", objects(10_001), false},
		{"a million arrays begun", strings.Repeat("[", 1_000_000), false},
		{"100,000 arrays side by side", "[" + strings.Repeat("[],", 99_999) + "[]]", true},
	} {
		_, err := validation.Decode([]byte(tt.input))
		if got := err == nil; got != tt.accepted {
			t.Errorf("%s: accepted: got %v (%v), want %v", tt.name, got, err, tt.accepted)
		}
	}
}

func TestErrorsNeverQuoteTheInput(t *testing.T) {
	const marker, number = "MARKERmarker", "777000777"
	for _, input := range []string{
		marker,
		`"` + marker,
		`"` + marker + "\xff\"",
		`"` + marker + `\ud83d"`,
		`"\` + marker + `"`,
		`"` + marker + "\n\"",
		`{"` + marker + `":1,"` + marker + `":2}`,
		`{"` + marker + `":{"` + marker + `":` + marker + `}}`,
		`{"` + marker + `" 1}`,
		`{"` + marker + `":1,}`,
		`{"` + marker + `":` + number + number + number + `}`,
		`["` + marker + `"` + number + `]`,
		`"` + marker + `" ` + number,
		`"` + marker + `" "` + marker + `"`,
		`"` + marker + `" ` + marker,
		number + number + number,
		number + ".000000000000" + number,
		number + "e" + number,
		number + "e-" + number,
		"0" + number,
		strings.Repeat(`{"`+marker+`":`, 10_001),
	} {
		_, err := validation.Decode([]byte(input))
		if err == nil {
			t.Errorf("Decode(%s): got no error, want one", abridged(input))
			continue
		}
		for verb, text := range map[string]string{"%v": err.Error(), "%+v": fmt.Sprintf("%+v", err), "%#v": fmt.Sprintf("%#v", err)} {
			if strings.Contains(text, marker) || strings.Contains(text, number) {
				t.Errorf("Decode(%s): the error under %s quotes the input: %s", abridged(input), verb, text)
			}
		}
		if errors.Unwrap(err) != nil {
			t.Errorf("Decode(%s): the error wraps %v, want no error that might quote the input", abridged(input), errors.Unwrap(err))
		}
	}
}

func TestDecodeDoesNotShareTheInput(t *testing.T) {
	input := []byte(`{"name":"value"}`)
	got, err := validation.Decode(input)
	if err != nil {
		t.Fatal(err)
	}
	for i := range input {
		input[i] = 'X'
	}
	if want := map[string]any{"name": "value"}; !reflect.DeepEqual(got, want) {
		t.Errorf("after its input was overwritten: got %v, want %v", got, want)
	}
}

// seeds are the names of the inputs in testdata/fuzz/FuzzDecode.
var seeds = []string{
	"array", "bom", "create", "depth", "empty", "escaped-repeat", "exponent-beyond", "exponent-zero", "fraction-integral",
	"fraction-tiny", "integer-beyond", "integer-max", "invalid-utf8", "lone-surrogate", "pair", "repeat", "two-values", "underflow",
}

func TestFuzzSeedsExist(t *testing.T) {
	for _, name := range seeds {
		data, err := os.ReadFile(filepath.Join("testdata", "fuzz", "FuzzDecode", name))
		if err != nil {
			t.Errorf("seed %s: %v", name, err)
		} else if !strings.HasPrefix(string(data), "go test fuzz v1\n[]byte(") {
			t.Errorf("seed %s: got %q, want the form of a Go fuzz input", name, data)
		}
	}
	files, err := os.ReadDir(filepath.Join("testdata", "fuzz", "FuzzDecode"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(files), len(seeds); got < want {
		t.Errorf("files in testdata/fuzz/FuzzDecode: got %d, want at least %d", got, want)
	}
}
