package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// checkSecurity refuses an operation with any authentication other than one API
// key in the header Authorization.
func checkSecurity(doc *openapi3.T, op *openapi3.Operation) error {
	requirements := doc.Security
	if op.Security != nil {
		requirements = *op.Security
	}
	names := []string{}
	for _, requirement := range requirements {
		names = slices.AppendSeq(names, maps.Keys(requirement))
	}
	slices.Sort(names)
	if len(requirements) != 1 || len(names) != 1 {
		return fmt.Errorf("security %v: the server supports exactly one scheme", names)
	}
	components := openapi3.Components{}
	if doc.Components != nil {
		components = *doc.Components
	}
	ref := components.SecuritySchemes[names[0]]
	if ref == nil {
		return fmt.Errorf("security scheme %s: it is not declared in the components", names[0])
	}
	if s := ref.Value; s.Type != "apiKey" || s.In != "header" || !strings.EqualFold(s.Name, "Authorization") {
		return fmt.Errorf("security scheme %s: the server supports only an API key in the header Authorization", names[0])
	}
	return nil
}

// checkSchema refuses a schema whose values the generated code does not decode, or
// decodes to other values. inline says that the schema belongs to a parameter or to a
// body that is not one of the components: their Go types have no decoding methods.
func checkSchema(schema *openapi3.Schema, inline bool, seen map[*openapi3.Schema]bool) error {
	if seen[schema] {
		return nil
	}
	seen[schema] = true
	isNull := func(ref *openapi3.SchemaRef) bool { return ref.Value.Type.Is("null") }
	additional := schema.AdditionalProperties
	keyword := ""
	switch {
	case schema.Format == "binary":
		return errors.New("a string with the format binary is not supported: in the generated code it is a file")
	case schema.Format == "" && schema.ContentMediaType != "":
		return errors.New("a string with contentMediaType is not supported: in the generated code it is a file")
	case len(slices.DeleteFunc(slices.Clone(schema.OneOf), isNull)) > 1:
		keyword = "oneOf"
	case len(slices.DeleteFunc(slices.Clone(schema.AnyOf), isNull)) > 1:
		keyword = "anyOf"
	case len(schema.Properties) > 0 && (additional.Schema != nil || additional.Has != nil && *additional.Has):
		keyword = "additionalProperties"
	}
	if inline && keyword != "" {
		return fmt.Errorf("a schema with %s is supported only in a body that is one of the components: the generated code does not decode it elsewhere", keyword)
	}
	parts := maps.Clone(schema.Properties)
	if parts == nil {
		parts = openapi3.Schemas{}
	}
	parts["its items"], parts["its other fields"] = schema.Items, additional.Schema
	for i, ref := range slices.Concat(schema.AllOf, schema.AnyOf, schema.OneOf) {
		parts[fmt.Sprintf("its part %d", i)] = ref
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if ref := parts[name]; ref != nil {
			if err := checkSchema(ref.Value, inline, seen); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}
