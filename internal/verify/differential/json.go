// Package differential compares the server with an independent reference: whether
// it accepts a request, and which values reach the implementation.
//
// The reference is a parser written from RFC 8259 and RFC 7493 (I-JSON), and a
// validator of the vendored document that shares no code with the server's.
package differential

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A hazard is a property of a text because of which two correct parsers may read it
// differently.
type hazard string

// The server refuses these, although the document allows them: the value that was
// validated must be the value that is used. The list is complete; in everything
// else the reference and the server must agree. (Package accounts, behind the
// server, also refuses custom secrets that no client could log in with.)
const (
	emptyBody     hazard = "an empty body: the document makes it optional, the overlay does not"
	byteOrderMark hazard = "a byte order mark, which RFC 8259 lets parsers ignore"
	invalidUTF8   hazard = "bytes that are not UTF-8, which parsers replace or keep"
	loneSurrogate hazard = "half of a surrogate pair, which parsers replace or keep"
	repeatedName  hazard = "a repeated name in an object: parsers keep the first value, the last or both"
	largeInteger  hazard = "an integer beyond 2^53-1, which parsers round"
	outOfRange    hazard = "a number beyond float64, which some parsers read as infinity"
	nearInteger   hazard = "a fraction that float64 rounds to an integer"
	tooDeep       hazard = "more than 10,000 levels, where parsers fail or overflow"
	oddID         hazard = "an id that is not a canonical decimal of 64 bits: some parsers accept 01, +1, 1.0 or 1e2"
)

// refusals lists all hazards.
var refusals = []hazard{
	emptyBody, byteOrderMark, invalidUTF8, loneSurrogate, repeatedName, largeInteger, outOfRange, nearInteger, tooDeep, oddID,
}

// maxDepth is the largest number of levels that the server accepts.
const maxDepth = 10_000

var errSyntax = errors.New("not a JSON text")

// number is the value of a JSON number: an integer or a fraction.
type number struct {
	integer  *big.Int // nil: a fraction
	fraction float64
}

// parse parses a JSON text. It returns its value, made of nil, bool, number, string,
// []any and map[string]any, and its hazards. The value of a text with hazards must
// not be used.
func parse(text []byte) (value any, hazards map[hazard]bool, err error) {
	p := &parser{text: text, hazards: map[hazard]bool{}}
	if len(text) == 0 {
		p.hazards[emptyBody] = true
		return nil, p.hazards, nil
	}
	if strings.HasPrefix(string(text), "\xef\xbb\xbf") {
		p.hazards[byteOrderMark] = true
		p.at = 3
	}
	defer func() {
		switch recovered := recover(); recovered {
		case nil:
		case errSyntax:
			value, err = nil, errSyntax
		case tooDeep: // the rest of the text is not parsed
			p.hazards[tooDeep] = true
			value, hazards = nil, p.hazards
		default:
			panic(recovered)
		}
	}()
	p.space()
	value = p.value(1)
	p.space()
	if p.at != len(p.text) {
		panic(errSyntax)
	}
	return value, p.hazards, nil
}

// parser parses a text. Its methods panic with errSyntax or tooDeep.
type parser struct {
	text    []byte
	at      int
	hazards map[hazard]bool
}

// peek returns the next byte, or 0, with which no token starts, at the end.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) next() byte {
	c := p.peek()
	if p.at >= len(p.text) {
		panic(errSyntax)
	}
	p.at++
	return c
}

func (p *parser) expect(word string) {
	for i := range len(word) {
		if p.next() != word[i] {
			panic(errSyntax)
		}
	}
}

// space skips RFC 8259's ws.
func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\r", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) value(depth int) any {
	switch c := p.peek(); {
	case c == 'n':
		p.expect("null")
		return nil
	case c == 't':
		p.expect("true")
		return true
	case c == 'f':
		p.expect("false")
		return false
	case c == '"':
		return p.str()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == '[' || c == '{':
		if depth > maxDepth {
			panic(tooDeep)
		}
		p.at++
		if c == '[' {
			return p.array(depth)
		}
		return p.object(depth)
	}
	panic(errSyntax)
}

func (p *parser) array(depth int) []any {
	array := []any{}
	p.space()
	if p.peek() == ']' {
		p.at++
		return array
	}
	for {
		p.space()
		array = append(array, p.value(depth+1))
		p.space()
		switch p.next() {
		case ',':
		case ']':
			return array
		default:
			panic(errSyntax)
		}
	}
}

func (p *parser) object(depth int) map[string]any {
	object := map[string]any{}
	p.space()
	if p.peek() == '}' {
		p.at++
		return object
	}
	for {
		p.space()
		name := p.str()
		if _, ok := object[name]; ok {
			p.hazards[repeatedName] = true
		}
		p.space()
		p.expect(":")
		p.space()
		object[name] = p.value(depth + 1)
		p.space()
		switch p.next() {
		case ',':
		case '}':
			return object
		default:
			panic(errSyntax)
		}
	}
}

func (p *parser) str() string {
	p.expect(`"`)
	var s []byte
	for {
		switch c := p.next(); {
		case c == '"':
			return string(s)
		case c < 0x20:
			panic(errSyntax)
		case c == '\\':
			s = p.escape(s)
		case c < utf8.RuneSelf:
			s = append(s, c)
		default:
			r, size := utf8.DecodeRune(p.text[p.at-1:])
			if r == utf8.RuneError && size == 1 {
				p.hazards[invalidUTF8] = true
			}
			s = append(s, p.text[p.at-1:p.at-1+size]...)
			p.at += size - 1
		}
	}
}

func (p *parser) escape(s []byte) []byte {
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	c := p.next()
	if i := strings.IndexByte(from, c); i >= 0 {
		return append(s, to[i])
	}
	if c != 'u' {
		panic(errSyntax)
	}
	unit := p.hex()
	switch {
	case unit < 0xD800 || unit > 0xDFFF:
		return utf8.AppendRune(s, unit)
	case unit <= 0xDBFF && strings.HasPrefix(string(p.text[p.at:]), `\u`):
		mark := p.at
		p.at += 2
		if low := p.hex(); low >= 0xDC00 && low <= 0xDFFF {
			return utf8.AppendRune(s, 0x10000+(unit-0xD800)<<10+(low-0xDC00))
		}
		p.at = mark // the second escape is a separate character
	}
	p.hazards[loneSurrogate] = true
	return s
}

func (p *parser) hex() rune {
	var r rune
	for range 4 {
		digit := strings.IndexByte("0123456789abcdefABCDEF", p.next())
		if digit < 0 {
			panic(errSyntax)
		}
		if digit > 15 { // a capital
			digit -= 6
		}
		r = r<<4 | rune(digit) //nolint:gosec // below 16
	}
	return r
}

func (p *parser) number() number {
	start := p.at
	digits := func() string {
		from := p.at
		for p.peek() >= '0' && p.peek() <= '9' {
			p.at++
		}
		if p.at == from {
			panic(errSyntax)
		}
		return string(p.text[from:p.at])
	}
	if p.peek() == '-' {
		p.at++
	}
	integer := digits()
	if len(integer) > 1 && integer[0] == '0' {
		panic(errSyntax)
	}
	fraction, exponent := "", "0"
	if p.peek() == '.' {
		p.at++
		fraction = digits()
	}
	if p.peek() == 'e' || p.peek() == 'E' {
		p.at++
		sign := ""
		if c := p.peek(); c == '+' || c == '-' {
			sign = string(c)
			p.at++
		}
		exponent = sign + digits()
	}
	return p.exact(string(p.text[start:p.at]), integer+fraction, len(fraction), exponent)
}

// exact returns the exact value of a literal. digits are its digits without the
// point, places the number of digits behind the point.
func (p *parser) exact(literal, digits string, places int, exponent string) number {
	significant := strings.Trim(digits, "0")
	if significant == "" {
		return number{integer: new(big.Int)}
	}
	shift, _ := new(big.Int).SetString(exponent, 10)
	shift.Sub(shift, big.NewInt(int64(places)))
	shift.Add(shift, big.NewInt(int64(len(digits)-len(strings.TrimRight(digits, "0")))))
	if shift.Sign() >= 0 { // an integer
		if shift.Cmp(big.NewInt(20)) > 0 {
			p.hazards[largeInteger] = true
			return number{}
		}
		n, _ := new(big.Int).SetString(significant+strings.Repeat("0", int(shift.Int64())), 10)
		if n.BitLen() > 53 {
			p.hazards[largeInteger] = true
		}
		if literal[0] == '-' {
			n.Neg(n)
		}
		return number{integer: n}
	}
	f := 0.0 // the value of a literal too small for float64
	if shift.Cmp(big.NewInt(-2_000_000)) > 0 {
		var err error
		if f, err = strconv.ParseFloat(literal, 64); err != nil {
			p.hazards[outOfRange] = true
			return number{}
		}
	}
	if f == math.Trunc(f) {
		p.hazards[nearInteger] = true
	}
	return number{fraction: f}
}
