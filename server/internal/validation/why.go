package validation

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

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
