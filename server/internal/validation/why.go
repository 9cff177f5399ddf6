package validation

import (
	"encoding/json"
	"fmt"
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
	schema, _ := toJSON(s) // without its value, the rule has only its name
	return why(rule, schema)
}

// why is Why with a schema as JSON.
func why(rule string, schema any) string {
	sentence := sentences[rule]
	object, _ := schema.(map[string]any)
	want := object[rule]
	switch {
	case !strings.Contains(sentence, "%v") && sentence != "":
		return sentence
	case sentence == "" || want == nil:
		return "must satisfy " + rule
	case rule == "const":
		text, _ := json.Marshal(want) // it was JSON
		want = string(text)
	case want == json.Number("1"):
		sentence = strings.TrimSuffix(sentence, "s") // 1 item
	}
	if list, ok := want.([]any); ok {
		text := strings.Trim(fmt.Sprint(list), "[]")
		if rule == "type" {
			text = strings.ReplaceAll(text, " ", " or ")
		}
		want = text
	}
	return fmt.Sprintf(sentence, want)
}
