package schema

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/oapi-codegen/runtime"

	"github.com/registryusers/registryusers/internal/flatjson"
	"github.com/registryusers/registryusers/internal/ijson"
)

// Value is a valid body with its defaults filled in.
type Value struct {
	tree   any           // in ijson's types, if object is nil
	object *scalarObject // the body's schema, if the body was read by it
	fields []any         // then: the values of the schema's fields; nil: absent
}

// Parse reads a request's body to its end and validates it. It returns the body's
// value, or the first twenty violations, or an error: the reader's, or an
// [*ijson.Error] if the body is not JSON that ijson accepts.
func (s *Schema) Parse(body io.Reader) (Value, []Violation, error) {
	p := parsers.Get().(*bodyParser)
	_, err := p.in.ReadFrom(body)
	data := p.in.Bytes()
	defer p.release(data)
	if err != nil {
		return Value{}, nil, err
	}
	if s.scalar != nil {
		if fields := p.object(s.scalar); fields != nil {
			return s.scalar.validate(fields)
		}
	}
	tree, err := ijson.Decode(data)
	if err != nil {
		return Value{}, nil, err
	}
	if violations := s.Check(tree); len(violations) > 0 {
		return Value{}, violations, nil
	}
	s.FillDefaults(tree)
	return Value{tree: tree}, nil, nil
}

func (o *scalarObject) validate(fields []any) (Value, []Violation, error) {
	if violations := o.check(fields); len(violations) > 0 {
		return Value{}, violations, nil
	}
	for at := range fields {
		if fields[at] == nil {
			fields[at] = o.fields[at].fallback
		}
	}
	return Value{object: o, fields: fields}, nil, nil
}

// Tree returns the value in ijson's types. If the body was read by a scalarObject,
// the tree lacks the fields that the schema does not declare.
func (v Value) Tree() any {
	if v.object == nil {
		return v.tree
	}
	tree := make(map[string]any, len(v.fields))
	for at, value := range v.fields {
		if value != nil {
			tree[v.object.fields[at].name] = value
		}
	}
	return tree
}

// Bind sets the variable that dst points to. It must have the schema's generated
// type.
func (v Value) Bind(dst any) error {
	if v.object != nil && flatjson.Set(dst, v.object.index, v.fields) {
		return nil
	}
	return runtime.BindJSONValue(v.Tree(), dst)
}

// BindBody binds a request's body for the generated code: a validated body by its
// own Bind method, any other (an absent optional one) as the runtime does.
func BindBody(r *http.Request, dst any) error {
	if body, ok := r.Body.(interface{ Bind(dst any) error }); ok {
		return body.Bind(dst)
	}
	return runtime.BindJSONBody(r, dst)
}

// bodyParser reads a body, with buffers that the next body reuses.
type bodyParser struct {
	in      bytes.Buffer
	decoder jsontext.Decoder // of in
	text    []byte           // the string that was last read
}

var parsers = sync.Pool{New: func() any { return new(bodyParser) }}

// release returns p to the pool. It clears the buffers, because the body may have
// held a secret.
func (p *bodyParser) release(body []byte) {
	clear(body)
	clear(p.text[:cap(p.text)])
	const kept = 64 << 10
	if p.in.Reset(); p.in.Cap()+cap(p.text) <= kept {
		parsers.Put(p)
	}
}

// object reads the JSON object in p.in and returns the values of o's fields. It
// returns nil for everything that ijson refuses or that is not an object, and for
// some valid objects: the caller then decodes the body with ijson.
func (p *bodyParser) object(o *scalarObject) []any {
	p.decoder.Reset(&p.in)
	if start, err := p.decoder.ReadToken(); err != nil || start.Kind() != '{' {
		return nil
	}
	fields := make([]any, len(o.fields))
	for p.decoder.PeekKind() != '}' {
		name, err := p.decoder.ReadValue()
		if err != nil || bytes.IndexByte(name, '\\') >= 0 { // an escaped name is left to ijson
			return nil
		}
		at, declared := o.index[string(name)]
		value := p.value()
		switch {
		case value == nil, !declared && o.closed:
			return nil
		case declared:
			fields[at] = value
		}
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return nil
	}
	if _, err := p.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return nil
	}
	return fields
}

// other stands for the values that no field of a scalarObject accepts: null,
// objects and arrays.
type other struct{}

// value reads a value. It returns nil if ijson refuses the value.
func (p *bodyParser) value() any {
	for depth := p.decoder.StackDepth(); ; {
		if part := p.part(); part == nil || p.decoder.StackDepth() == depth {
			return part
		}
	}
}

// part reads a scalar, or the start or end of an object or array.
func (p *bodyParser) part() any {
	kind := p.decoder.PeekKind()
	if kind == '{' || kind == '}' || kind == '[' || kind == ']' {
		if _, err := p.decoder.ReadToken(); err != nil {
			return nil
		}
		return other{}
	}
	raw, err := p.decoder.ReadValue()
	switch {
	case err != nil:
		return nil
	case kind == '"':
		p.text, _ = jsontext.AppendUnquote(p.text[:0], raw) // raw is valid
		return string(p.text)
	case kind == '0':
		value, refused := ijson.Number(string(raw))
		if refused != "" {
			return nil
		}
		return value
	case kind == 'n':
		return other{}
	}
	return kind == 't'
}
