package schema_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/ijson"
	"github.com/registryusers/registryusers/internal/schema"
)

// scalarSchemas are validated while bodies are read. Together they have every
// keyword that such a schema may have.
var scalarSchemas = []struct{ name, schema string }{
	{"a create", createBody},
	{"closed", `{"type":"object","required":["b","a"],"additionalProperties":false,"title":"T","x-more":1,"properties":{
		"a":{"type":"integer","minimum":0.5,"maximum":2.5,"default":1},
		"b":{"type":"boolean","description":"d","example":true,"deprecated":true},
		"c":{"type":"string","default":"c"}}}`},
	{"strings", `{"type":"object","required":["a"],"properties":{
		"a":{"type":"string","minLength":1,"maxLength":3},
		"b":{"type":"string","enum":["pull","push",""]},
		"c":{"type":"string","minLength":2,"maxLength":4,"pattern":"^[a-z](-?[a-z0-9])*$"},
		"d":{"type":"string","pattern":"b"},
		"e":{"type":"string","pattern":"^\\p{L}\\d?$"}}}`},
	{"numbers", `{"type":"object","properties":{
		"a":{"type":"number","minimum":0.1,"maximum":0.3},
		"b":{"type":"integer","format":"int64","minimum":-9007199254740991,"maximum":9007199254740990},
		"c":{"type":"number","minimum":1,"maximum":1e15,"default":1.5},
		"d":{"type":"integer","minimum":-0.5}}}`},
	{"by reference", `{"type":"object","required":["a"],"properties":{"a":{"$ref":"#/components/schemas/Name"}}}`},
	{"many fields", `{"type":"object","required":["f9","f8"],"properties":{` + manyFields() + `}}`},
}

func manyFields() string {
	var all []string
	for i := range 30 {
		all = append(all, fmt.Sprintf(`"f%d":{"type":"boolean"}`, i))
	}
	return strings.Join(all, ",")
}

func compileScalarObject(t testing.TB, text string) *schema.Schema {
	t.Helper()
	s := compile(t, text)
	if !s.Scalar() {
		t.Fatalf("schema %s: Quick(): got false, want true", text)
	}
	return s
}

// parsed is the result of parsing a body.
type parsed struct {
	tree       any
	violations []schema.Violation
	err        error
}

func parse(s *schema.Schema, body string) parsed {
	value, violations, err := s.Parse(strings.NewReader(body))
	if err != nil || len(violations) > 0 {
		return parsed{nil, violations, err}
	}
	return parsed{value.Tree(), nil, nil}
}

// compareParsers validates a body in both ways, which must have the same result,
// value, violations and error, and reports whether the body is valid.
func compareWays(t *testing.T, s *schema.Schema, body string) bool {
	t.Helper()
	got, want := parse(s, body), parse(s.General(), body)
	for _, tree := range []any{got.tree, want.tree} { // the fast way has only the declared fields
		object, _ := tree.(map[string]any)
		maps.DeleteFunc(object, func(name string, _ any) bool { return !slices.Contains(s.Fields(), name) })
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Parse(%q): got %#v while it is read, want the result of the general way %#v", body, got, want)
	}
	return want.err == nil && want.violations == nil
}

func TestABodyIsValidatedAlikeWhileItIsReadAndAfterwards(t *testing.T) {
	for i, tt := range scalarSchemas {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := compileScalarObject(t, tt.schema)
			var root map[string]any
			if err := json.Unmarshal([]byte(documentText(tt.schema)), &root); err != nil {
				t.Fatal(err)
			}
			g := generator{withNumbers(root).(map[string]any)}
			rng := rand.New(rand.NewPCG(uint64(i), 11))
			const bodies = 30_000
			valid := 0
			for range bodies {
				text := respell(rng, toText(g.value(rng, g.resolve("#/components/schemas/T"), 0)))
				if compareWays(t, s, text) {
					valid++
				}
				if t.Failed() {
					return
				}
			}
			if valid < bodies/100 || valid > bodies-bodies/50 {
				t.Errorf("valid bodies: got %d of %d, want between 1 and 98 in a hundred", valid, bodies)
			}
		})
	}
}

// withNumbers converts numbers to the type in which a generator finds bounds.
func withNumbers(node any) any {
	switch node := node.(type) {
	case map[string]any:
		for name, value := range node {
			node[name] = withNumbers(value)
		}
	case []any:
		for i, value := range node {
			node[i] = withNumbers(value)
		}
	case float64:
		return json.Number(fmt.Sprintf("%g", node))
	}
	return node
}

var integers = regexp.MustCompile(`:-?[0-9]+[,}]`)

// respell rewrites JSON, possibly with another meaning or as invalid JSON.
func respell(rng *rand.Rand, text string) string {
	at := rng.IntN(len(text) + 1)
	switch rng.IntN(14) {
	case 0:
		return integers.ReplaceAllStringFunc(text, func(found string) string {
			end := len(found) - 1
			return found[:end] + pick(rng, ".0", "e0", "E+0", ".", "e1", "e-1", ".5", "e999999999", "0") + found[end:]
		})
	case 1:
		return strings.NewReplacer(":", " :\n", ",", "\t, ", "{", " {\r").Replace(text) + " \n"
	case 2: // one letter escaped, in a name or a value
		letters := regexp.MustCompile(`[a-z]`).FindAllStringIndex(text, -1)
		if len(letters) == 0 {
			return text
		}
		where := pick(rng, letters...)[0]
		return text[:where] + fmt.Sprintf(`\u%04x`, text[where]) + text[where+1:]
	case 3: // a field twice
		return strings.Replace(text, "{", `{"a":true,"name":"x",`, 1)
	case 4:
		return text[:at]
	case 5:
		return text[:at] + pick(rng, "\xff", "\"", "{", "}", ",", "0", "\\", "\x00", "null", "\ufeff", `\ud800`, "[") + text[at:]
	case 6:
		return text + pick(rng, "{}", ",", "x", "\x00", " 1", "]")
	case 7:
		return pick(rng, "\ufeff", "[", " ", "\v") + text
	}
	return text
}

func FuzzParse(f *testing.F) {
	for i := range scalarSchemas {
		for _, body := range []string{
			`{"name":"user1","duration":14,"read_only":true,"secret":"s"}`, `{"name":"USER1","duration":400}`, `{"duration":1.4e1,"name":""}`,
			`{"n\u0061me":"a","duration":1}`, `{"name":"a","name":"b","duration":1}`, `{"name":"a","duration":1,"more":[{"a":[1e999999]}]}`,
			`{"a":1,"b":true}`, `{"a":"\ud834\udd1e","b":"push","c":"a-b","d":"b","e":"é1"}`, `{"a":null,"b":[],"c":{}}`, `{"f9":true,"f8":1,"f7":2}`,
			`[]`, `null`, ``, ` `, `{`, `{}`, `{}{}`, "\ufeff{}", "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"a":0.2,"b":9007199254740992,"c":1e15,"d":-0.5}`,
		} {
			f.Add(uint8(i), body)
		}
	}
	var compiled []*schema.Schema
	for _, s := range scalarSchemas {
		compiled = append(compiled, compileScalarObject(f, s.schema))
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		compareWays(t, compiled[int(which)%len(compiled)], body)
	})
}

func TestBothWaysBindTheSame(t *testing.T) {
	s := compileScalarObject(t, createBody)
	rng := rand.New(rand.NewPCG(3, 4))
	bound := 0
	for range 20_000 {
		body := respell(rng, toText(randomCreateBody(rng)))
		quick, violations, err := s.Parse(strings.NewReader(body))
		if err != nil || len(violations) > 0 {
			continue
		}
		general, _, _ := s.General().Parse(strings.NewReader(body))
		var got, want models.CreateUserRequest
		gotErr, wantErr := quick.Bind(&got), general.Bind(&want)
		if !reflect.DeepEqual(got, want) || (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("Bind(%s): got %#v and error %v, want %#v and %v", body, got, gotErr, want, wantErr)
		}
		bound++
	}
	if bound < 1_000 {
		t.Errorf("bodies bound: got %d, want 1,000 or more", bound)
	}
}

// A schema with unknown parts is validated by the general validator.
func TestScalarObjectsAreSchemasThatAreKnownCompletely(t *testing.T) {
	field := func(more string) string { return `{"type":"object","properties":{"a":{` + more + `}}}` }
	for _, tt := range []struct {
		schema string
		want   bool
	}{
		{field(`"type":"string"`), true},
		{field(`"type":"string","format":"password"`), true},
		{field(`"type":"string","format":"date-time"`), false},
		{field(`"type":"string","format":"int64"`), false},
		{field(`"type":"string","pattern":"\\u00E9"`), false},
		{field(`"type":"string","readOnly":true`), false},
		{field(`"type":"string","writeOnly":true`), false},
		{field(`"type":["string","null"]`), false},
		{field(`"type":"integer","exclusiveMinimum":1`), false},
		{field(`"type":"integer","multipleOf":2`), false},
		{field(`"type":"integer","enum":[1]`), false},
		{field(`"type":"boolean","enum":[true]`), false},
		{field(`"type":"string","const":"a"`), false},
		{field(`"type":"string","allOf":[{"maxLength":1}]`), false},
		{field(`"type":"object"`), false},
		{field(`"type":"array","items":{"type":"string"}`), false},
		{field(`"description":"of any type"`), false},
		{field(`"type":"string","enum":["a"],"default":"a"`), true},
		{`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":{"type":"string"}}`, false},
		{`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":true}`, false},
		{`{"type":"object","properties":{"a":{"type":"string"}},"minProperties":1}`, false},
		{`{"type":"object","properties":{"a":{"type":"string"}},"required":["b"]}`, false},
		{`{"type":"object","properties":{"a":{"type":"string"}},"x-go-type":"map[string]any"}`, false},
		{`{"type":"object"}`, false},
		{`{"type":"string"}`, false},
		{`{"$ref":"#/components/schemas/Tree"}`, false},
	} {
		if got := compile(t, tt.schema).Scalar(); got != tt.want {
			t.Errorf("schema %s: Quick(): got %v, want %v", tt.schema, got, tt.want)
		}
	}
}

func TestParseReturnsWhyABodyWasNotRead(t *testing.T) {
	for _, s := range []*schema.Schema{compile(t, createBody), compile(t, createBody).General()} {
		broken := errors.New("broken")
		if _, violations, err := s.Parse(iotest.ErrReader(broken)); !errors.Is(err, broken) || violations != nil {
			t.Errorf("Parse of a broken reader: got %q, %v, want the reader's error", violations, err)
		}
		var refused *ijson.Error
		if _, _, err := s.Parse(strings.NewReader(`{"name":"a","duration":1`)); !errors.As(err, &refused) {
			t.Errorf("Parse of half a body: got %v, want a *ijson.Error", err)
		}
	}
}

// A body's bytes are in a pooled buffer; the next body must not see them.
func TestThreatABodyIsReadFromAnothersBytes(t *testing.T) {
	s := compile(t, createBody)
	for range 100 {
		if got := parse(s, `{"name":"m0rk3r","duration":1,"secret":"`+strings.Repeat("m0rk3r", 50)+`"}`); got.err != nil || got.violations != nil {
			t.Fatalf("a valid body: got %+v", got)
		}
		for _, short := range []string{`{"name":"`, `{"name":"a","duration":`, `{`} {
			if got := parse(s, short); got.err == nil {
				t.Fatalf("Parse(%q): got %+v, want an error", short, got)
			}
		}
	}
}
