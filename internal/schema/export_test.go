package schema

// Scalar reports whether bodies are validated while they are read.
func (s *Schema) Scalar() bool { return s.scalar != nil }

// General returns the schema as one whose bodies are decoded by ijson.
func (s *Schema) General() *Schema {
	general := *s
	general.scalar = nil
	return &general
}

// Fields returns the names of a scalarObject's fields.
func (s *Schema) Fields() (names []string) {
	for _, f := range s.scalar.fields {
		names = append(names, f.name)
	}
	return names
}

// Released parses a body and returns the bytes that the parser's buffers held of
// it, and what they hold once it is released.
func (s *Schema) Released(body string) (held, left []byte) {
	p := new(bodyParser)
	p.in.WriteString(body)
	content := p.in.Bytes()
	p.object(s.scalar)
	text := p.text[:cap(p.text)]
	held = append(append(held, content...), text...)
	p.release(content)
	return held, append(append(left, content...), text...)
}
