package validation

import (
	"maps"
	"slices"
	"strconv"

	"github.com/getkin/kin-openapi/openapi3"
)

// Unknown returns the names of the fields of value, which is in the types of [Decode], that
// no part of the schema has: the first eight, sorted, with dots between levels. An object
// whose schema has no properties, or says which others there may be, has no unknown fields.
func (s *Schema) Unknown(value any) []string { return unknown(nil, "", value, s.root) }

func unknown(all []string, field string, value any, schemas ...*openapi3.Schema) []string {
	switch value := value.(type) {
	case map[string]any:
		parts := parts(nil, schemas...)
		isOpen := slices.ContainsFunc(parts, saysMore) ||
			!slices.ContainsFunc(parts, func(part *openapi3.Schema) bool { return len(part.Properties) > 0 })
		for name, value := range value {
			var of []*openapi3.Schema
			for _, part := range parts {
				if ref := part.Properties[name]; ref != nil {
					of = append(of, ref.Value)
				} else if ref := part.AdditionalProperties.Schema; ref != nil {
					of = append(of, ref.Value)
				}
			}
			if of != nil {
				all = unknown(all, below(field, name), value, of...)
			} else if !isOpen {
				all = addUnknown(all, field, name)
			}
		}
	case []any:
		var of []*openapi3.Schema
		for _, part := range parts(nil, schemas...) {
			if part.Items != nil {
				of = append(of, part.Items.Value)
			}
		}
		for i := 0; of != nil && i < len(value); i++ {
			all = unknown(all, below(field, strconv.Itoa(i)), value[i], of...)
		}
	}
	return all
}

// below returns the field name of the value in field. It does not extend a field that
// [addUnknown] cuts anyway: a schema that refers to itself may have ten thousand levels.
func below(field, name string) string {
	switch {
	case field == "":
		return name
	case len(field) > maxUnknownName:
		return field
	}
	return field + "." + name
}

// saysMore reports whether a schema says which fields there may be besides its properties.
func saysMore(s *openapi3.Schema) bool {
	unset := openapi3.BoolSchema{}
	return s.AdditionalProperties != unset || s.UnevaluatedProperties != unset || s.PatternProperties != nil
}

// parts adds to all the schemas and those that they apply to the same value.
func parts(all []*openapi3.Schema, schemas ...*openapi3.Schema) []*openapi3.Schema {
	for _, s := range schemas {
		if slices.Contains(all, s) {
			continue
		}
		all = append(all, s)
		refs := slices.Concat(s.AllOf, s.AnyOf, s.OneOf, openapi3.SchemaRefs{s.If, s.Then, s.Else}, slices.Collect(maps.Values(s.DependentSchemas)))
		for _, ref := range refs {
			if ref != nil {
				all = parts(all, ref.Value)
			}
		}
	}
	return all
}
