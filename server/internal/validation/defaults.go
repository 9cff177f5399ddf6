package validation

import (
	"encoding/json"

	"github.com/getkin/kin-openapi/openapi3"
)

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
			if _, ok := value[name]; !ok && ref.Value.Default != nil {
				value[name] = fresh(ref.Value.Default)
			} else if ok {
				fillDefaults(ref.Value, value[name])
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
		for _, element := range value {
			if s.Items != nil {
				fillDefaults(s.Items.Value, element)
			}
		}
	}
}

// fresh returns a copy of a default of the document, in the types of [Decode].
func fresh(value any) any {
	if data, err := json.Marshal(value); err == nil {
		if decoded, err := Decode(data); err == nil {
			return decoded
		}
	}
	return value // a number that no request may have
}
