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
	"reflect"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Compiler compiles the schemas of one document.
type Compiler struct {
	components any
	names      map[string]bool // of the document's fields
	formats    map[string]bool
}

// NewCompiler returns a Compiler for the schemas of doc.
func NewCompiler(doc *openapi3.T) (*Compiler, error) {
	c := &Compiler{names: map[string]bool{}, formats: map[string]bool{}}
	err := doc.WalkSchemas(func(_ string, ref *openapi3.SchemaRef) error {
		c.formats[ref.Value.Format] = true
		for name := range ref.Value.Properties {
			c.names[name] = true
		}
		return nil
	})
	if err == nil {
		c.components, err = toJSON(doc.Components)
	}
	return c, err
}

func toJSON(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(data))
}

// Schema is a compiled schema. It is safe for concurrent use.
type Schema struct {
	root   *openapi3.Schema
	engine *jsonschema.Schema
	names  map[string]bool // of the document's fields
}

// Compile compiles the schema that ref refers to or holds, which is a part of the document.
func (c *Compiler) Compile(ref *openapi3.SchemaRef) (*Schema, error) {
	target, err := toJSON(ref)
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	for name := range c.formats {
		compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(value any) error { return validateFormat(name, value) }})
	}
	const location = "openapi:///document"
	var engine *jsonschema.Schema
	if err = compiler.AddResource(location, map[string]any{"components": c.components, "target": target}); err == nil {
		engine, err = compiler.Compile(location + "#/target")
	}
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return &Schema{root: ref.Value, engine: engine, names: c.names}, nil
}

// validateFormat validates a format as kin-openapi does, because JSON Schema leaves
// open which formats bind.
func validateFormat(name string, value any) error {
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
	alternatives := false // a value need not satisfy all of the causes
	switch err.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Contains, *kind.PropertyNames:
		alternatives = true
	}
	if len(err.Causes) > 0 && !alternatives {
		for _, cause := range err.Causes {
			all = s.violations(all, value, cause)
		}
		return all
	}
	field := s.field(value, err.InstanceLocation)
	if required, ok := err.ErrorKind.(*kind.Required); ok {
		for _, name := range required.Missing {
			all = addViolation(all, []byte(strings.TrimPrefix(field+"."+name, ".")), sentences["required"])
		}
		return all
	}
	rule := "schema"
	if path := err.ErrorKind.KeywordPath(); len(path) > 0 {
		rule = path[0]
	}
	var want any // the value of the rule
	if field := reflect.Indirect(reflect.ValueOf(err.ErrorKind)).FieldByName("Want"); field.IsValid() {
		want = field.Interface()
	}
	return addViolation(all, []byte(field), why(rule, want))
}

// field returns the field of value at path. It has names from the document only:
// another name comes from the caller and becomes "*".
func (s *Schema) field(value any, path []string) string {
	names := make([]string, len(path))
	for i, token := range path {
		names[i] = token
		switch in := value.(type) {
		case []any:
			at, _ := strconv.Atoi(token)
			value = in[at]
		case map[string]any:
			value = in[token]
			if !s.names[token] {
				names[i] = "*"
			}
		}
	}
	return strings.Join(names, ".")
}
