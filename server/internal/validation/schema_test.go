package validation_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers/server/internal/validation"
)

// document returns an OpenAPI 3.1 document whose component T is the schema,
// beside the components Name, Maybe (a string or null) and Tree, which is recursive.
func document(t testing.TB, text string) *openapi3.T {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData([]byte(documentText(text)))
	if err != nil {
		t.Fatalf("schema %s: %v", text, err)
	}
	return doc
}

func documentText(text string) string {
	return `{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{},"components":{"schemas":{
		"Maybe": {"type":["string","null"]},
		"Name": {"type":"string","pattern":"^[a-z]{0,4}$","minLength":1},
		"Tree": {"type":"object","required":["name"],"additionalProperties":false,"properties":{
			"name":{"$ref":"#/components/schemas/Name"},
			"children":{"type":"array","maxItems":3,"items":{"$ref":"#/components/schemas/Tree"}}}},
		"T": ` + text + `}}}`
}

func compile(t testing.TB, text string) *validation.Schema {
	t.Helper()
	doc := document(t, text)
	compiler, err := validation.NewCompiler(doc)
	if err != nil {
		t.Fatalf("schema %s: NewCompiler: %v", text, err)
	}
	compiled, err := compiler.Compile(doc.Components.Schemas["T"])
	if err != nil {
		t.Fatalf("schema %s: Compile: %v", text, err)
	}
	return compiled
}

func decode(t testing.TB, text string) any {
	t.Helper()
	value, err := validation.Decode([]byte(text))
	if err != nil {
		t.Fatalf("value %s: %v", text, err)
	}
	return value
}

func sorted(violations []validation.Violation) []validation.Violation {
	return slices.SortedFunc(slices.Values(violations), func(a, b validation.Violation) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Why, b.Why))
	})
}

const createBody = `{"type":"object","required":["name","duration"],"properties":{
	"name":{"type":"string","pattern":"^[a-z0-9]{0,16}$"},
	"duration":{"type":"integer","minimum":-1,"maximum":365},
	"read_only":{"type":"boolean","default":false},
	"secret":{"type":"string","format":"password","default":""}}}`

type checks []struct {
	value string
	want  []validation.Violation // nil: valid
}

func one(field, why string) []validation.Violation {
	return []validation.Violation{{Field: field, Why: why}}
}

func TestCheckNamesFieldAndRule(t *testing.T) {
	for _, tt := range []struct {
		name, schema string
		checks       checks
	}{
		{"create body", createBody, checks{
			{`{"name":"user1","duration":14}`, nil},
			{`{"name":"","duration":-1,"read_only":true,"secret":"s"}`, nil},
			{`{"name":"abcdefghijklmnop","duration":365,"other":[1]}`, nil},
			{`{"name":"a","duration":0}`, nil},
			{`{"name":"a","duration":1.4e1}`, nil},
			{`{}`, []validation.Violation{{Field: "duration", Why: "is required"}, {Field: "name", Why: "is required"}}},
			{`{"name":"a"}`, one("duration", "is required")},
			{`{"Name":"a","duration":1}`, one("name", "is required")},
			{`{"name":"User","duration":1}`, one("name", "must match ^[a-z0-9]{0,16}$")},
			{`{"name":"abcdefghijklmnopq","duration":1}`, one("name", "must match ^[a-z0-9]{0,16}$")},
			{`{"name":"user\n","duration":1}`, one("name", "must match ^[a-z0-9]{0,16}$")},
			{`{"name":"\nuser","duration":1}`, one("name", "must match ^[a-z0-9]{0,16}$")},
			{`{"name":null,"duration":1}`, one("name", "must be of type string")},
			{`{"name":1,"duration":1}`, one("name", "must be of type string")},
			{`{"name":"a","duration":-2}`, one("duration", "must be at least -1")},
			{`{"name":"a","duration":366}`, one("duration", "must be at most 365")},
			{`{"name":"a","duration":1.5}`, one("duration", "must be of type integer")},
			{`{"name":"a","duration":"14"}`, one("duration", "must be of type integer")},
			{`{"name":"a","duration":null}`, one("duration", "must be of type integer")},
			{`{"name":"a","duration":true}`, one("duration", "must be of type integer")},
			{`{"name":"a","duration":1,"read_only":"true"}`, one("read_only", "must be of type boolean")},
			{`{"name":"a","duration":1,"read_only":null}`, one("read_only", "must be of type boolean")},
			{`{"name":"a","duration":1,"secret":null}`, one("secret", "must be of type string")},
			{`{"name":"A","duration":366,"secret":1}`, []validation.Violation{
				{Field: "duration", Why: "must be at most 365"}, {Field: "name", Why: "must match ^[a-z0-9]{0,16}$"}, {Field: "secret", Why: "must be of type string"}}},
			{`null`, one("", "must be of type object")},
			{`[]`, one("", "must be of type object")},
			{`"x"`, one("", "must be of type object")},
			{`14`, one("", "must be of type object")},
			{`true`, one("", "must be of type object")},
		}},
		{"nested", `{"type":"object","required":["users"],"properties":{"users":{"type":"array","maxItems":3,"items":` + createBody + `},
			"owner":{"type":"object","properties":{"name":{"$ref":"#/components/schemas/Name"}}}}}`, checks{
			{`{"users":[]}`, nil},
			{`{"users":[{"name":"a","duration":1}],"owner":{"name":"abcd"}}`, nil},
			{`{"users":[{"name":"a","duration":1},{"name":"A","duration":1}]}`, one("users.1.name", "must match ^[a-z0-9]{0,16}$")},
			{`{"users":[{"name":"a"},{"duration":1}]}`, []validation.Violation{{Field: "users.0.duration", Why: "is required"}, {Field: "users.1.name", Why: "is required"}}},
			{`{"users":[null]}`, one("users.0", "must be of type object")},
			{`{"users":{}}`, one("users", "must be of type array")},
			{`{"users":[],"owner":{"name":""}}`, one("owner.name", "must have at least 1 character")},
			{`{"users":[],"owner":{"name":"abcde"}}`, one("owner.name", "must match ^[a-z]{0,4}$")},
		}},
		{"recursive", `{"$ref":"#/components/schemas/Tree"}`, checks{
			{`{"name":"a","children":[{"name":"b","children":[]}]}`, nil},
			{`{"name":"a","children":[{"name":"b"},{"name":"c","children":[{"name":"D"}]}]}`, one("children.1.children.0.name", "must match ^[a-z]{0,4}$")},
			{`{"name":"a","children":[{"nome":"b"}]}`, []validation.Violation{{Field: "children.0", Why: "has a field that is not allowed"}, {Field: "children.0.name", Why: "is required"}}},
		}},
		{"no other fields", `{"type":"object","additionalProperties":false,"properties":{"a":{"type":"integer"},
			"b":{"type":"object","additionalProperties":false}}}`, checks{
			{`{"a":1,"b":{}}`, nil},
			{`{"c":1}`, one("", "has a field that is not allowed")},
			{`{"A":1}`, one("", "has a field that is not allowed")},
			{`{"c":1,"d":2,"e":3}`, one("", "has a field that is not allowed")},
			{`{"b":{"c":1}}`, one("b", "has a field that is not allowed")},
			{`{"b":{"c":1,"d":1}}`, one("b", "has a field that is not allowed")},
		}},
		{"fields of any name", `{"type":"object","properties":{
			"labels":{"type":"object","maxProperties":2,"additionalProperties":{"type":"string","maxLength":3}},
			"hosts":{"type":"object","additionalProperties":{"type":"object","required":["port"],"properties":{"port":{"type":"integer","minimum":1}}}}}}`, checks{
			{`{"labels":{"a":"abc","b":"\ud834\udd1e\ud834\udd1e\ud834\udd1e"}}`, nil},
			{`{"labels":{"a":"abcd"}}`, one("labels.*", "must have at most 3 characters")},
			{`{"labels":{"a":1}}`, one("labels.*", "must be of type string")},
			{`{"labels":{"a":null}}`, one("labels.*", "must be of type string")},
			{`{"labels":{"a":"","b":"","c":""}}`, one("labels", "must have at most 2 fields")},
			{`{"hosts":{"h":{"port":0}}}`, one("hosts.*.port", "must be at least 1")},
			{`{"hosts":{"h":{}}}`, one("hosts.*.port", "is required")},
			{`{"hosts":{"0":{"port":"x"}}}`, one("hosts.*.port", "must be of type integer")},
		}},
		{"strings", `{"type":"object","properties":{
			"length":{"type":"string","minLength":2,"maxLength":3},
			"enum":{"type":"string","enum":["pull","push"]},
			"time":{"type":"string","format":"date-time"},
			"date":{"type":"string","format":"date"},
			"uuid":{"type":"string","format":"uuid"},
			"class":{"type":"string","pattern":"[a-z]"},
			"null":{"type":["null","string"],"minLength":2}}}`, checks{
			{`{"length":"ab","enum":"pull","time":"2024-06-18T09:36:53.335Z","date":"2024-02-29","uuid":"any","null":null}`, nil},
			{`{"length":"a"}`, one("length", "must have at least 2 characters")},
			{`{"length":"abcd"}`, one("length", "must have at most 3 characters")},
			{`{"length":"\ud834\udd1e"}`, one("length", "must have at least 2 characters")},
			{`{"enum":"Pull"}`, one("enum", "must be one of pull push")},
			{`{"class":"A"}`, one("class", "must match [a-z]")},
			{`{"time":"yesterday"}`, one("time", "must be a date-time")},
			{`{"time":"2023-02-29T00:00:00Z"}`, one("time", "must be a date-time")},
			{`{"date":"2023-02-29"}`, one("date", "must be a date")},
			{`{"null":"a"}`, one("null", "must have at least 2 characters")},
			{`{"null":1}`, one("null", "must be of type null or string")},
		}},
		{"numbers", `{"type":"object","properties":{
			"bounds":{"type":"number","minimum":0.5,"maximum":1.5},
			"exclusive":{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1},
			"large":{"type":"integer","maximum":1000000}}}`, checks{
			{`{"bounds":0.5,"exclusive":0.5,"large":1000000}`, nil},
			{`{"bounds":1.5,"exclusive":1e-7,"large":-1}`, nil},
			{`{"bounds":0.25}`, one("bounds", "must be at least 0.5")},
			{`{"bounds":2}`, one("bounds", "must be at most 1.5")},
			{`{"exclusive":0}`, one("exclusive", "must be greater than 0")},
			{`{"exclusive":1}`, one("exclusive", "must be less than 1")},
			{`{"large":1000001}`, one("large", "must be at most 1000000")},
		}},
		{"arrays", `{"type":"array","minItems":1,"maxItems":2,"items":{"type":"array","items":{"type":"integer"}}}`, checks{
			{`[[]]`, nil},
			{`[[1],[2,3]]`, nil},
			{`[]`, one("", "must have at least 1 item")},
			{`[[],[],[]]`, one("", "must have at most 2 items")},
			{`[[],[1,"x"]]`, one("1.1", "must be of type integer")},
		}},
		{"all of", `{"type":"object","properties":{"both":{"allOf":[
				{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":1}}},
				{"type":"object","properties":{"a":{"type":"integer","minimum":5,"maximum":9},"b":{"type":"string","maxLength":2}}}]},
			"text":{"allOf":[{"type":"string","minLength":2},{"type":"string","pattern":"^a"}]}}}`, checks{
			{`{"both":{"a":5,"b":"x"},"text":"ab"}`, nil},
			{`{"both":{}}`, one("both.a", "is required")},
			{`{"both":{"a":10}}`, one("both.a", "must be at most 9")},
			{`{"both":{"a":3}}`, one("both.a", "must be at least 5")},
			{`{"both":{"a":0}}`, []validation.Violation{{Field: "both.a", Why: "must be at least 1"}, {Field: "both.a", Why: "must be at least 5"}}},
			{`{"both":{"a":5,"b":"xyz"}}`, one("both.b", "must have at most 2 characters")},
			{`{"text":"a"}`, one("text", "must have at least 2 characters")},
			{`{"text":"ba"}`, one("text", "must match ^a")},
		}},
	} {
		for validator, compiled := range map[string]*validation.Schema{"engine": compile(t, tt.schema)} {
			for _, check := range tt.checks {
				t.Run(tt.name+"/"+validator+"/"+check.value, func(t *testing.T) {
					value := decode(t, check.value)
					got := sorted(compiled.Check(value))
					if !slices.Equal(got, sorted(check.want)) {
						t.Errorf("Check(%s):\n got %q\nwant %q", check.value, got, check.want)
					}
					if again := decode(t, check.value); !reflect.DeepEqual(value, again) {
						t.Errorf("Check(%s) changed the value to %v", check.value, value)
					}
				})
			}
		}
	}
}

func TestCheckKnowsTheKeywordsOfJSONSchema2020(t *testing.T) {
	for _, tt := range []struct {
		name, schema string
		checks       checks
	}{
		{"const", `{"type":"object","properties":{"kind":{"const":"user"}}}`, checks{
			{`{"kind":"user"}`, nil},
			{`{"kind":"team"}`, one("kind", `must be "user"`)},
		}},
		{"any of", `{"type":"object","properties":{"id":{"anyOf":[{"type":"integer","minimum":1},{"type":"string","minLength":3}]}}}`, checks{
			{`{"id":1}`, nil},
			{`{"id":"abc"}`, nil},
			{`{"id":0}`, one("id", "must match at least one of the allowed schemas")},
			{`{"id":"ab"}`, one("id", "must match at least one of the allowed schemas")},
		}},
		{"one of", `{"oneOf":[{"type":"integer"},{"type":"number","minimum":5}]}`, checks{
			{`1`, nil},
			{`5.5`, nil},
			{`6`, one("", "must match exactly one of the allowed schemas")},
			{`null`, one("", "must match exactly one of the allowed schemas")},
		}},
		{"not", `{"type":"string","not":{"pattern":"^a"}}`, checks{
			{`"b"`, nil},
			{`"a"`, one("", "must satisfy schema")},
		}},
		{"tuple", `{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":{"type":"boolean"}}`, checks{
			{`["a",1,true]`, nil},
			{`["a",1,1]`, one("2", "must be of type boolean")},
		}},
		{"multiple", `{"type":"object","properties":{"n":{"type":"number","multipleOf":0.1}}}`, checks{
			{`{"n":0.3}`, nil},
			{`{"n":0.35}`, one("n", "must be a multiple of 0.1")},
		}},
		{"unique", `{"type":"array","uniqueItems":true}`, checks{
			{`[1,"1"]`, nil},
			{`[1,1.0]`, one("", "must have no two equal items")},
		}},
		{"any type", `{"type":"object","required":["v"],"properties":{"v":{"description":"anything"}}}`, checks{
			{`{"v":null}`, nil},
			{`{"v":[1]}`, nil},
			{`{}`, one("v", "is required")},
		}},
		{"numbers in an enum", `{"type":"integer","enum":[1,2]}`, checks{
			{`2.0`, nil},
			{`3`, one("", "must be one of 1 2")},
		}},
		{"dependent", `{"type":"object","dependentRequired":{"a":["b"]}}`, checks{
			{`{"a":1,"b":1}`, nil},
			{`{"a":1}`, one("", "must satisfy dependentRequired")},
		}},
		{"names of fields", `{"type":"object","properties":{"labels":{"type":"object","propertyNames":{"pattern":"^[a-z]+$"}}}}`, checks{
			{`{"labels":{"a":1}}`, nil},
			{`{"labels":{"A":1}}`, one("labels", "has a field whose name is not allowed")},
		}},
		{"condition", `{"type":"object","properties":{"a":{"type":"string"}},"if":{"required":["b"]},"then":{"properties":{"a":{"minLength":3}}}}`, checks{
			{`{"a":"x"}`, nil},
			{`{"a":"xyz","b":1}`, nil},
			{`{"a":"x","b":1}`, one("a", "must have at least 3 characters")},
		}},
	} {
		compiled := compile(t, tt.schema)
		for _, check := range tt.checks {
			if got := sorted(compiled.Check(decode(t, check.value))); !slices.Equal(got, sorted(check.want)) {
				t.Errorf("%s: Check(%s):\n got %q\nwant %q", tt.name, check.value, got, check.want)
			}
		}
	}
}

// Formats bind as in kin-openapi, wherever in a schema they are.
func TestFormatsAreThoseOfKinOpenAPI(t *testing.T) {
	for _, tt := range []struct {
		format, typ, value string
		valid              bool
	}{
		{"date-time", "string", `"2024-06-18T09:36:53Z"`, true},
		{"date-time", "string", `"2024-06-18T09:36:53.335000+02:00"`, true},
		{"date-time", "string", `"2024-06-18t09:36:53z"`, false},
		{"date-time", "string", `"2024-06-18 09:36:53Z"`, false},
		{"date-time", "string", `"x"`, false},
		{"date", "string", `"2024-02-30"`, false},
		{"byte", "string", `"not base64!"`, false},
		{"uuid", "string", `"not a uuid"`, true},
		{"email", "string", `"not an address"`, true},
		{"uri", "string", `"::"`, true},
		{"ipv4", "string", `"300.0.0.1"`, true},
		{"hostname", "string", `"-"`, true},
		{"password", "string", `""`, true},
		{"our-own", "string", `"x"`, true},
		{"int32", "integer", `2147483647`, true},
		{"int32", "integer", `2147483648`, false},
		{"int32", "integer", `-2147483649`, false},
		{"int64", "integer", `9007199254740991`, true},
	} {
		typed := fmt.Sprintf(`{"type":%q,"format":%q}`, tt.typ, tt.format)
		for place, text := range map[string]string{
			"a type":             typed,
			"engine":             fmt.Sprintf(`{"type":%q,"format":%q,"not":{"const":"never"}}`, tt.typ, tt.format),
			"engine, anyOf":      fmt.Sprintf(`{"anyOf":[%s,{"type":"null"}]}`, typed),
			"engine, if":         fmt.Sprintf(`{"if":%s,"else":false}`, typed),
			"engine, components": fmt.Sprintf(`{"anyOf":[{"$ref":"#/components/schemas/T/$defs/x"},{"type":"null"}],"$defs":{"x":%s}}`, typed),
		} {
			compiled := compile(t, text)
			if got := compiled.Check(decode(t, tt.value)); (len(got) == 0) != tt.valid {
				t.Errorf("%s, format %s: Check(%s): got %q; that it is valid: want %v", place, tt.format, tt.value, got, tt.valid)
			}
		}
	}
}

// The names of unknown fields and the values are the caller's input:
// neither may be in a message.
func TestCheckNeverQuotesTheCaller(t *testing.T) {
	const marker = "MARKERmarker"
	strict := `{"type":"object","additionalProperties":false,"properties":{"a":{"type":"integer"}}}`
	for _, tt := range []struct{ schema, value string }{
		{createBody, `{"name":"` + marker + `","duration":"` + marker + `","read_only":"` + marker + `","secret":["` + marker + `"],"` + marker + `":1}`},
		{createBody, `"` + marker + `"`},
		{createBody, `["` + marker + `"]`},
		{strict, `{"` + marker + `":1}`},
		{`{"type":"object","additionalProperties":{"type":"integer"}}`, `{"` + marker + `":"` + marker + `"}`},
		{`{"type":"object","additionalProperties":` + strict + `}`, `{"` + marker + `":{"` + marker + `":1,"a":"` + marker + `"}}`},
		{`{"type":"object","additionalProperties":{"type":"array","items":{"type":"integer"}}}`, `{"` + marker + `":["` + marker + `"]}`},
		{`{"type":"object","additionalProperties":{"$ref":"#/components/schemas/Tree"}}`, `{"` + marker + `":{"` + marker + `":1}}`},
		{`{"type":"array","items":` + strict + `}`, `[{"` + marker + `":1},{"a":"` + marker + `"}]`},
		{`{"type":"string","enum":["a"]}`, `"` + marker + `"`},
		{`{"type":"string","maxLength":1}`, `"` + marker + `"`},
		{`{"type":"string","format":"date-time"}`, `"` + marker + `"`},
		{`{"allOf":[` + strict + `,{"type":"object","maxProperties":0}]}`, `{"` + marker + `":1}`},

		{`{"type":"object","propertyNames":{"maxLength":1}}`, `{"` + marker + `":1}`},
		{`{"type":"object","patternProperties":{"^M":{"type":"integer"}}}`, `{"` + marker + `":"` + marker + `"}`},
		{`{"type":"object","patternProperties":{"^M":` + strict + `}}`, `{"` + marker + `":{"` + marker + `":1}}`},
		{`{"type":"object","patternProperties":{"^M":false}}`, `{"` + marker + `":1}`},
		{`{"type":"object","unevaluatedProperties":false}`, `{"` + marker + `":1}`},
		{`{"type":"object","unevaluatedProperties":{"type":"integer"}}`, `{"` + marker + `":"` + marker + `"}`},
		{`{"type":"object","additionalProperties":{"const":1}}`, `{"` + marker + `":"` + marker + `"}`},
		{`{"anyOf":[` + strict + `,{"type":"integer"}]}`, `{"` + marker + `":1}`},
		{`{"oneOf":[` + strict + `,{"type":"integer"}]}`, `{"` + marker + `":1}`},
		{`{"not":{"type":"object"}}`, `{"` + marker + `":1}`},
		{`{"const":"a"}`, `"` + marker + `"`},
		{`{"type":"array","uniqueItems":true}`, `["` + marker + `","` + marker + `"]`},
		{`{"type":"array","contains":{"type":"integer"}}`, `["` + marker + `"]`},
		{`{"type":"array","prefixItems":[{"type":"integer"}],"unevaluatedItems":false}`, `["` + marker + `","` + marker + `"]`},
		{`{"if":{"type":"object"},"then":` + strict + `}`, `{"` + marker + `":1}`},
		{`{"type":"object","dependentSchemas":{"a":` + strict + `}}`, `{"a":1,"` + marker + `":1}`},
	} {
		compiled := map[string]*validation.Schema{"": compile(t, tt.schema)}
		for validator, compiled := range compiled {
			got := compiled.Check(decode(t, tt.value))
			if len(got) == 0 {
				t.Errorf("%s, %s: Check(%s): got no violation, want one", validator, tt.schema, tt.value)
			}
			for _, v := range got {
				if strings.Contains(v.Field+v.Why, marker) {
					t.Errorf("%s, %s: Check(%s): got %q, which quotes the caller", validator, tt.schema, tt.value, v)
				}
			}
		}
	}
}

// A caller's name for a field may look like an array's index.
func TestCheckTakesNoNameForAnIndex(t *testing.T) {
	const text = `{"type":["array","object"],"items":{"type":"integer"},"additionalProperties":{"type":"integer"}}`
	for validator, compiled := range map[string]*validation.Schema{"engine": compile(t, text)} {
		if got, want := compiled.Check(decode(t, `{"777000777":"x"}`)), one("*", "must be of type integer"); !slices.Equal(got, want) {
			t.Errorf(`%s: Check({"777000777":"x"}): got %q, want %q`, validator, got, want)
		}
	}
}

func TestFillDefaultsSetsAbsentFieldsOnly(t *testing.T) {
	for _, tt := range []struct{ name, schema, value, want string }{
		{"absent", createBody, `{"name":"a","duration":1}`, `{"name":"a","duration":1,"read_only":false,"secret":""}`},
		{"present", createBody, `{"name":"a","duration":1,"read_only":true,"secret":"s"}`, `{"name":"a","duration":1,"read_only":true,"secret":"s"}`},
		{"unknown fields stay", createBody, `{"name":"a","duration":1,"Read_Only":true}`, `{"name":"a","duration":1,"read_only":false,"secret":"","Read_Only":true}`},
		{"null stays null", `{"type":"object","properties":{"n":{"type":["integer","null"],"default":5}}}`, `{"n":null}`, `{"n":null}`},
		{"zero values stay", `{"type":"object","properties":{"n":{"type":"integer","default":5},"s":{"type":"string","default":"x"},"b":{"type":"boolean","default":true},"a":{"type":"array","default":[1],"items":{"type":"integer"}}}}`,
			`{"n":0,"s":"","b":false,"a":[]}`, `{"n":0,"s":"","b":false,"a":[]}`},
		{"nested", `{"type":"object","properties":{"o":{"type":"object","properties":{"p":{"type":"object","properties":{"n":{"type":"integer","default":5}}}}}}}`,
			`{"o":{"p":{}}}`, `{"o":{"p":{"n":5}}}`},
		{"an absent object is not created", `{"type":"object","properties":{"o":{"type":"object","properties":{"n":{"type":"integer","default":5}}}}}`, `{}`, `{}`},
		{"in arrays", `{"type":"array","items":{"type":"array","items":{"type":"object","properties":{"n":{"type":"integer","default":5}}}}}`,
			`[[{},{"n":1}],[],[{}]]`, `[[{"n":5},{"n":1}],[],[{"n":5}]]`},
		{"all of", `{"allOf":[{"type":"object","properties":{"a":{"type":"integer","default":1}}},{"allOf":[{"type":"object","properties":{"b":{"type":"integer","default":2}}}]}],"properties":{"c":{"type":"integer","default":3}}}`,
			`{"b":9}`, `{"a":1,"b":9,"c":3}`},
		{"by reference", `{"type":"object","properties":{"t":{"$ref":"#/components/schemas/T/properties/u"},"u":{"type":"object","properties":{"n":{"type":"integer","default":5}}}}}`,
			`{"t":{}}`, `{"t":{"n":5}}`},
		{"in fields of any name", `{"type":"object","additionalProperties":{"type":"object","properties":{"n":{"type":"integer","default":5}}}}`,
			`{"x":{},"y":{"n":1}}`, `{"x":{"n":5},"y":{"n":1}}`},
		{"fields of any name beside known ones", `{"type":"object","properties":{"k":{"type":"object"}},"additionalProperties":{"type":"object","properties":{"n":{"type":"integer","default":5}}}}`,
			`{"k":{},"x":{}}`, `{"k":{},"x":{"n":5}}`},
		{"not of one alternative", `{"type":"object","anyOf":[{"properties":{"n":{"type":"integer","default":5}}}]}`, `{}`, `{}`},
		{"lists and objects", `{"type":"object","properties":{"l":{"type":"array","items":{},"default":[1,1.5,"x",null,{"n":2}]},"o":{"type":"object","default":{"n":1,"l":[2]}}}}`,
			`{}`, `{"l":[1,1.5,"x",null,{"n":2}],"o":{"n":1,"l":[2]}}`},
		{"fractions", `{"type":"object","properties":{"n":{"type":"number","default":0.5}}}`, `{}`, `{"n":0.5}`},
		{"large integers", `{"type":"object","properties":{"a":{"type":"integer","default":1000000},"b":{"type":"integer","default":9007199254740991},"c":{"type":"integer","default":-1},"d":{"type":"number","default":1e6}}}`,
			`{}`, `{"a":1000000,"b":9007199254740991,"c":-1,"d":1000000}`},
		{"a value without fields", `{"type":"string","default":"x"}`, `"y"`, `"y"`},
		{"null", `{"type":["object","null"],"properties":{"n":{"type":"integer","default":5}}}`, `null`, `null`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			compiled := compile(t, tt.schema)
			got, want := decode(t, tt.value), decode(t, tt.want)
			if violations := compiled.Check(got); len(violations) > 0 {
				t.Fatalf("Check(%s): got %q, want a valid value to fill", tt.value, violations)
			}
			compiled.FillDefaults(got)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("FillDefaults(%s):\n got %#v\nwant %#v", tt.value, got, want)
			}
		})
	}
}

// A default replaces an absent optional field; it does not
// make a required one optional.
func TestADefaultDoesNotReplaceARequiredField(t *testing.T) {
	for validator, compiled := range map[string]*validation.Schema{"engine": compile(t, `{"type":"object","required":["n"],"properties":{"n":{"type":"integer","default":5}}}`)} {
		if got, want := compiled.Check(map[string]any{}), one("n", "is required"); !slices.Equal(got, want) {
			t.Errorf("%s: Check({}): got %q, want %q", validator, got, want)
		}
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	compiled := compile(t, `{"type":"object","properties":{"o":{"type":"object","default":{"l":[1]}}}}`)
	first := map[string]any{}
	compiled.FillDefaults(first)
	first["o"].(map[string]any)["l"].([]any)[0] = "changed"
	first["o"].(map[string]any)["more"] = true
	second := map[string]any{}
	compiled.FillDefaults(second)
	if want := decode(t, `{"o":{"l":[1]}}`); !reflect.DeepEqual(second, want) {
		t.Errorf("FillDefaults({}) after another's default was changed: got %v, want %v", second, want)
	}
}

func TestASchemaIsSafeForConcurrentUse(t *testing.T) {
	for validator, compiled := range map[string]*validation.Schema{"engine": compile(t, createBody)} {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 50 {
					value := map[string]any{"name": "user1", "duration": int64(i)}
					if got := compiled.Check(value); len(got) > 0 {
						t.Errorf("%s: Check(%v): got %q, want none", validator, value, got)
					}
					compiled.FillDefaults(value)
					if got := compiled.Check(map[string]any{"name": "USER"}); len(got) != 2 {
						t.Errorf("%s: Check of a bad value: got %q, want two violations", validator, got)
					}
				}
			})
		}
		all.Wait()
	}
}

func TestCompileRefusesWhatItCannotValidate(t *testing.T) {
	doc := document(t, createBody)
	compiler, err := validation.NewCompiler(doc)
	if err != nil {
		t.Fatal(err)
	}
	for name, ref := range map[string]*openapi3.SchemaRef{
		"a reference to nothing":         {Ref: "#/components/schemas/Nothing", Value: &openapi3.Schema{}},
		"a pattern that is not a regexp": {Value: &openapi3.Schema{Pattern: "(", UniqueItems: true}},
	} {
		if compiled, err := compiler.Compile(ref); err == nil {
			t.Errorf("Compile of %s: got %v, want an error", name, compiled)
		}
	}
}

func TestWhyWithoutASchema(t *testing.T) {
	for _, rule := range []string{"type", "pattern", "minimum", "maximum", "minLength", "maxLength", "format", "enum", "exclusiveMinimum", "any"} {
		for name, s := range map[string]*openapi3.Schema{"no schema": nil, "an empty schema": {}} {
			if got, want := validation.Why(rule, s), "must satisfy "+rule; got != want {
				t.Errorf("Why(%q, %s): got %q, want %q", rule, name, got, want)
			}
		}
	}
}

// keys returns the names of an object in a fixed order.
