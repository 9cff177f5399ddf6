package main

import (
	"fmt"
	"go/ast"
	"reflect"
	"strconv"
	"strings"
)

// field is a field of a generated struct.
type field struct {
	name, json string
	options    string // of the JSON tag
	typ        ast.Expr
}

func (c *code) fields(typ *ast.StructType) (all []field) {
	for _, f := range typ.Fields.List {
		if len(f.Names) != 1 || f.Tag == nil {
			return nil
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		all = append(all, field{f.Names[0].Name, name, options, f.Type})
	}
	return all
}

// underlying returns the type that a type is defined as.
func (c *code) underlying(typ ast.Expr) ast.Expr {
	if name, ok := typ.(*ast.Ident); ok && c.types[name.Name] != nil {
		return c.underlying(c.types[name.Name].Type)
	}
	return typ
}

// named returns the name of a type that is declared in the generated code, past
// aliases, or "".
func (c *code) named(typ ast.Expr) string {
	name, ok := typ.(*ast.Ident)
	if !ok || c.types[name.Name] == nil {
		return ""
	}
	if c.types[name.Name].Assign.IsValid() {
		if target := c.named(c.types[name.Name].Type); target != "" {
			return target
		}
	}
	return name.Name
}

// encode returns the statements that append the JSON of a value to b, as
// encoding/json does; but a list that is nil is an empty list, as the document has it.
func (g *generator) encode(typ ast.Expr, source, name string) (string, error) {
	if named := g.named(typ); named != "" && g.methods[named+".MarshalJSON"] != nil {
		return "", fmt.Errorf("the method MarshalJSON of %s", named)
	}
	switch text := g.text(typ); text {
	case "time.Time":
		return fmt.Sprintf("b = appendTime(b, %s, failed)\n", source), nil
	case "registryusers.SecretText":
		return fmt.Sprintf("b = appendText(b, %s.Reveal())\n", source), nil
	}
	switch underlying := g.underlying(typ).(type) {
	case *ast.Ident:
		switch underlying.Name {
		case "string":
			return fmt.Sprintf("b = appendText(b, string(%s))\n", source), nil
		case "bool":
			return fmt.Sprintf("b = strconv.AppendBool(b, bool(%s))\n", source), nil
		case "int64":
			return fmt.Sprintf("b = strconv.AppendInt(b, int64(%s), 10)\n", source), nil
		}
	case *ast.ArrayType:
		if underlying.Len != nil || g.text(underlying.Elt) == "byte" {
			break
		}
		item, err := g.encode(underlying.Elt, "item", name+"Item")
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("b = append(b, '[')\nfor i, item := range %s {\nif i > 0 {\nb = append(b, ',')\n}\n%s}\nb = append(b, ']')\n", source, item), nil
	case *ast.StructType:
		function, err := g.encodeStruct(typ, underlying, name)
		return fmt.Sprintf("b = %s(b, (*%s)(&%s), failed)\n", function, g.text(typ), source), err
	}
	return "", fmt.Errorf("the Go type %s", g.text(typ))
}

// encodeStruct writes the function that encodes a struct, unless it is written
// already, and returns its name.
func (g *generator) encodeStruct(typ ast.Expr, structure *ast.StructType, name string) (string, error) {
	if named := g.named(typ); named != "" {
		name = named
	}
	function := "append" + name
	if _, ok := g.functions[function]; ok {
		return function, nil
	}
	g.functions[function] = ""
	fields := g.fields(structure)
	if len(fields) == 0 {
		return "", fmt.Errorf("the Go type %s", g.text(typ))
	}
	var body strings.Builder
	neverEmpty := false
	for _, f := range fields {
		source := "v." + f.name
		pointer, isPointer := f.typ.(*ast.StarExpr)
		isOptional := strings.Contains(f.options, "omit")
		if isPointer != isOptional {
			return "", fmt.Errorf("the field %s, which may be left out", f.json)
		}
		if isPointer {
			fmt.Fprintf(&body, "if %s != nil {\n", source)
			source, f.typ = "(*"+source+")", pointer.X
		}
		encode, err := g.encode(f.typ, source, name+f.name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", f.json, err)
		}
		fmt.Fprintf(&body, "b = append(b, %s...)\n%s", quote(","+strconv.Quote(f.json)+":"), encode)
		if isPointer {
			body.WriteString("}\n")
		}
		neverEmpty = neverEmpty || !isPointer
	}
	if !neverEmpty {
		body.WriteString("if len(b) == start {\nreturn append(b, \"{}\"...)\n}\n")
	}
	g.functions[function] = fmt.Sprintf("\n// %s appends the JSON of a response.\nfunc %s(b []byte, v *%s, failed *error) []byte {\nstart := len(b)\n%sb[start] = '{' // not the comma\nreturn append(b, '}')\n}\n",
		function, function, g.text(typ), body.String())
	return function, nil
}
