package schema

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// scalarObject is the compiled schema of an object with scalar fields. A body is
// validated by it while it is read, without a tree. It supports knownKeywords only,
// and returns the same violations, in the same order, as kin-openapi's visitor.
type scalarObject struct {
	fields   []field        // sorted by name
	index    map[string]int // positions in fields, by quoted name
	required []int          // positions in fields, in the document's order
	closed   bool           // other fields are not allowed
}

type field struct {
	*openapi3.Schema
	name     string
	typ      string
	pattern  *regexp.Regexp
	fallback any // the default, in ijson's types
}

// A scalarObject and its fields support these keywords and formats only.
var (
	knownKeywords = map[string][]string{ // by type, the keywords that validate
		"object":  {"properties", "required", "additionalProperties"},
		"string":  {"pattern", "minLength", "maxLength", "enum"},
		"integer": {"minimum", "maximum"},
		"number":  {"minimum", "maximum"},
		"boolean": {},
	}
	silentKeywords = []string{"type", "format", "title", "description", "default", "example", "examples", "deprecated", "externalDocs"}
	knownFormats   = map[string]string{"password": "string", "int64": "integer"} // every value that ijson returns satisfies them
)

// knownType returns the type of a schema, or "" if the schema has a keyword or
// format that is not supported here.
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

// compileScalarObject returns the scalarObject of a simple schema, or nil if the
// schema needs more than a scalarObject supports. A scalarObject drops undeclared
// fields, so an object whose Go type may keep them has none.
func compileScalarObject(s *openapi3.Schema) *scalarObject {
	more := s.AdditionalProperties
	if knownType(s) != "object" || len(s.Properties) == 0 || more.Schema != nil || more.Has != nil && *more.Has || s.Extensions["x-go-type"] != nil {
		return nil
	}
	o := &scalarObject{index: make(map[string]int), closed: more.Has != nil}
	for at, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := field{Schema: s.Properties[name].Value, name: name}
		if !f.compile() {
			return nil
		}
		o.fields = append(o.fields, f)
		o.index[`"`+name+`"`] = at
	}
	for _, name := range s.Required {
		at, declared := o.index[`"`+name+`"`]
		if !declared || slices.Contains(o.required, at) {
			return nil
		}
		o.required = append(o.required, at)
	}
	return o
}

// compile completes f, and reports whether a scalarObject supports it.
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

// check returns the first twenty violations of an object. values has a value for
// each field, nil if the field is absent.
func (o *scalarObject) check(values []any) (violations []Violation) {
	for at := range o.fields {
		if values[at] != nil {
			violations = o.fields[at].check(violations, values[at])
		}
	}
	for _, at := range o.required {
		if values[at] == nil {
			violations = append(violations, Violation{o.fields[at].name, Why("required", nil)})
		}
	}
	return violations[:min(len(violations), maxViolations)]
}

// check appends the violations of the field's value.
func (f *field) check(violations []Violation, value any) []Violation {
	violates := func(rule string, isViolated bool) {
		if isViolated {
			violations = append(violations, Violation{f.name, Why(rule, f.Schema)})
		}
	}
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, value) {
		violates("enum", true)
		return violations
	}
	typ := typeOf(value)
	switch {
	case typ == f.typ, typ == "integer" && f.typ == "number":
	case typ == "number" && f.typ == "integer": // the bounds are checked too
		violates("type", true)
	default:
		violates("type", true)
		return violations
	}
	switch value := value.(type) {
	case string:
		length := uint64(utf8.RuneCountInString(value)) //nolint:gosec // it is not negative
		violates("minLength", length < f.MinLength)
		violates("maxLength", f.MaxLength != nil && length > *f.MaxLength)
		violates("pattern", f.pattern != nil && !f.pattern.MatchString(value))
	case int64:
		violates("minimum", f.Min != nil && float64(value) < *f.Min)
		violates("maximum", f.Max != nil && float64(value) > *f.Max)
	case float64:
		violates("minimum", f.Min != nil && value < *f.Min)
		violates("maximum", f.Max != nil && value > *f.Max)
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
