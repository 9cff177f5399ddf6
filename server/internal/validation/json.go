package validation

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// JSONError says why data was refused. Its text never quotes the data.
type JSONError struct {
	Offset int64  // the fault is at this byte offset or after it
	Reason string // what is wrong, as a clause: "a name is repeated in an object"
}

func (e *JSONError) Error() string {
	return fmt.Sprintf("at byte %d: %s", e.Offset, e.Reason)
}

// Decode returns the value of data as nil, bool, string, int64, float64,
// []any or map[string]any. A number whose value is an integer is an int64, in any
// notation (14, 14.0, 1.4e1).
//
// Decode accepts JSON that all correct parsers read alike: RFC 8259 with the
// restrictions of I-JSON (RFC 7493). It refuses with a [*JSONError]: data other than
// one value with optional white space around it, a byte order mark, invalid UTF-8,
// lone surrogates, repeated names, nesting of more than 10,000 levels, integers
// beyond ±(2^53-1), numbers beyond float64, and fractions that float64 rounds to an
// integer.
func Decode(data []byte) (any, error) {
	d := decoder{jsontext.NewDecoder(bytes.NewBuffer(data))}
	value, err := d.value()
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			return value, nil
		}
		if err == nil {
			err = d.fail("there is more after the value")
		}
	}
	return nil, d.explain(err)
}

type decoder struct{ *jsontext.Decoder }

func (d decoder) value() (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '"':
		return token.String(), nil
	case '0':
		integer, fraction, reason := parseNumber(token.String())
		switch {
		case reason != "":
			return nil, d.fail(reason)
		case fraction != 0:
			return fraction, nil
		}
		return integer, nil
	case '[':
		array := []any{}
		for d.PeekKind() != ']' {
			element, err := d.value()
			if err != nil {
				return nil, err
			}
			array = append(array, element)
		}
		_, err := d.ReadToken()
		return array, err
	default: // '{': the decoder refuses everything else
		object := map[string]any{}
		for d.PeekKind() != '}' {
			token, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			name := token.String()
			if object[name], err = d.value(); err != nil {
				return nil, err
			}
		}
		_, err := d.ReadToken()
		return object, err
	}
}

func (d decoder) fail(reason string) error {
	return &JSONError{d.InputOffset(), reason}
}

// explain returns an [*JSONError] for an error of the decoder, whose text quotes the input.
func (d decoder) explain(err error) error {
	var ours *JSONError
	if errors.As(err, &ours) {
		return ours
	}
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF):
		return &JSONError{0, "it is empty"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &JSONError{d.InputOffset(), "it ends too early"}
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &JSONError{d.InputOffset(), "a name is repeated in an object"}
	case errors.As(err, &syntactic):
		return &JSONError{syntactic.ByteOffset, "it is not valid JSON in UTF-8"}
	default:
		return &JSONError{d.InputOffset(), "it cannot be decoded"}
	}
}
