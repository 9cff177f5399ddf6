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
	if len(requirements) != 1 || len(requirements[0]) != 1 {
		return fmt.Errorf("security %v: the server supports exactly one scheme", schemes(requirements))
	}
	for name := range requirements[0] {
		var ref *openapi3.SecuritySchemeRef
		if doc.Components != nil {
			ref = doc.Components.SecuritySchemes[name]
		}
		if ref == nil || ref.Value == nil {
			return fmt.Errorf("security scheme %s: it is not declared in the components", name)
		}
		if s := ref.Value; s.Type != "apiKey" || s.In != "header" || !strings.EqualFold(s.Name, "Authorization") {
			return fmt.Errorf("security scheme %s: the server supports only an API key in the header Authorization", name)
		}
	}
	return nil
}

func schemes(requirements openapi3.SecurityRequirements) []string {
	names := []string{}
	for _, requirement := range requirements {
		for name := range requirement {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkBody refuses the schemas of bodies that the generated code does not decode,
// or decodes to another value than was sent.
func checkBody(ref *openapi3.SchemaRef) error {
	if ref.Ref == "" {
		if keyword := decoderKeyword(ref.Value); keyword != "" {
			return fmt.Errorf("a schema with %s must be one of the components, with a $ref to it: the generated code does not decode an inline one", keyword)
		}
	}
	return checkFiles(ref.Value, map[*openapi3.Schema]bool{})
}

// checkParameter refuses the schemas of parameters that the generated code does
// not decode: it binds a parameter without the methods that decode its type.
func checkParameter(schema *openapi3.Schema) error {
	schemas := map[string]*openapi3.Schema{"": schema}
	if schema.Type.Is("array") && schema.Items != nil {
		schemas["its items: "] = schema.Items.Value
	}
	for name, ref := range schema.Properties {
		schemas[name+": "] = ref.Value
	}
	for _, where := range slices.Sorted(maps.Keys(schemas)) {
		if kind := fileKind(schemas[where]); kind != "" {
			return fmt.Errorf("%sa string with %s is not supported: in the generated code it is a file, which arrives empty", where, kind)
		}
		if keyword := decoderKeyword(schemas[where]); keyword != "" {
			return fmt.Errorf("%sa parameter with %s is not supported: the generated code does not decode it", where, keyword)
		}
	}
	return nil
}

// decoderKeyword returns the keyword because of which the generator writes a
// decoding method for the schema's Go type, or "". The Go type of an inline schema
// has no such method.
func decoderKeyword(schema *openapi3.Schema) string {
	isNull := func(ref *openapi3.SchemaRef) bool { return ref.Value.Type.Is("null") }
	switch {
	case len(slices.DeleteFunc(slices.Clone(schema.OneOf), isNull)) > 1:
		return "oneOf"
	case len(slices.DeleteFunc(slices.Clone(schema.AnyOf), isNull)) > 1:
		return "anyOf"
	case schema.AdditionalProperties.Schema != nil && len(schema.Properties) > 0,
		schema.AdditionalProperties.Has != nil && *schema.AdditionalProperties.Has && len(schema.Properties) > 0:
		return "additionalProperties"
	}
	for _, part := range schema.AllOf { // the generator merges them
		if keyword := decoderKeyword(part.Value); keyword != "" {
			return keyword
		}
	}
	return ""
}

// checkFiles refuses a string, anywhere in schema, that is a file in the generated
// code: the file decodes base64, and the document means the string itself.
func checkFiles(schema *openapi3.Schema, seen map[*openapi3.Schema]bool) error {
	if seen[schema] {
		return nil
	}
	seen[schema] = true
	if kind := fileKind(schema); kind != "" && schema.ContentEncoding != "base64" {
		return fmt.Errorf("a string with %s is not supported: the generated code decodes it as base64", kind)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if err := checkFiles(schema.Properties[name].Value, seen); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, ref := range slices.Concat(schema.AllOf, schema.AnyOf, schema.OneOf, openapi3.SchemaRefs{schema.Items, schema.AdditionalProperties.Schema}) {
		if ref != nil {
			if err := checkFiles(ref.Value, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// fileKind returns the keyword because of which a string is a file in the
// generated code, or "".
func fileKind(schema *openapi3.Schema) string {
	switch {
	case schema.Format == "binary":
		return "the format binary"
	case schema.Format == "" && schema.ContentMediaType != "":
		return "contentMediaType"
	}
	return ""
}
