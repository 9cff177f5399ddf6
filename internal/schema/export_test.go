package schema

// Quick reports whether bodies are judged while they are read.
func (s *Schema) Quick() bool { return s.quick != nil }

// General returns the schema as one whose bodies take the general path.
func (s *Schema) General() *Schema {
	general := *s
	general.quick = nil
	return &general
}

// Fields returns the names of a quick schema's fields.
func (s *Schema) Fields() (names []string) {
	for _, f := range s.quick.fields {
		names = append(names, f.name)
	}
	return names
}
