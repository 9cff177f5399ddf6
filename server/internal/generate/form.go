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
}

// A rule is the condition of a violation, and its text.
type rule struct{ If, Why string }

// walk makes the forms of request bodies, or of response bodies.
type walk struct {
	decodes  bool // so that every rule must be known
	Objects  map[string]*form
	Patterns []string
}

// known has the types and their keywords that are known, with the condition that violates
// a keyword. The others in silent validate nothing, and every value satisfies the formats.
var (
	known = map[string]map[string]string{
		"object":  {"properties": "", "required": "", "additionalProperties": ""},
		"array":   {"items": "", "minItems": "length < %d", "maxItems": "length > %d"},
		"integer": {"minimum": "value < %d", "maximum": "value > %d"},
		"string":  {"pattern": "!pattern%d.MatchString(value)", "minLength": "utf8.RuneCountInString(value) < %d", "maxLength": "utf8.RuneCountInString(value) > %d"},
	}
	silent  = []string{"type", "title", "description", "default", "example", "examples", "deprecated", "externalDocs"}
	formats = map[string]string{"password": "string", "int64": "integer"}
	goTypes = map[string][]string{"string": {"string", "registryusers.SecretText"}, "integer": {"int64"}, "boolean": {"bool"}, "time": {"time.Time"}}
)

// ofRanges matches a pattern that is quicker without a regular expression: a number of
// characters at most, each in one of some ranges of ASCII.
var (
	ofRanges = regexp.MustCompile(`^\^\[((?:\w-\w)+)\]\{0,(\d+)\}\$$`)
	aRange   = regexp.MustCompile(`(.)-(.)`)
)

// unknown is the panic of a walk that finds something that it does not know.
type unknown string

func refuse(format string, args ...any) { panic(unknown(fmt.Sprintf(format, args...))) }

// form returns the form of a body, or an error if the walk does not know its schema.
func (w *walk) form(ref *openapi3.SchemaRef, typ codegen.Schema, place, name string) (f *form, err error) {
	objects, patterns := maps.Clone(w.Objects), w.Patterns
	defer func() {
		if reason := recover(); reason != nil {
			w.Objects, w.Patterns, err = objects, patterns, errors.New(string(reason.(unknown)))
		}
	}()
	return w.value(ref, typ, place, name), nil
}

func (w *walk) value(ref *openapi3.SchemaRef, typ codegen.Schema, place, name string) *form {
	s, f := ref.Value, &form{Go: typ.TypeDecl(), Place: place}
	if ref.Ref != "" { // typ has only its name
		name = f.Go
		typ, _ = codegen.GenerateGoSchema(&openapi3.SchemaRef{Value: s}, []string{path.Base(ref.Ref)}) // was generated before
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
	case slices.Contains(goTypes[f.Kind], typ.GoType):
		f.Go = typ.GoType
	default:
		refuse("the type %s, in Go %s", f.Kind, typ.GoType)
	}
	if w.decodes {
		w.rules(f, s)
	}
	return f
}

// rules sets the rules of a value, and refuses a schema that has others.
func (w *walk) rules(f *form, s *openapi3.Schema) {
	var stated map[string]any
	text, err := json.Marshal(s)
	if err = errors.Join(err, json.Unmarshal(text, &stated)); err != nil {
		refuse("%v", err)
	}
	for _, keyword := range slices.Sorted(maps.Keys(stated)) {
		condition, isKnown := known[f.Kind][keyword]
		limit, isNumber := stated[keyword].(float64)
		if _, err := regexp.Compile(s.Pattern); keyword == "pattern" && err == nil {
			if class := ofRanges.FindStringSubmatch(s.Pattern); class != nil {
				outside := aRange.ReplaceAllString(class[1], " && (r < '$1' || r > '$2')")[len(" && "):]
				f.Rules = append(f.Rules, rule{fmt.Sprintf("len(value) > %s || strings.ContainsFunc(value, func(r rune) bool { return %s })", class[2], outside), validation.Why(keyword, s)})
				continue
			}
			limit, isNumber = float64(len(w.Patterns)), true
			w.Patterns = append(w.Patterns, s.Pattern)
		}
		switch {
		case condition != "" && isNumber && limit == math.Trunc(limit) && math.Abs(limit) <= 1<<53:
			f.Rules = append(f.Rules, rule{fmt.Sprintf(condition, int64(limit)), validation.Why(keyword, s)})
		case condition == "" && isKnown, slices.Contains(silent, keyword), strings.HasPrefix(keyword, "x-"), keyword == "format" && formats[s.Format] == f.Kind:
		default:
			refuse("%s %v of the type %s", keyword, stated[keyword], f.Kind)
		}
	}
}

// object makes the form of an object, unless there is one, and returns its name.
func (w *walk) object(ref *openapi3.SchemaRef, typ codegen.Schema, goType, name string) string {
	if o := w.Objects[name]; o != nil && o.Go == goType {
		return name
	}
	s, o := ref.Value, &form{Name: name, Go: goType, Where: cmp.Or(ref.Ref, "an inline schema")}
	if w.Objects[name] != nil || len(typ.Properties) == 0 || len(typ.Properties) != len(s.Properties) || codegen.SchemaHasAdditionalProperties(s) ||
		slices.ContainsFunc(s.Required, func(field string) bool { return s.Properties[field] == nil }) {
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
		value := property.Value.Default
		if !w.decodes && f.Pointer == f.Required || w.decodes && !f.Required && value != nil && (f.Pointer || !reflect.ValueOf(value).IsZero()) {
			refuse("the field %s, which may be left out", f.JSON)
		}
		o.Fields = append(o.Fields, f)
	}
	return name
}
