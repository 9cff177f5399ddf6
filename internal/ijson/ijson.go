// Package ijson decodes JSON that every sound parser reads alike, and
// refuses the rest: RFC 8259 with the rules of I-JSON (RFC 7493).
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
	Offset int64  // byte offset at or after which the fault lies
	Reason string // what is wrong, as a clause: "a name is repeated in an object"
}

func (e *Error) Error() string {
	return fmt.Sprintf("at byte %d: %s", e.Offset, e.Reason)
}

// Decode returns the value of data as nil, bool, string, int64, float64,
// []any or map[string]any. It is an int64 for every number that is an integer
// by value (14, 14.0, 1.4e1), however it is written.
//
// Refused, with an [*Error]: anything but one value with white space around
// it, a byte order mark, invalid UTF-8, lone surrogates, repeated names,
// nesting of more than 10,000 levels, integers beyond ±(2^53-1), numbers
// beyond float64, and numbers that float64 cannot tell from an integer.
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
	default: // '{': the decoder lets nothing else through
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

// explain turns the decoder's errors, whose text quotes the input, into ours.
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
		return &Error{d.InputOffset(), "it cannot be read"}
	}
}

// maxInteger bounds the integers that every parser holds exactly (RFC 7493, section 2.2).
const maxInteger = 1<<53 - 1

// Number returns the value of a JSON number as [Decode] gives it, an int64 or a
// float64, or the reason to refuse it. It takes time in proportion to the literal's
// length, whatever the exponent.
func Number(literal string) (value any, reason string) {
	unsigned := strings.TrimPrefix(literal, "-")
	mantissa, exponent := unsigned, 0
	if i := strings.IndexAny(unsigned, "eE"); i >= 0 {
		var err error
		mantissa = unsigned[:i]
		if exponent, err = strconv.Atoi(unsigned[i+1:]); err != nil {
			exponent = math.MaxInt32 // out of every range, in one direction or the other
			if unsigned[i+1] == '-' {
				exponent = -math.MaxInt32
			}
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
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
			return nil, "a number has more digits than can be kept"
		}
		return f, ""
	}
}

// clamp keeps sums with an exponent from overflowing.
func clamp(exponent int) int {
	const limit = 1 << 30 // not 1<<31: an int may have 32 bits
	return max(-limit, min(exponent, limit))
}
