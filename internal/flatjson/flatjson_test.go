package flatjson_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oapi-codegen/runtime"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/flatjson"
)

type named string

// backwards encodes itself.
type backwards string

func (b backwards) MarshalJSON() ([]byte, error) { return json.Marshal("backwards " + string(b)) }

// loud marshals itself as text.
type loud string

func (l *loud) UnmarshalText(text []byte) error {
	*l = loud(strings.ToUpper(string(text)))
	return nil
}
func (l loud) MarshalText() ([]byte, error) { return []byte(strings.ToLower(string(l))), nil }

type marshaler struct {
	Private int
}

func (marshaler) MarshalJSON() ([]byte, error) { return []byte(`"itself"`), nil }

var at = time.Date(2026, 5, 7, 20, 33, 46, 548242000, time.UTC)

// repeated is of a type that has a name twice.
var repeated = reflect.New(reflect.StructOf([]reflect.StructField{
	{Name: "A", Type: reflect.TypeFor[string](), Tag: `json:"a"`},
	{Name: "B", Type: reflect.TypeFor[string](), Tag: `json:"a"`},
})).Interface()

// values have the types of the fields of generated models.
var values = []any{
	&models.CreatedUser{ID: 7, Name: "user1", Duration: 14, ReadOnly: true, CreatedAt: at, ExpiresAt: at.Local(), Secret: registryusers.NewSecretText("s\"<&>\u2028\x00")},
	&models.CreatedUser{},
	&models.CreatedUser{Name: "\xff", ID: -1 << 63},
	&models.CreatedUser{CreatedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	&models.CreatedUser{CreatedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 24*3600))},
	&models.Error{Message: "m", InvalidFields: map[string][]string{"a": {"b"}}},
	&models.Error{},
	&models.CreateUserRequest{Name: "n"},
	&struct {
		A named `json:"a"`
		B loud  `json:"B_2"`
		C bool  `json:"c"`
	}{"<a>", "LOUD", true},
	&struct {
		A backwards `json:"a"`
	}{"x"},
	&struct {
		A string `json:"a,omitempty"`
		B string `json:"-"`
	}{},
	&struct {
		A int64 `json:"a,string"`
	}{1},
	&struct {
		A *string `json:"a"`
		B []int64 `json:"b"`
	}{},
	repeated,
	&struct {
		marshaler
		A string `json:"a"`
	}{},
	&struct {
		A float64 `json:"a"`
		b string
	}{1.5, "b"},
	&struct {
		A string `json:"a-b"`
		B int32  `json:"ü"`
		C string
	}{"x", 3, "c"},
	&struct{}{},
	&marshaler{1},
	new(named),
	&[]string{"a"},
	&map[string]int64{"a": 1},
}

// Append and encoding/json encode a value in the same way, or both refuse it.
func TestAppendEncodesAsEncodingJSON(t *testing.T) {
	for _, v := range values {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		wantErr := encoder.Encode(v)
		got, err := flatjson.Append([]byte("before "), v)
		if (err == nil) != (wantErr == nil) {
			t.Errorf("Append(%T): got error %v, want as encoding/json %v", v, err, wantErr)
		}
		if err != nil {
			continue
		}
		text, found := strings.CutPrefix(string(got), "before ")
		if !found || !strings.HasSuffix(text, "\n") {
			t.Errorf("Append(%T): got %q, want it after what was there, with a newline", v, got)
		}
		var gotValue, wantValue any
		if json.Unmarshal([]byte(text), &gotValue) != nil || json.Unmarshal(want.Bytes(), &wantValue) != nil || !reflect.DeepEqual(gotValue, wantValue) {
			t.Errorf("Append(%T): got %s, want %s", v, text, want.Bytes())
		}
		if gotKeys, wantKeys := names(text), names(want.String()); gotKeys != wantKeys {
			t.Errorf("Append(%T): got fields %s, want %s", v, gotKeys, wantKeys)
		}
	}
}

// names lists the fields of an object in the order in which they are written.
func names(text string) string {
	d := json.NewDecoder(strings.NewReader(text))
	var all []string
	for token, err := d.Token(); err == nil; token, err = d.Token() {
		if name, ok := token.(string); ok {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

func TestEncodeFollowsWhatIsInTheBuffer(t *testing.T) {
	var buffer bytes.Buffer
	for range 2 {
		if err := flatjson.Encode(&buffer, &struct {
			A int64 `json:"a"`
		}{1}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := buffer.String(), "{\"a\":1}\n{\"a\":1}\n"; got != want {
		t.Errorf("Encode, twice: got %q, want %q", got, want)
	}
	if err := flatjson.Encode(&buffer, &models.CreatedUser{CreatedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("Encode of a time that JSON cannot have: got no error")
	}
}

// Set binds values in the same way as the runtime of the generated code.
func TestSetBindsAsTheRuntime(t *testing.T) {
	index := map[string]int{`"name"`: 0, `"duration"`: 1, `"read_only"`: 2, `"secret"`: 3, `"a"`: 4, `"B_2"`: 5, `"c"`: 6, `"created_at"`: 7}
	types := []any{
		models.CreateUserRequest{}, models.CreatedUser{}, models.Error{}, named(""), marshaler{},
		struct {
			A named `json:"a"`
			B loud  `json:"B_2"`
			C bool  `json:"c"`
		}{},
		struct {
			A backwards `json:"a"`
		}{},
		struct {
			A *string `json:"a"`
		}{},
		struct {
			A int32 `json:"a"`
		}{},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	set := map[string]int{}
	for range 20_000 {
		fields := make([]any, len(index))
		tree := map[string]any{}
		for name, at := range index {
			fields[at] = []any{nil, "text", "", "2026-05-07T20:33:46Z", true, false, int64(0), int64(400), 1.5}[rng.IntN(9)]
			if fields[at] != nil {
				tree[strings.Trim(name, `"`)] = fields[at]
			}
		}
		for _, of := range types {
			got, want := reflect.New(reflect.TypeOf(of)), reflect.New(reflect.TypeOf(of))
			if !flatjson.Set(got.Interface(), index, fields) {
				continue
			}
			set[fmt.Sprintf("%T", of)]++
			if err := runtime.BindJSONValue(tree, want.Interface()); err != nil || !reflect.DeepEqual(got.Interface(), want.Interface()) {
				t.Fatalf("Set(%T) to %v: got %#v, want %#v, %v", of, tree, got.Elem(), want.Elem(), err)
			}
		}
	}
	if name := fmt.Sprintf("%T", models.CreateUserRequest{}); set[name] < 20 || len(set) < 3 {
		t.Errorf("types that were set: got %v, want three or more, and %s 20 times or more", set, name)
	}
}
