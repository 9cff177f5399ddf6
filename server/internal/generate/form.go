package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oapi-codegen/oapi-codegen/v2/pkg/codegen"

	"github.com/registryusers/registryusers/server/internal/validation"
)

// A form is a JSON value of one schema, and the Go value that it is decoded to or
// encoded from.
type form struct {
	Kind    string // object, array, string, integer, boolean or time
	Go      string // the Go type, without the pointer of an optional field
	Place   string // the Go value, as an expression
	Pointer bool   // the Go value is optional
	Rules   []rule
	Item    *form // of an array

	// Of an object, which has a function that decodes or encodes it.
	Name, Where string // in the function's name; in the document
	Fields      []*form
	Closed      string // why it must have no other fields; "" if it may

	// Of a field of an object.
	Field, JSON string // its names in Go and in JSON
	Required    bool
	Default     string // as a Go expression; "" for the zero value
}

// A rule is the condition of a violation, and its text.
type rule struct{ If, Why string }

// walk makes the forms of request bodies, or of response bodies.
type walk struct {
	decodes  bool // so that every rule must be known
	Objects  map[string]*form
	Patterns []string
}

const secretText = "registryusers.SecretText"

// goTypes has the Go types of scalars, of which the first is predeclared.
var goTypes = map[string][]string{"string": {"string", secretText}, "integer": {"int64"}, "boolean": {"bool"}, "time": {"time.Time"}}

// limits has the keywords that limit a value of a type, and the condition in which a
// value is beyond the limit.
var limits = map[string][]struct {
	keyword, condition string
	round              func(float64) float64
}{
	"array":   {{"minItems", "len(items) < %d", math.Ceil}, {"maxItems", "len(items) > %d", math.Floor}},
	"integer": {{"minimum", "value < %d", math.Ceil}, {"maximum", "value > %d", math.Floor}},
	"string":  {{"minLength", "utf8.RuneCountInString(value) < %d", math.Ceil}, {"maxLength", "utf8.RuneCountInString(value) > %d", math.Floor}},
}

// others has the other keywords and formats that are known: a value need not satisfy them,
// or always does, or the template has them.
var others = map[string][]string{
	"":        {"type", "title", "description", "default", "example", "examples", "deprecated", "externalDocs"},
	"object":  {"properties", "required", "additionalProperties"},
	"array":   {"items"},
	"integer": {"int64"},
	"string":  {"password", "pattern", "enum"},
}

// unknown is the panic of a walk that finds something that it does not know.
type unknown string

func refuse(format string, args ...any) { panic(unknown(fmt.Sprintf(format, args...))) }

// form returns the form of a body, or an error if the walk does not know its schema.
func (w *walk) form(ref *openapi3.SchemaRef, typ codegen.Schema, place, name string) (f *form, err error) {
	before := maps.Clone(w.Objects)
	defer func() {
		if reason := recover(); reason != nil {
			w.Objects, err = before, errors.New(string(reason.(unknown)))
		}
	}()
	return w.value(ref, typ, place, name), nil
}

func (w *walk) value(ref *openapi3.SchemaRef, typ codegen.Schema, place, name string) *form {
	s, f := ref.Value, &form{Go: typ.TypeDecl(), Place: place}
	if ref.Ref != "" { // typ has only its name
		var err error
		if typ, err = codegen.GenerateGoSchema(&openapi3.SchemaRef{Value: s}, []string{path.Base(ref.Ref)}); err != nil {
			refuse("its Go type: %v", err)
		}
		name = f.Go
	}
	if s.Type == nil || len(*s.Type) != 1 || len(s.AllOf)+len(s.AnyOf)+len(s.OneOf) > 0 {
		refuse("a schema without one type")
	}
	f.Kind = (*s.Type)[0]
	if !w.decodes && typ.GoType == "time.Time" {
		f.Kind = "time"
	}
	switch {
	case f.Kind == "object":
		f.Name = w.object(ref, typ, f.Go, name)
	case f.Kind == "array" && typ.ArrayType != nil && typ.GoType == "[]"+typ.ArrayType.TypeDecl():
		f.Item = w.value(s.Items, *typ.ArrayType, "item", name+"Item")
	case !slices.Contains(goTypes[f.Kind], typ.GoType):
		refuse("the type %s, in Go %s", f.Kind, typ.GoType)
	case typ.GoType == secretText:
		f.Go = secretText
	}
	if w.decodes {
		w.rules(f, s)
	}
	return f
}

// rules sets the rules of a value, and refuses a schema that has others.
func (w *walk) rules(f *form, s *openapi3.Schema) {
	add := func(keyword, condition string, args ...any) {
		f.Rules = append(f.Rules, rule{fmt.Sprintf(condition, args...), validation.Why(keyword, s)})
	}
	var stated map[string]any
	text, err := json.Marshal(s)
	if err := errors.Join(err, json.Unmarshal(text, &stated)); err != nil {
		refuse("%v", err)
	}
	for _, limit := range limits[f.Kind] {
		if n, ok := stated[limit.keyword].(float64); ok && math.Abs(n) <= 1<<53 {
			add(limit.keyword, limit.condition, int64(limit.round(n)))
			delete(stated, limit.keyword)
		}
	}
	if s.Pattern != "" {
		if _, err := regexp.Compile(s.Pattern); err != nil {
			refuse("the pattern %q, which Go does not match", s.Pattern)
		}
		if !slices.Contains(w.Patterns, s.Pattern) {
			w.Patterns = append(w.Patterns, s.Pattern)
		}
		add("pattern", "!pattern%d.MatchString(value)", slices.Index(w.Patterns, s.Pattern))
	}
	if len(s.Enum) > 0 {
		condition := "value != %q" + strings.Repeat(" && value != %q", len(s.Enum)-1)
		if len(f.Rules) > 0 || strings.Contains(fmt.Sprintf(condition, s.Enum...), "%!") {
			refuse("an enum of other values than strings, or with other rules")
		}
		add("enum", condition, s.Enum...)
	}
	for keyword := range stated {
		isFormat := keyword == "format" && slices.Contains(others[f.Kind], s.Format)
		if !isFormat && !slices.Contains(others[f.Kind], keyword) && !slices.Contains(others[""], keyword) && !strings.HasPrefix(keyword, "x-") {
			refuse("the keyword %s of the type %s", keyword, f.Kind)
		}
	}
}

// object makes the form of an object, unless there is one, and returns its name.
func (w *walk) object(ref *openapi3.SchemaRef, typ codegen.Schema, goType, name string) string {
	if known := w.Objects[name]; known != nil && known.Go == goType {
		return name
	}
	s, o := ref.Value, &form{Name: name, Go: goType, Where: cmp.Or(ref.Ref, "an inline schema")}
	isOther := func(field string) bool { return s.Properties[field] == nil }
	if w.Objects[name] != nil || len(typ.Properties) == 0 || len(typ.Properties) != len(s.Properties) || slices.ContainsFunc(s.Required, isOther) || codegen.SchemaHasAdditionalProperties(s) {
		refuse("an object with other fields than its properties")
	}
	if s.AdditionalProperties.Has != nil {
		o.Closed = validation.Why("additionalProperties", s)
	}
	w.Objects[name] = o
	for _, p := range typ.Properties {
		property := s.Properties[p.JsonFieldName]
		f := w.value(property, p.Schema, "v."+p.GoFieldName(), name+p.GoFieldName())
		f.Field, f.JSON, f.Required, f.Pointer = p.GoFieldName(), p.JsonFieldName, p.Required, p.IsPointer()
		if !w.decodes && f.Pointer == f.Required {
			refuse("the field %s, which may be left out", f.JSON)
		}
		if property.Value.Default != nil && !f.Required {
			f.setDefault(property.Value.Default)
		}
		o.Fields = append(o.Fields, f)
	}
	return name
}

// setDefault sets the default as a Go expression.
func (f *form) setDefault(value any) {
	literal := fmt.Sprintf("%#v", value)
	if n, ok := value.(float64); ok && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
		value, literal = int64(n), fmt.Sprintf("int64(%d)", int64(n))
	}
	switch {
	case f.Base() != reflect.TypeOf(value).String():
		refuse("the default of %s", f.JSON)
	case f.Pointer:
		f.Default = "new(" + f.Converted(literal) + ")"
	case !reflect.ValueOf(value).IsZero():
		f.Default = f.Converted(literal)
	}
}

// Base returns the predeclared type of a scalar.
func (f *form) Base() string { return append(goTypes[f.Kind], "")[0] }

// Converted returns a value of the predeclared type as one of the Go type.
func (f *form) Converted(value string) string {
	switch f.Go {
	case f.Base():
		return value
	case secretText:
		return "registryusers.NewSecretText(" + value + ")"
	}
	return f.Go + "(" + value + ")"
}
