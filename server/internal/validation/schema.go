// Package validation decodes and validates request bodies and parameters by the
// schemas of an OpenAPI document.
//
// It uses the JSON Schema engine that kin-openapi uses for OpenAPI 3.1, and compiles
// each schema once. It does not use the engine's error texts, which quote values.
// Most bodies do not come here: the generated code has their rules. The files
// number.go and violation.go are copied into the generated code, so that both decode
// and report alike.
package validation

import (
	"bytes"
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
	engine *jsonschema.Schema
	anyInt bool // every int64 is valid, as for most ids
}

// Compile compiles the schema that ref refers to or holds.
func (c *Compiler) Compile(ref *openapi3.SchemaRef) (*Schema, error) {
	target, err := toJSON(ref)
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	resource := map[string]any{"components": c.components, "target": target}
	registerFormats(compiler, resource)
	compiler.AssertFormat()
	const url = "openapi:///document"
	if err := compiler.AddResource(url, resource); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	engine, err := compiler.Compile(url + "#/target")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return &Schema{root: ref.Value, engine: engine, anyInt: anyInt(target)}, nil
}

// registerFormats has the formats that occur in node validated as kin-openapi does,
// because JSON Schema leaves open which formats bind.
func registerFormats(compiler *jsonschema.Compiler, node any) {
	switch node := node.(type) {
	case map[string]any:
		if name, ok := node["format"].(string); ok {
			compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(value any) error {
				switch value := value.(type) {
				case string:
					if format := openapi3.SchemaStringFormats[name]; format != nil {
						return format.Validate(value)
					}
				case int64:
					if format := openapi3.SchemaIntegerFormats[name]; format != nil {
						return format.Validate(value)
					}
				}
				return nil
			}})
		}
		for _, child := range node {
			registerFormats(compiler, child)
		}
	case []any:
		for _, child := range node {
			registerFormats(compiler, child)
		}
	}
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

func toJSON(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(data))
}

// Check returns the violations of value, which is in the types of [Decode]: the first
// twenty by field and text, or none if value is valid.
func (s *Schema) Check(value any) []Violation {
	var invalid *jsonschema.ValidationError
	switch err := s.engine.Validate(value); {
	case errors.As(err, &invalid):
		return s.violations(nil, value, invalid)
	case err != nil:
		return []Violation{{Why: "cannot be validated"}}
	}
	return nil
}

func (s *Schema) violations(all []Violation, value any, err *jsonschema.ValidationError) []Violation {
	if len(err.Causes) > 0 && !isAlternative(err.ErrorKind) {
		for _, cause := range err.Causes {
			all = s.violations(all, value, cause)
		}
		return all
	}
	if required, ok := err.ErrorKind.(*kind.Required); ok {
		for _, name := range required.Missing {
			all = addViolation(all, s.violation(value, append(slices.Clone(err.InstanceLocation), name), "required", nil))
		}
		return all
	}
	rule := "schema"
	if path := err.ErrorKind.KeywordPath(); len(path) > 0 {
		rule = path[0]
	}
	return addViolation(all, s.violation(value, err.InstanceLocation, rule, statedBy(err.ErrorKind)))
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
