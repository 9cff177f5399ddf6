// Package ijson decodes JSON that all correct parsers read alike, and refuses any
// other: RFC 8259 with the restrictions of I-JSON (RFC 7493).
package ijson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Error says why data was refused. Its text never quotes the data.
type Error struct {
	Offset int64  // the fault is at this byte offset or after it
	Reason string // what is wrong, as a clause: "a name is repeated in an object"
}

func (e *Error) Error() string {
	return fmt.Sprintf("at byte %d: %s", e.Offset, e.Reason)
}

// Decode returns the value of data as nil, bool, string, int64, float64,
// []any or map[string]any. A number whose value is an integer is an int64, in any
// notation (14, 14.0, 1.4e1).
//
// Decode refuses with an [*Error]: data other than one value with optional white
// space around it, a byte order mark, invalid UTF-8, lone surrogates, repeated
// names, nesting of more than 10,000 levels, integers beyond ±(2^53-1), numbers
// beyond float64, and fractions that float64 rounds to an integer.
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
		value, reason := Number(token.String())
		if reason != "" {
			return nil, d.fail(reason)
		}
		return value, nil
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
	return &Error{d.InputOffset(), reason}
}

// explain returns an [*Error] for an error of the decoder, whose text quotes the input.
func (d decoder) explain(err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF):
		return &Error{0, "it is empty"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{d.InputOffset(), "it ends too early"}
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &Error{d.InputOffset(), "a name is repeated in an object"}
	case errors.As(err, &syntactic):
		return &Error{syntactic.ByteOffset, "it is not valid JSON in UTF-8"}
	default:
		return &Error{d.InputOffset(), "it cannot be decoded"}
	}
}

// maxInteger is the largest integer that all parsers represent exactly (RFC 7493,
// section 2.2).
const maxInteger = 1<<53 - 1

// Number returns the value of a JSON number as [Decode] does, an int64 or a
// float64, or the reason to refuse it. Its time is proportional to the literal's
// length and does not depend on the exponent.
func Number(literal string) (value any, reason string) {
	unsigned := strings.TrimPrefix(literal, "-")
	mantissa, exponent := unsigned, 0
	if i := strings.IndexAny(unsigned, "eE"); i >= 0 {
		var err error
		mantissa = unsigned[:i]
		if exponent, err = strconv.Atoi(unsigned[i+1:]); err != nil {
			exponent = math.MaxInt32 // out of range, whatever the mantissa
			if unsigned[i+1] == '-' {
				exponent = -math.MaxInt32
			}
		}
	}
	integer, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(integer+fraction, "0")
	exponent = clamp(exponent) - len(fraction)
	significant := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(significant)

	switch {
	case significant == "":
		return int64(0), ""
	case exponent >= 0: // integral
		const maxDigits = 16 // of maxInteger
		if len(significant)+exponent > maxDigits {
			return nil, "an integer is beyond ±9007199254740991"
		}
		n, _ := strconv.ParseInt(significant+strings.Repeat("0", exponent), 10, 64)
		if n > maxInteger {
			return nil, "an integer is beyond ±9007199254740991"
		}
		if literal[0] == '-' {
			n = -n
		}
		return n, ""
	default:
		f, err := strconv.ParseFloat(literal, 64)
		if err != nil {
			return nil, "a number is out of range"
		}
		if f == math.Trunc(f) {
			return nil, "a number has more digits than a 64-bit float can hold"
		}
		return f, ""
	}
}

// clamp limits an exponent, so that sums with it do not overflow.
func clamp(exponent int) int {
	const limit = 1 << 30 // an int may have 32 bits
	return max(-limit, min(exponent, limit))
}
