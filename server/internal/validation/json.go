package validation

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
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
func Decode(data []byte) (value any, err error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	if err = json.UnmarshalDecode(d, &value, numbers); err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			return value, nil
		}
		if err == nil {
			err = &JSONError{d.InputOffset(), "there is more after the value"}
		}
	}
	return nil, explain(d, err)
}

// numbers decodes a number by its value.
var numbers = json.WithUnmarshalers(json.UnmarshalFromFunc(func(d *jsontext.Decoder, value *any) error {
	if d.PeekKind() != '0' {
		return errors.ErrUnsupported
	}
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	integer, fraction, reason := parseNumber(token.String())
	switch {
	case reason != "":
		return &JSONError{d.InputOffset(), reason}
	case fraction != 0:
		*value = fraction
	default:
		*value = integer
	}
	return nil
}))

// explain returns a [*JSONError] for an error of the decoder, whose text quotes the input.
func explain(d *jsontext.Decoder, err error) error {
	var ours *JSONError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &JSONError{d.InputOffset(), "it ends too early"}
	case errors.Is(err, io.EOF):
		return &JSONError{0, "it is empty"}
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &JSONError{d.InputOffset(), "a name is repeated in an object"}
	case errors.As(err, &syntactic):
		return &JSONError{syntactic.ByteOffset, "it is not valid JSON in UTF-8"}
	}
	return &JSONError{d.InputOffset(), "it cannot be decoded"}
}
