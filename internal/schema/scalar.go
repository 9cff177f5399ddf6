package schema

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// quick is what a body is judged by while it is read: the schema of an object
// with scalar fields that has nothing but what is known here. It finds what the
// visitor finds, in the same words and order.
type scalarObject struct {
	fields   []field        // sorted by name
	index    map[string]int // in fields, by name in quotation marks
	required []int          // in fields, as the document lists them
	closed   bool           // other fields are not allowed
}

type field struct {
	*openapi3.Schema
	name     string
	typ      string
	pattern  *regexp.Regexp
	fallback any // the default
}

// knownKeywords are those that a quick schema may have, by its type, besides
// those that every schema may have, as they say nothing of a value.
var (
	knownKeywords = map[string][]string{
		"object":  {"properties", "required", "additionalProperties"},
		"string":  {"pattern", "minLength", "maxLength", "enum"},
		"integer": {"minimum", "maximum"},
		"number":  {"minimum", "maximum"},
		"boolean": {},
	}
	silentKeywords = []string{"type", "format", "title", "description", "default", "example", "examples", "deprecated", "externalDocs"}
	knownFormats   = map[string]string{"password": "string", "int64": "integer"} // no value that is read breaks them
)

// knownType returns the type of a schema, or "" if there is more in it than is
// known here.
func knownType(s *openapi3.Schema) string {
	if s.Type == nil || len(*s.Type) != 1 {
		return ""
	}
	typ := (*s.Type)[0]
	keywords, known := knownKeywords[typ]
	stated, err := toJSON(s)
	if !known || err != nil || s.Format != "" && knownFormats[s.Format] != typ {
		return ""
	}
	for keyword := range stated.(map[string]any) {
		if !slices.Contains(keywords, keyword) && !slices.Contains(silentKeywords, keyword) && !strings.HasPrefix(keyword, "x-") {
			return ""
		}
	}
	return typ
}

// compileQuick returns the quick form of a schema that the visitor judges by,
// or nil if it has none. Fields that are not declared are not kept, so there is
// none for an object whose Go type may have a place for them.
func compileScalarObject(s *openapi3.Schema) *scalarObject {
	more := s.AdditionalProperties
	if knownType(s) != "object" || len(s.Properties) == 0 || more.Schema != nil || more.Has != nil && *more.Has || s.Extensions["x-go-type"] != nil {
		return nil
	}
	q := &scalarObject{index: make(map[string]int), closed: more.Has != nil}
	for at, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := field{Schema: s.Properties[name].Value, name: name}
		if !f.compile() {
			return nil
		}
		q.fields = append(q.fields, f)
		q.index[`"`+name+`"`] = at
	}
	for _, name := range s.Required {
		at, declared := q.index[`"`+name+`"`]
		if !declared || slices.Contains(q.required, at) {
			return nil
		}
		q.required = append(q.required, at)
	}
	return q
}

// compile reports whether a quick schema may have f.
func (f *field) compile() bool {
	f.typ = knownType(f.Schema)
	f.fallback = fresh(f.Default)
	switch f.fallback.(type) {
	case []any, map[string]any:
		return false
	}
	var err error
	if f.Pattern != "" {
		f.pattern, err = regexp.Compile(f.Pattern)
	}
	rewritten := strings.Contains(f.Pattern, `\u`) // by kin-openapi
	return f.typ != "" && f.typ != "object" && err == nil && !rewritten
}

// check returns the rules that an object breaks, or the first twenty. It has a
// value for each field, nil for those that are absent.
func (q *scalarObject) check(values []any) (violations []Violation) {
	for at := range q.fields {
		if values[at] != nil {
			violations = q.fields[at].check(violations, values[at])
		}
	}
	for _, at := range q.required {
		if values[at] == nil {
			violations = append(violations, Violation{q.fields[at].name, Why("required", nil)})
		}
	}
	return violations[:min(len(violations), maxViolations)]
}

// check appends the rules that the field's value breaks.
func (f *field) check(violations []Violation, value any) []Violation {
	breaks := func(rule string, broken bool) {
		if broken {
			violations = append(violations, Violation{f.name, Why(rule, f.Schema)})
		}
	}
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, value) {
		breaks("enum", true)
		return violations
	}
	typ := typeOf(value)
	switch {
	case typ == f.typ, typ == "integer" && f.typ == "number":
	case typ == "number" && f.typ == "integer": // the bounds may be broken besides
		breaks("type", true)
	default:
		breaks("type", true)
		return violations
	}
	switch value := value.(type) {
	case string:
		length := uint64(utf8.RuneCountInString(value)) //nolint:gosec // it is not negative
		breaks("minLength", length < f.MinLength)
		breaks("maxLength", f.MaxLength != nil && length > *f.MaxLength)
		breaks("pattern", f.pattern != nil && !f.pattern.MatchString(value))
	case int64:
		breaks("minimum", f.Min != nil && float64(value) < *f.Min)
		breaks("maximum", f.Max != nil && float64(value) > *f.Max)
	case float64:
		breaks("minimum", f.Min != nil && value < *f.Min)
		breaks("maximum", f.Max != nil && value > *f.Max)
	}
	return violations
}

func typeOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case int64:
		return "integer"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return ""
}
