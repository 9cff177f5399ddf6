package validation

import "github.com/getkin/kin-openapi/openapi3"

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

// fresh returns a copy of a default of the document, in the types of [Decode].
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
