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

// Value is a body that was judged valid, its defaults filled in.
type Value struct {
	tree   any           // in ijson's types, if quick is nil
	quick  *scalarObject // or else its schema
	fields []any         // and the values of that schema's fields; nil: absent
}

// Judge reads a request's body to its end. It returns the body's value, or the
// rules that it breaks, the first twenty, or the reader's error, or as a
// [*ijson.Error] the reason why it has no value.
func (s *Schema) Parse(body io.Reader) (Value, []Violation, error) {
	p := passes.Get().(*bodyParser)
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

func (q *scalarObject) validate(fields []any) (Value, []Violation, error) {
	if violations := q.check(fields); len(violations) > 0 {
		return Value{}, violations, nil
	}
	for at := range fields {
		if fields[at] == nil {
			fields[at] = q.fields[at].fallback
		}
	}
	return Value{quick: q, fields: fields}, nil, nil
}

// Tree returns the value in ijson's types. If it was read for a quick
// schema, it is without the fields that are not declared.
func (v Value) Tree() any {
	if v.quick == nil {
		return v.tree
	}
	tree := make(map[string]any, len(v.fields))
	for at, value := range v.fields {
		if value != nil {
			tree[v.quick.fields[at].name] = value
		}
	}
	return tree
}

// Bind sets what dst points to, which is of the type that the generator made
// of the schema.
func (v Value) Bind(dst any) error {
	if v.quick != nil && flatjson.Set(dst, v.quick.index, v.fields) {
		return nil
	}
	return runtime.BindJSONValue(v.Tree(), dst)
}

// BindBody is how the generated code binds a request's body: one that binds
// itself, because it was judged, or what there is if none was sent.
func BindBody(r *http.Request, dst any) error {
	if body, parsed := r.Body.(interface{ Bind(dst any) error }); parsed {
		return body.Bind(dst)
	}
	return runtime.BindJSONBody(r, dst)
}

// pass is what it takes to read a body.
type bodyParser struct {
	in      bytes.Buffer
	decoder jsontext.Decoder // of in
	text    []byte           // the string that was read last
}

var passes = sync.Pool{New: func() any { return new(bodyParser) }}

// release makes p ready for another body. The next one's reader finds nothing
// of this one, which may have held a secret.
func (p *bodyParser) release(body []byte) {
	clear(body)
	clear(p.text[:cap(p.text)])
	const kept = 64 << 10
	if p.in.Reset(); p.in.Cap()+cap(p.text) <= kept {
		passes.Put(p)
	}
}

// object reads the object in p.in and returns the values of q's fields. It is
// nil for anything that is not wholly an object that ijson accepts, and
// for some of those: the general path tells which.
func (p *bodyParser) object(q *scalarObject) []any {
	p.decoder.Reset(&p.in)
	if start, err := p.decoder.ReadToken(); err != nil || start.Kind() != '{' {
		return nil
	}
	fields := make([]any, len(q.fields))
	for p.decoder.PeekKind() != '}' {
		name, err := p.decoder.ReadValue()
		if err != nil || bytes.IndexByte(name, '\\') >= 0 { // escaped, it may be any name
			return nil
		}
		at, declared := q.index[string(name)]
		value := p.value()
		switch {
		case value == nil, !declared && q.closed:
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

// other stands for the values that no field of a quick schema may have: null,
// objects and arrays.
type other struct{}

// value reads a value. It is nil if ijson does not accept it.
func (p *bodyParser) value() any {
	for depth := p.decoder.StackDepth(); ; {
		if part := p.part(); part == nil || p.decoder.StackDepth() == depth {
			return part
		}
	}
}

// part reads a scalar, or where an object or an array begins or ends.
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
