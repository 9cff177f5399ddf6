// Package flatjson encodes structs of scalars as encoding/json does, and sets their
// fields, in a fraction of the time. Most generated models are structs of scalars.
package flatjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// shape describes a struct of scalars.
type shape struct {
	fields []field
	omits  bool // a field has an option that may omit it from JSON
}

type field struct {
	name string // in JSON, with the quotation marks
	kind kind
}

type kind int

const (
	other kind = iota
	aString
	aBool
	anInt64
	aTime
	aText // an encoding.TextMarshaler and TextUnmarshaler
)

func kindOf(t reflect.Type) kind {
	p := reflect.New(t).Interface()
	_, isTime := p.(*time.Time)
	_, isJSON := p.(json.Marshaler)
	_, fromJSON := p.(json.Unmarshaler)
	_, isText := p.(encoding.TextMarshaler)
	_, fromText := p.(encoding.TextUnmarshaler)
	switch {
	case isTime:
		return aTime
	case isJSON || fromJSON || isText != fromText:
		return other
	case isText:
		return aText
	}
	return map[reflect.Kind]kind{reflect.String: aString, reflect.Bool: aBool, reflect.Int64: anInt64}[t.Kind()]
}

var shapes sync.Map // *shape by reflect.Type

// shapeOf returns the shape of a struct of scalars, or nil for any other type.
func shapeOf(t reflect.Type) *shape {
	s, ok := shapes.Load(t)
	if !ok {
		s, _ = shapes.LoadOrStore(t, newShape(t))
	}
	return s.(*shape)
}

func newShape(t reflect.Type) *shape {
	p := reflect.PointerTo(t)
	if t.Kind() != reflect.Struct || p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	s := &shape{}
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
		k := kindOf(f.Type)
		if k == other || !f.IsExported() || f.Anonymous || name == "" || strings.Trim(name, plain) != "" || seen[name] || strings.Contains(options, "string") {
			return nil
		}
		seen[name] = true
		s.fields = append(s.fields, field{`"` + name + `"`, k})
		s.omits = s.omits || options != ""
	}
	return s
}

// Append appends the JSON of the value that v points to, and a newline, as a
// [json.Encoder] without HTML escaping does. Only the escapes of a string may
// differ: Append does not escape U+2028.
func Append(b []byte, v any) ([]byte, error) {
	value := reflect.ValueOf(v).Elem()
	s := shapeOf(value.Type())
	if s == nil || s.omits || len(s.fields) == 0 {
		buffer := bytes.NewBuffer(b)
		encoder := json.NewEncoder(buffer)
		encoder.SetEscapeHTML(false)
		err := encoder.Encode(v)
		return buffer.Bytes(), err
	}
	start := len(b)
	for i := range s.fields {
		b = append(append(append(b, ','), s.fields[i].name...), ':')
		var err error
		switch f := value.Field(i); s.fields[i].kind {
		case aString:
			b, _ = jsontext.AppendQuote(b, f.String()) // replaces invalid UTF-8
		case aBool:
			b = strconv.AppendBool(b, f.Bool())
		case anInt64:
			b = strconv.AppendInt(b, f.Int(), 10)
		case aTime:
			b, err = f.Addr().Interface().(*time.Time).AppendText(append(b, '"'))
			b = append(b, '"')
		case aText:
			var text []byte
			text, err = f.Addr().Interface().(encoding.TextMarshaler).MarshalText()
			b, _ = jsontext.AppendQuote(b, text)
		}
		if err != nil {
			return nil, err
		}
	}
	b[start] = '{'
	return append(b, "}\n"...), nil
}

// Set sets the fields of the struct that dst points to. index gives the position in
// values by a field's quoted name. A value is a string, a bool or an int64; nil
// leaves the field unchanged. Set reports whether it set all fields; it returns
// false if the struct is not one of scalars or a value has another type than its
// field.
func Set(dst any, index map[string]int, values []any) bool {
	target := reflect.ValueOf(dst).Elem()
	s := shapeOf(target.Type())
	for i := 0; s != nil && i < len(s.fields); i++ {
		at, ok := index[s.fields[i].name]
		if !ok || values[at] == nil {
			continue
		}
		f, kind := target.Field(i), s.fields[i].kind
		switch value := values[at].(type) {
		case string:
			switch kind {
			case aString:
				f.SetString(value)
			case aText:
				ok = f.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(value)) == nil
			default:
				ok = false
			}
		case bool:
			if ok = kind == aBool; ok {
				f.SetBool(value)
			}
		case int64:
			if ok = kind == anInt64; ok {
				f.SetInt(value)
			}
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return s != nil
}

// Encode writes the JSON of [Append] to buffer.
func Encode(buffer *bytes.Buffer, v any) error {
	buffer.Grow(256)
	text, err := Append(buffer.AvailableBuffer(), v)
	buffer.Write(text)
	return err
}
