package validation_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/server/internal/validation"
)

func TestUnknown(t *testing.T) {
	const properties = `"properties":{"a":{"type":"integer"},"o":{"type":"object","properties":{"b":{}}},"l":{"type":"array","items":{"type":"object","properties":{"c":{}}}}}`
	for _, test := range []struct{ schema, body, want string }{
		{`{` + properties + `}`, `{"a":1,"b":2,"o":{"b":1,"a":1},"l":[{"c":1},{"d":1},[{"d":1}],1]}`, "b l.1.d o.a"},
		{`{` + properties + `}`, `{"a":{"x":1},"o":[{"x":1}],"l":{"x":1}}`, ""},
		{`{` + properties + `}`, `[{"x":1}]`, ""},
		{`{}`, `{"x":1}`, ""},
		{`{"type":"object"}`, `{"x":{"y":1}}`, ""},
		{`{` + properties + `,"additionalProperties":true}`, `{"x":1,"o":{"x":1}}`, "o.x"},
		{`{` + properties + `,"additionalProperties":false}`, `{"x":1,"o":{"x":1}}`, "o.x"},
		{`{` + properties + `,"additionalProperties":{"properties":{"y":{}}}}`, `{"x":{"y":1,"z":1}}`, "x.z"},
		{`{"additionalProperties":{"properties":{"y":{}}}}`, `{"x":{"y":1,"z":1}}`, "x.z"},
		{`{` + properties + `,"patternProperties":{"^x":{}}}`, `{"x":1,"y":1}`, ""},
		{`{` + properties + `,"unevaluatedProperties":false}`, `{"x":1}`, ""},
		{`{"allOf":[{"properties":{"a":{"properties":{"b":{}}}}},{"properties":{"a":{"properties":{"c":{}}},"d":{}}}]}`, `{"a":{"b":1,"c":1,"e":1},"d":1,"e":1}`, "a.e e"},
		{`{"properties":{"a":{}},"oneOf":[{"properties":{"b":{}}},{"anyOf":[{"properties":{"c":{}}}]}]}`, `{"a":1,"b":1,"c":1,"d":1}`, "d"},
		{`{"properties":{"a":{}},"if":{"properties":{"b":{}}},"then":{"properties":{"c":{}}},"else":{"properties":{"d":{}}}}`, `{"a":1,"b":1,"c":1,"d":1,"e":1}`, "e"},
		{`{"properties":{"a":{}},"dependentSchemas":{"a":{"properties":{"b":{}}}}}`, `{"a":1,"b":1,"c":1}`, "c"},
		{`{"$ref":"#/components/schemas/Tree"}`, `{"children":[{"children":[{"x":1}]}]}`, ""},
		{`{"properties":{"t":{"anyOf":[{"type":"null"},{"properties":{"t":{"$ref":"#/components/schemas/T"}}}]}}}`, `{"t":{"t":{"t":{"x":1}}}}`, "t.t.t.x"},
	} {
		value, err := validation.Decode([]byte(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(compile(t, test.schema).Unknown(value), " "); got != test.want {
			t.Errorf("%s with %s: got %q, want %q", test.schema, test.body, got, test.want)
		}
	}
}

// The names of a body are bounded, however deep its fields are, and so is the time for them.
func TestUnknownNamesAreBounded(t *testing.T) {
	schema := compile(t, `{"properties":{"t":{"$ref":"#/components/schemas/T"}}}`)
	const depth = 4_000
	body := strings.Repeat(`{"t":`, depth) + `{"` + strings.Repeat("x", 500_000) + `":1,"y":1}` + strings.Repeat("}", depth)
	value, err := validation.Decode([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	allocated := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			schema.Unknown(value)
		}
	}).AllocedBytesPerOp()
	if allocated > depth*100 {
		t.Errorf("%d levels allocated %d bytes, want at most %d", depth, allocated, depth*100)
	}
	if got, want := schema.Unknown(value), []string{strings.Repeat("t.", 30) + "t…"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
