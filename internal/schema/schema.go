// Package schema validates decoded JSON values against the schemas of an OpenAPI
// document.
//
// It uses kin-openapi's visitor for the schemas that the visitor reads as JSON
// Schema 2020-12 does, and for all others the engine that kin-openapi uses for
// OpenAPI 3.1, compiled once. It does not use their error texts, which quote values.
package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Compiler compiles the schemas of one document.
type Compiler struct {
	components any // the document's components, as JSON
}

// NewCompiler returns a Compiler for the schemas of doc.
func NewCompiler(doc *openapi3.T) (*Compiler, error) {
	components, err := toJSON(doc.Components)
	return &Compiler{components}, err
}

// Schema is a compiled schema. It is safe for concurrent use.
type Schema struct {
	root   *openapi3.Schema
	engine *jsonschema.Schema // nil: kin-openapi's visitor validates
	anyInt bool               // every int64 is valid, as for most ids
	scalar *scalarObject      // nil: bodies are decoded by ijson
}

// Compile compiles the schema that ref refers to or holds.
func (c *Compiler) Compile(ref *openapi3.SchemaRef) (*Schema, error) {
	target, err := toJSON(ref)
	if err != nil {
		return nil, err
	}
	resource := map[string]any{"components": c.components, "target": target}
	walk := walker{document: resource, seen: map[string]bool{}, formats: map[string]bool{}, simple: true}
	walk.schema(target)
	for _, pattern := range walk.patterns { // the visitor compiles them only at the first request
		if err := openapi3.NewStringSchema().WithPattern(pattern).Validate(context.Background()); err != nil {
			return nil, fmt.Errorf("schema: the pattern %q does not compile", pattern)
		}
	}
	if walk.simple {
		return &Schema{root: ref.Value, anyInt: anyInt(target), scalar: compileScalarObject(ref.Value)}, nil
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	for format := range walk.formats { // the visitor's formats, so that both validate alike
		compiler.RegisterFormat(&jsonschema.Format{Name: format, Validate: func(value any) error {
			switch value := value.(type) {
			case string:
				if validator := openapi3.SchemaStringFormats[format]; validator != nil {
					return validator.Validate(value)
				}
			case int64:
				if validator := openapi3.SchemaIntegerFormats[format]; validator != nil {
					return validator.Validate(value)
				}
			}
			return nil
		}})
	}
	compiler.AssertFormat()
	const url = "openapi:///document"
	if err := compiler.AddResource(url, resource); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	engine, err := compiler.Compile(url + "#/target")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return &Schema{root: ref.Value, engine: engine}, nil
}

// anyInt reports whether a schema accepts every integer of 64 bits.
func anyInt(target any) bool {
	object, _ := target.(map[string]any)
	for keyword, value := range object {
		switch keyword {
		case "type":
			if value != "integer" {
				return false
			}
		case "format":
			if value != "int64" {
				return false
			}
		case "title", "description", "default", "example", "examples":
		default:
			return false
		}
	}
	return object["type"] != nil
}

// AnyInt reports whether every integer of 64 bits is known to be valid.
func (s *Schema) AnyInt() bool { return s.anyInt }

// Simple reports whether kin-openapi's visitor validates by the schema.
func (s *Schema) Simple() bool { return s.engine == nil }

func toJSON(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(data))
}

// A Violation is one violated rule of a schema. It quotes the document, never a
// value.
type Violation struct {
	Field string // the field, with dots between levels ("users.0.name"); "" for the value itself
	Why   string // the predicate of a sentence about the field: "must be at least -1"
}

// maxViolations limits the violations of one value: a body of a megabyte can have
// many thousands.
const maxViolations = 20

// Check returns the first twenty violations of value, which is part of a request
// and in ijson's types. It returns none if value is valid.
func (s *Schema) Check(value any) []Violation {
	if s.engine != nil {
		var invalid *jsonschema.ValidationError
		if err := s.engine.Validate(value); errors.As(err, &invalid) {
			return s.engineViolations(nil, value, invalid)
		} else if err != nil {
			return []Violation{{Why: "cannot be validated"}}
		}
		return nil
	}
	err := s.root.VisitJSON(value, openapi3.VisitAsRequest(), openapi3.MultiErrors())
	if err == nil {
		return nil
	}
	return s.kinViolations(nil, value, err)
}

func (s *Schema) kinViolations(all []Violation, value any, err error) []Violation {
	if len(all) >= maxViolations {
		return all
	}
	switch err := err.(type) { //nolint:errorlint // the visitor does not wrap its errors
	case openapi3.MultiError:
		for _, err := range err {
			all = s.kinViolations(all, value, err)
		}
		return all
	case *openapi3.SchemaError:
		var causes openapi3.MultiError
		if err.SchemaField == "allOf" && errors.As(err.Origin, &causes) {
			return s.kinViolations(all, value, causes)
		}
		rule := err.SchemaField
		stated := err.Schema
		switch rule {
		case "nullable":
			rule = "type"
		case "properties":
			rule = "additionalProperties"
		}
		violation := s.violation(value, err.JSONPointer(), rule, stated)
		if slices.Contains(all, violation) { // the visitor returns one for each field that is not allowed
			return all
		}
		return append(all, violation)
	default:
		return append(all, Violation{Why: "cannot be validated"})
	}
}

func (s *Schema) engineViolations(all []Violation, value any, err *jsonschema.ValidationError) []Violation {
	if len(all) >= maxViolations {
		return all
	}
	if len(err.Causes) > 0 && !isAlternative(err.ErrorKind) {
		for _, cause := range err.Causes {
			all = s.engineViolations(all, value, cause)
		}
		return all
	}
	if required, ok := err.ErrorKind.(*kind.Required); ok {
		for _, name := range required.Missing[:min(len(required.Missing), maxViolations)] {
			all = append(all, s.violation(value, append(slices.Clone(err.InstanceLocation), name), "required", nil))
		}
		return all
	}
	rule := "schema"
	if path := err.ErrorKind.KeywordPath(); len(path) > 0 {
		rule = path[0]
	}
	return append(all, s.violation(value, err.InstanceLocation, rule, statedBy(err.ErrorKind)))
}

// statedBy returns a schema with the violated rule of k and its value. It returns
// nil for the rules that violation finds in the document's schema.
func statedBy(k jsonschema.ErrorKind) *openapi3.Schema {
	switch k := k.(type) {
	case *kind.Minimum:
		want, _ := k.Want.Float64()
		return &openapi3.Schema{Min: &want}
	case *kind.Maximum:
		want, _ := k.Want.Float64()
		return &openapi3.Schema{Max: &want}
	case *kind.Pattern:
		return &openapi3.Schema{Pattern: k.Want}
	}
	return nil
}

// isAlternative reports whether the causes of k are alternatives: a value need not
// satisfy all of them.
func isAlternative(k jsonschema.ErrorKind) bool {
	switch k.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Contains, *kind.PropertyNames:
		return true
	}
	return false
}

// violation returns the violation of rule by the field of value at path. Field has
// names from the document only: a name that the document does not declare comes
// from the caller and becomes "*". stated is the schema with the rule, or nil if it
// must be found.
func (s *Schema) violation(value any, path []string, rule string, stated *openapi3.Schema) Violation {
	at := parts(nil, s.root)
	names := make([]string, 0, len(path))
	for _, token := range path {
		name := "*"
		var next []*openapi3.Schema
		switch in := value.(type) {
		case []any:
			name = token
			for _, s := range at {
				if s.Items != nil {
					next = parts(next, s.Items.Value)
				}
			}
			if i, err := strconv.Atoi(token); err == nil && i < len(in) {
				value = in[i]
			}
		case map[string]any:
			for _, s := range at {
				if known := s.Properties[token]; known != nil {
					name = token
					next = parts(next, known.Value)
				} else if additional := s.AdditionalProperties.Schema; additional != nil {
					next = parts(next, additional.Value)
				}
			}
			value = in[token]
		}
		at = next
		names = append(names, name)
	}
	if stated != nil {
		at = []*openapi3.Schema{stated}
	}
	violation := Violation{Field: strings.Join(names, "."), Why: Why(rule, nil)}
	for _, s := range at {
		if text := Why(rule, s); text != violation.Why {
			violation.Why = text
			break
		}
	}
	return violation
}

// parts appends to all the schema s and the schemas that it combines.
func parts(all []*openapi3.Schema, s *openapi3.Schema) []*openapi3.Schema {
	if s == nil || slices.Contains(all, s) {
		return all
	}
	all = append(all, s)
	for _, ref := range slices.Concat(s.AllOf, s.AnyOf, s.OneOf, openapi3.SchemaRefs{s.If, s.Then, s.Else}) {
		if ref != nil {
			all = parts(all, ref.Value)
		}
	}
	return all
}

// Why returns the [Violation.Why] of a rule, which is a keyword of JSON Schema,
// with its value in s. s may be nil.
func Why(rule string, s *openapi3.Schema) string {
	if s == nil {
		s = &openapi3.Schema{}
	}
	number := func(f *float64) string { return strconv.FormatFloat(*f, 'f', -1, 64) }
	switch {
	case rule == "required":
		return "is required"
	case rule == "additionalProperties":
		return "has a field that is not allowed"
	case rule == "propertyNames":
		return "has a field whose name is not allowed"
	case rule == "anyOf":
		return "must match at least one of the allowed schemas"
	case rule == "oneOf":
		return "must match exactly one of the allowed schemas"
	case rule == "uniqueItems":
		return "must have no two equal items"
	case rule == "type" && s.Type != nil:
		return "must be of type " + strings.Join(s.Type.Slice(), " or ")
	case rule == "pattern" && s.Pattern != "":
		return "must match " + s.Pattern
	case rule == "minimum" && s.Min != nil:
		return "must be at least " + number(s.Min)
	case rule == "maximum" && s.Max != nil:
		return "must be at most " + number(s.Max)
	case rule == "exclusiveMinimum" && s.ExclusiveMin.Value != nil:
		return "must be greater than " + number(s.ExclusiveMin.Value)
	case rule == "exclusiveMaximum" && s.ExclusiveMax.Value != nil:
		return "must be less than " + number(s.ExclusiveMax.Value)
	case rule == "multipleOf" && s.MultipleOf != nil:
		return "must be a multiple of " + number(s.MultipleOf)
	case rule == "minLength" && s.MinLength > 0:
		return "must have at least " + count(s.MinLength, "character")
	case rule == "maxLength" && s.MaxLength != nil:
		return "must have at most " + count(*s.MaxLength, "character")
	case rule == "minItems" && s.MinItems > 0:
		return "must have at least " + count(s.MinItems, "item")
	case rule == "maxItems" && s.MaxItems != nil:
		return "must have at most " + count(*s.MaxItems, "item")
	case rule == "minProperties" && s.MinProps > 0:
		return "must have at least " + count(s.MinProps, "field")
	case rule == "maxProperties" && s.MaxProps != nil:
		return "must have at most " + count(*s.MaxProps, "field")
	case rule == "format" && s.Format != "":
		return "must be a " + s.Format
	case rule == "enum" && len(s.Enum) > 0:
		return "must be one of " + strings.Trim(fmt.Sprint(s.Enum), "[]")
	case rule == "const" && s.Const != nil:
		if text, err := json.Marshal(s.Const); err == nil {
			return "must be " + string(text)
		}
	}
	return "must satisfy " + rule
}

// count returns a number of things: "1 item", "2 items".
func count(n uint64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.FormatUint(n, 10) + " " + thing
}

// FillDefaults sets the absent fields of value, which must be valid, to the
// schema's defaults. It does not use defaults inside a oneOf or anyOf.
func (s *Schema) FillDefaults(value any) { fillDefaults(s.root, value) }

func fillDefaults(s *openapi3.Schema, value any) {
	for _, part := range s.AllOf {
		fillDefaults(part.Value, value)
	}
	switch value := value.(type) {
	case map[string]any:
		for name, ref := range s.Properties {
			if field, ok := value[name]; ok {
				fillDefaults(ref.Value, field)
			} else if ref.Value.Default != nil {
				value[name] = fresh(ref.Value.Default)
			}
		}
		if additional := s.AdditionalProperties.Schema; additional != nil {
			for name, field := range value {
				if s.Properties[name] == nil {
					fillDefaults(additional.Value, field)
				}
			}
		}
	case []any:
		if s.Items != nil {
			for _, element := range value {
				fillDefaults(s.Items.Value, element)
			}
		}
	}
}

// fresh returns a copy of a default of the document, in ijson's types.
func fresh(value any) any {
	switch value := value.(type) {
	case float64:
		if n := int64(value); float64(n) == value {
			return n
		}
	case int:
		return int64(value)
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = fresh(value[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(value))
		for k := range value {
			out[k] = fresh(value[k])
		}
		return out
	}
	return value
}

// walker collects facts about a schema, given as JSON, and all schemas that it
// refers to.
type walker struct {
	document map[string]any
	seen     map[string]bool // references followed
	formats  map[string]bool
	patterns []string
	simple   bool // the visitor reads all keywords as JSON Schema 2020-12 does
}

func (w *walker) schema(node any) {
	object, ok := node.(map[string]any)
	if !ok { // a boolean schema
		w.simple = false
		return
	}
	if ref, ok := object["$ref"].(string); ok && !w.seen[ref] {
		w.seen[ref] = true
		w.schema(w.resolve(ref))
	}
	if _, ok := object["type"]; !ok && object["$ref"] == nil && object["allOf"] == nil {
		w.simple = false // the visitor refuses null where no type is stated
	}
	if object["enum"] != nil && object["allOf"] != nil || allowsNull(object["type"]) && (object["enum"] != nil || object["allOf"] != nil) {
		w.simple = false // the visitor accepts an allowed null without checking enum and allOf
	}
	for keyword, value := range object {
		switch keyword {
		case "properties":
			properties, _ := value.(map[string]any)
			for _, property := range properties {
				w.schema(property)
			}
		case "items":
			w.schema(value)
		case "additionalProperties":
			if _, ok := value.(bool); !ok {
				w.schema(value)
			}
		case "allOf":
			parts, _ := value.([]any)
			for _, part := range parts {
				w.schema(part)
			}
		case "enum":
			values, _ := value.([]any)
			for _, value := range values {
				if _, ok := value.(string); !ok {
					w.simple = false
				}
			}
		case "format":
			if format, ok := value.(string); ok {
				w.formats[format] = true
			}
		case "pattern":
			if pattern, ok := value.(string); ok {
				w.patterns = append(w.patterns, pattern)
			}
		case "$ref":
			if len(object) > 1 {
				w.simple = false
			}
		case "type", "required", "title", "description", "default", "example", "examples", "deprecated",
			"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
			"minItems", "maxItems", "minProperties", "maxProperties", "readOnly", "writeOnly", "externalDocs", "xml":
		default:
			if !strings.HasPrefix(keyword, "x-") {
				w.simple = false
				w.collect(value)
			}
		}
	}
}

func allowsNull(types any) bool {
	list, _ := types.([]any)
	return types == "null" || slices.Contains(list, any("null"))
}

// collect collects the formats below a keyword that only the engine reads.
func (w *walker) collect(node any) {
	switch node := node.(type) {
	case []any:
		for _, element := range node {
			w.collect(element)
		}
	case map[string]any:
		if format, ok := node["format"].(string); ok {
			w.formats[format] = true
		}
		if ref, ok := node["$ref"].(string); ok && !w.seen[ref] {
			w.seen[ref] = true
			w.schema(w.resolve(ref))
		}
		for _, value := range node {
			w.collect(value)
		}
	}
}

func (w *walker) resolve(ref string) any {
	var node any = w.document
	for token := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		object, _ := node.(map[string]any)
		node = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]
	}
	return node
}
