package server

import (
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
func checkSchema(ref *openapi3.SchemaRef, inline bool) error {
	isNull := func(ref *openapi3.SchemaRef) bool { return ref.Value.Type.Is("null") }
	return ref.WalkSubtree(func(pointer string, ref *openapi3.SchemaRef) error {
		s, keyword := ref.Value, ""
		switch {
		case s.Format == "binary":
			return fmt.Errorf("schema%s: a string with the format binary is not supported: in the generated code it is a file", pointer)
		case s.Format == "" && s.ContentMediaType != "":
			return fmt.Errorf("schema%s: a string with contentMediaType is not supported: in the generated code it is a file", pointer)
		case len(slices.DeleteFunc(slices.Clone(s.OneOf), isNull)) > 1:
			keyword = "oneOf"
		case len(slices.DeleteFunc(slices.Clone(s.AnyOf), isNull)) > 1:
			keyword = "anyOf"
		case len(s.Properties) > 0 && (s.AdditionalProperties.Schema != nil || s.AdditionalProperties.Has != nil && *s.AdditionalProperties.Has):
			keyword = "additionalProperties"
		}
		if inline && keyword != "" {
			return fmt.Errorf("schema%s: %s is supported only in a body that is one of the components: the generated code does not decode it elsewhere", pointer, keyword)
		}
		return nil
	})
}
