package validation

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// sentences has the [Violation.Why] of a violated rule, by its keyword in JSON Schema,
// with the keyword's value for %v.
var sentences = map[string]string{
	"required":             "is required",
	"additionalProperties": "has a field that is not allowed",
	"propertyNames":        "has a field whose name is not allowed",
	"anyOf":                "must match at least one of the allowed schemas",
	"oneOf":                "must match exactly one of the allowed schemas",
	"uniqueItems":          "must have no two equal items",
	"type":                 "must be of type %v",
	"pattern":              "must match %v",
	"format":               "must be a %v",
	"enum":                 "must be one of %v",
	"const":                "must be %v",
	"minimum":              "must be at least %v",
	"maximum":              "must be at most %v",
	"exclusiveMinimum":     "must be greater than %v",
	"exclusiveMaximum":     "must be less than %v",
	"multipleOf":           "must be a multiple of %v",
	"minLength":            "must have at least %v characters",
	"maxLength":            "must have at most %v characters",
	"minItems":             "must have at least %v items",
	"maxItems":             "must have at most %v items",
	"minProperties":        "must have at least %v fields",
	"maxProperties":        "must have at most %v fields",
}

// Why returns the [Violation.Why] of a rule, which is a keyword of JSON Schema,
// with its value in s. s may be nil.
func Why(rule string, s *openapi3.Schema) string {
	schema, _ := toJSON(s)
	object, _ := schema.(map[string]any)
	return why(rule, object[rule])
}

// why is Why with the value of the rule, or nil.
func why(rule string, want any) string {
	sentence := sentences[rule]
	if !strings.Contains(sentence, "%v") && sentence != "" {
		return sentence
	}
	if sentence == "" || want == nil {
		return "must satisfy " + rule
	}
	text := fmt.Sprint(want)
	switch number, isFraction := want.(*big.Rat); {
	case isFraction:
		f, _ := number.Float64()
		text = strconv.FormatFloat(f, 'f', -1, 64)
	case rule == "type":
		text = strings.ReplaceAll(strings.Trim(text, "[]"), " ", " or ")
	case rule == "enum":
		text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	case rule == "const":
		data, _ := json.Marshal(want) // it was JSON
		text = string(data)
	case text == "1" && strings.HasPrefix(sentence, "must have"):
		sentence = strings.TrimSuffix(sentence, "s") // 1 item
	}
	return fmt.Sprintf(sentence, text)
}
