package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers/server/internal/validation"
)

// The keywords and formats that the generator knows completely: those that validate,
// by type, and those that do not.
var (
	knownKeywords = map[string][]string{
		"object":  {"properties", "required", "additionalProperties"},
		"array":   {"items", "minItems", "maxItems"},
		"string":  {"pattern", "minLength", "maxLength", "enum"},
		"integer": {"minimum", "maximum"},
		"boolean": {},
	}
	silentKeywords = []string{"type", "format", "title", "description", "default", "example", "examples", "deprecated", "externalDocs"}
	knownFormats   = map[string]string{"password": "string", "int64": "integer"} // every value that is decoded satisfies them
)

// knownType returns the type of a schema, or an error if the schema has anything
// that the generator does not know.
func knownType(s *openapi3.Schema) (string, error) {
	if s.Type == nil || len(*s.Type) != 1 {
		return "", errors.New("a schema without one type")
	}
	typ := (*s.Type)[0]
	keywords, known := knownKeywords[typ]
	if !known {
		return "", fmt.Errorf("the type %s", typ)
	}
	if s.Format != "" && knownFormats[s.Format] != typ {
		return "", fmt.Errorf("the format %s", s.Format)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	var stated map[string]any
	if err := json.Unmarshal(text, &stated); err != nil {
		return "", err
	}
	for keyword := range stated {
		if !slices.Contains(keywords, keyword) && !slices.Contains(silentKeywords, keyword) && !strings.HasPrefix(keyword, "x-") {
			return "", fmt.Errorf("the keyword %s of the type %s", keyword, typ)
		}
	}
	return typ, nil
}

// decodeStruct writes the function that decodes an object into the Go type, unless it
// is written already, and returns its name.
func (g *generator) decodeStruct(ref *openapi3.SchemaRef, typ ast.Expr, name string) (string, error) {
	underlying := g.underlying(typ)
	structure, ok := underlying.(*ast.StructType)
	if !ok {
		return "", fmt.Errorf("the Go type %s", g.text(typ))
	}
	if named := g.named(typ); named != "" {
		name = named
	}
	function := "decode" + name
	if _, ok := g.functions[function]; ok {
		return function, nil
	}
	g.functions[function] = ""
	body, err := g.object(ref.Value, structure, name)
	if err != nil {
		return "", err
	}
	where := ref.Ref
	if where == "" {
		where = "an inline schema"
	}
	g.functions[function] = fmt.Sprintf("\n// %s decodes %s.\nfunc %s(d *bodyDecoder, v *%s) {\n%s}\n", function, where, function, g.text(typ), body)
	return function, nil
}

// object returns the statements that decode an object into the struct *v.
func (g *generator) object(s *openapi3.Schema, typ *ast.StructType, name string) (string, error) {
	kind, err := knownType(s)
	switch {
	case err != nil:
		return "", err
	case kind != "object" || len(s.Properties) == 0:
		return "", fmt.Errorf("the type %s without properties", kind)
	case s.AdditionalProperties.Schema != nil || s.AdditionalProperties.Has != nil && *s.AdditionalProperties.Has:
		return "", errors.New("additionalProperties")
	}
	fields := g.fields(typ)
	if len(fields) != len(s.Properties) {
		return "", fmt.Errorf("a Go type with %d fields for %d properties", len(fields), len(s.Properties))
	}
	var seen, cases, after strings.Builder
	for _, f := range fields {
		ref := s.Properties[f.json]
		if ref == nil {
			return "", fmt.Errorf("the Go field %s, which is no property", f.name)
		}
		value, err := g.value(ref, f.typ, "v."+f.name, name+f.name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", f.json, err)
		}
		required, def := slices.Contains(s.Required, f.json), ""
		if ref.Value.Default != nil && !required {
			if def, err = g.fallback(ref.Value, f.typ); err != nil {
				return "", fmt.Errorf("%s: %w", f.json, err)
			}
		}
		mark := ""
		if required || def != "" {
			fmt.Fprintf(&seen, "var has%s bool\n", f.name)
			mark = "has" + f.name + " = true\n"
		}
		fmt.Fprintf(&cases, "case %q:\n%sparent := d.enter(%q)\n%sd.leave(parent)\n", f.json, mark, f.json, value)
		switch {
		case required:
			fmt.Fprintf(&after, "if !has%s {\nd.required(%q)\n}\n", f.name, f.json)
		case def != "":
			fmt.Fprintf(&after, "if !has%[1]s {\nv.%[1]s = %[2]s // the default\n}\n", f.name, def)
		}
	}
	for _, name := range s.Required {
		if s.Properties[name] == nil {
			return "", fmt.Errorf("the required field %s, which is no property", name)
		}
	}
	other := "d.skip()\n"
	if s.AdditionalProperties.Has != nil {
		other += g.violate("additionalProperties", s)
	}
	return fmt.Sprintf("if !d.begins('{', %q) {\nreturn\n}\n%sfor d.more('}') {\nswitch string(unquoted(d.raw())) {\n%sdefault:\n%s}\n}\n%s",
		validation.Why("type", s), seen.String(), cases.String(), other, after.String()), nil
}

// value returns the statements that decode a value of any type into a variable.
func (g *generator) value(ref *openapi3.SchemaRef, typ ast.Expr, target, name string) (string, error) {
	s := ref.Value
	kind, err := knownType(s)
	if err != nil {
		return "", err
	}
	pointer, isPointer := typ.(*ast.StarExpr)
	if isPointer {
		typ = pointer.X
	}
	want, read, rules := "", "", ""
	switch kind {
	case "object":
		function, err := g.decodeStruct(ref, typ, name)
		switch {
		case err != nil:
			return "", err
		case isPointer:
			return fmt.Sprintf("%s = new(%s)\n%s(d, %s)\n", target, g.text(typ), function, target), nil
		}
		return fmt.Sprintf("%s(d, &%s)\n", function, target), nil
	case "array":
		return g.array(s, typ, isPointer, target, name)
	case "string":
		want, read = "string", "text"
		rules, err = g.textRules(s)
	case "integer":
		want, read = "int64", "integer"
		rules, err = g.integerRules(s)
	case "boolean":
		want, read = "bool", "boolean"
	}
	if err != nil {
		return "", err
	}
	converted, err := g.convert("value", want, typ)
	if err != nil {
		return "", err
	}
	if isPointer {
		converted = "new(" + converted + ")"
	}
	return fmt.Sprintf("if value, ok := d.%s(); ok {\n%s%s = %s\n}\n", read, rules, target, converted), nil
}

// convert returns a value of a predeclared type as one of the Go type.
func (g *generator) convert(value, predeclared string, typ ast.Expr) (string, error) {
	switch text := g.text(typ); {
	case text == predeclared:
		return value, nil
	case text == "registryusers.SecretText" && predeclared == "string":
		return "registryusers.NewSecretText(" + value + ")", nil
	case g.named(typ) != "" && g.text(g.underlying(typ)) == predeclared:
		return text + "(" + value + ")", nil
	default:
		return "", fmt.Errorf("the Go type %s", text)
	}
}

// array returns the statements that decode an array.
func (g *generator) array(s *openapi3.Schema, typ ast.Expr, isPointer bool, target, name string) (string, error) {
	slice, ok := g.underlying(typ).(*ast.ArrayType)
	if !ok || slice.Len != nil || s.Items == nil || g.text(slice.Elt) == "byte" {
		return "", fmt.Errorf("the Go type %s of an array", g.text(typ))
	}
	item, err := g.value(s.Items, slice.Elt, "item", name+"Item")
	if err != nil {
		return "", fmt.Errorf("items: %w", err)
	}
	rules := ""
	if s.MinItems > 0 {
		rules += fmt.Sprintf("if len(items) < %d {\n%s}\n", s.MinItems, g.violate("minItems", s))
	}
	if s.MaxItems != nil {
		rules += fmt.Sprintf("if len(items) > %d {\n%s}\n", *s.MaxItems, g.violate("maxItems", s))
	}
	value := "items"
	if isPointer {
		value = "&items"
	}
	return fmt.Sprintf("if d.begins('[', %q) {\nitems := %s{}\nfor d.more(']') {\nvar item %s\nparent := d.enter(strconv.Itoa(len(items)))\n%sd.leave(parent)\nitems = append(items, item)\n}\n%s%s = %s\n}\n",
		validation.Why("type", s), g.text(typ), g.text(slice.Elt), item, rules, target, value), nil
}

// violate returns the statement that reports a violation of a rule of s.
func (g *generator) violate(rule string, s *openapi3.Schema) string {
	return "d.violate(" + quote(validation.Why(rule, s)) + ")\n"
}

func (g *generator) textRules(s *openapi3.Schema) (string, error) {
	var b strings.Builder
	if len(s.Enum) > 0 {
		var values []string
		for _, value := range s.Enum {
			text, ok := value.(string)
			if !ok {
				return "", errors.New("an enum of other values than strings")
			}
			values = append(values, strconv.Quote(text))
		}
		fmt.Fprintf(&b, "switch value {\ncase %s:\ndefault:\n%s}\n", strings.Join(values, ", "), g.violate("enum", s))
		if s.MinLength > 0 || s.MaxLength != nil || s.Pattern != "" {
			return "", errors.New("an enum with other rules")
		}
	}
	if s.MinLength > 0 {
		fmt.Fprintf(&b, "if utf8.RuneCountInString(value) < %d {\n%s}\n", s.MinLength, g.violate("minLength", s))
	}
	if s.MaxLength != nil {
		fmt.Fprintf(&b, "if utf8.RuneCountInString(value) > %d {\n%s}\n", *s.MaxLength, g.violate("maxLength", s))
	}
	if s.Pattern != "" {
		if _, err := regexp.Compile(s.Pattern); err != nil {
			return "", fmt.Errorf("the pattern %q, which Go does not match", s.Pattern)
		}
		at := slices.Index(g.patterns, s.Pattern)
		if at < 0 {
			at = len(g.patterns)
			g.patterns = append(g.patterns, s.Pattern)
		}
		fmt.Fprintf(&b, "if !pattern%d.MatchString(value) {\n%s}\n", at, g.violate("pattern", s))
	}
	return b.String(), nil
}

func (g *generator) integerRules(s *openapi3.Schema) (string, error) {
	var b strings.Builder
	bound := func(f *float64, round func(float64) float64, operator, rule string) error {
		if f == nil {
			return nil
		}
		const exact = 1 << 53
		n := round(*f)
		if math.Abs(n) > exact {
			return fmt.Errorf("the %s %v", rule, *f)
		}
		fmt.Fprintf(&b, "if value %s %d {\n%s}\n", operator, int64(n), g.violate(rule, s))
		return nil
	}
	err := bound(s.Min, math.Ceil, "<", "minimum")
	if err == nil {
		err = bound(s.Max, math.Floor, ">", "maximum")
	}
	return b.String(), err
}

// fallback returns the default of an optional field as a Go expression, or "" if it is the
// Go type's zero value.
func (g *generator) fallback(s *openapi3.Schema, typ ast.Expr) (string, error) {
	pointer, isPointer := typ.(*ast.StarExpr)
	if isPointer {
		typ = pointer.X
	}
	value, predeclared := s.Default, reflect.TypeOf(s.Default).String()
	if n, ok := value.(float64); ok && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
		value, predeclared = int64(n), "int64"
	}
	if kind := map[string]string{"string": "string", "int64": "integer", "bool": "boolean"}[predeclared]; kind == "" || !s.Type.Is(kind) {
		return "", errors.New("its default")
	}
	if !isPointer && reflect.ValueOf(value).IsZero() {
		return "", nil
	}
	literal := fmt.Sprintf("%#v", value)
	if isPointer && predeclared == "int64" {
		literal = "int64(" + literal + ")"
	}
	text, err := g.convert(literal, predeclared, typ)
	if err == nil && isPointer {
		text = "new(" + text + ")"
	}
	return text, err
}
