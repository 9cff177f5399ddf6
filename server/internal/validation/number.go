package validation

import (
	"math"
	"strconv"
	"strings"
)

// maxInteger is the largest integer that all parsers represent exactly (RFC 7493,
// section 2.2).
const maxInteger = 1<<53 - 1

// parseNumber returns the value of a JSON number, or the reason to refuse it. The
// value is integer, in any notation (14, 14.0, 1.4e1), unless fraction is not zero.
// Its time is proportional to the literal's length and does not depend on the
// exponent.
func parseNumber(literal string) (integer int64, fraction float64, reason string) {
	if len(literal) <= 15 { // of most numbers
		if n, err := strconv.ParseInt(literal, 10, 64); err == nil {
			return n, 0, ""
		}
	}
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
	const limit = 1 << 30 // an int may have 32 bits
	exponent = max(-limit, min(exponent, limit))
	before, after, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(before+after, "0")
	significant := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(significant) - len(after)

	switch {
	case significant == "":
		return 0, 0, ""
	case exponent >= 0: // integral
		const maxDigits = 16 // of maxInteger
		if len(significant)+exponent > maxDigits {
			return 0, 0, "an integer is beyond ±9007199254740991"
		}
		n, _ := strconv.ParseInt(significant+strings.Repeat("0", exponent), 10, 64)
		if n > maxInteger {
			return 0, 0, "an integer is beyond ±9007199254740991"
		}
		if literal[0] == '-' {
			n = -n
		}
		return n, 0, ""
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return 0, 0, "a number is out of range"
	}
	if f == math.Trunc(f) {
		return 0, 0, "a number has more digits than a 64-bit float can hold"
	}
	return 0, f, ""
}
