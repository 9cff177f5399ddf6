package differential

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
)

// The server must not repeat these values in a response or a log: a text, and a
// number as it is sent and as Go prints a large float64.
const (
	marker       = "zqmarkerqz"
	markerNumber = "8675309424242"
	markerFloat  = "8.675309424242"
)

// choices makes one decision for each byte of data, so that the fuzzer changes one
// decision by changing a byte. After the last byte it decides at random, with a seed
// from data.
type choices struct {
	data []byte
	more *rand.Rand
}

func newChoices(data []byte) *choices {
	h := fnv.New64a()
	_, _ = h.Write(data)
	return &choices{data, rand.New(rand.NewPCG(h.Sum64(), 0))} //nolint:gosec // for tests
}

func (c *choices) n(n int) int {
	if len(c.data) == 0 {
		return c.more.IntN(n)
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % n
}

func (c *choices) one(of ...string) string { return of[c.n(len(of))] }

// rarely is true once in n times.
func (c *choices) rarely(n int) bool { return c.n(n) == n-1 }

// body returns the body of a create, or one that resembles it.
func (c *choices) body() []byte {
	if c.rarely(40) {
		return []byte(c.one("", " ", "null", "[]", "{}", `""`, "0", marker, "{", `{"name"`, "[[[["+strings.Repeat("]", 4), strings.Repeat("[", maxDepth+c.n(3)-1)))
	}
	type field struct{ name, value string }
	fields := []field{{"name", c.name()}, {"duration", c.duration()}}
	if c.n(2) == 0 {
		fields = append(fields, field{"read_only", c.one("true", "false", "null", `"true"`, "0", "1", "[]")})
	}
	if c.n(2) == 0 {
		fields = append(fields, field{"secret", c.one(`""`, `"`+marker+`"`, "null", c.str(), markerNumber, "{}")})
	}
	for range c.n(3) {
		name := c.one(marker, "NAME", "Name", "Duration", "DURATION", "Read_Only", "readonly", "sEcret", "name ", "", "ſecret", "name", "duration")
		fields = append(fields, field{name, c.value(2)})
	}
	if c.rarely(8) { // leave one out
		i := c.n(len(fields))
		fields = append(fields[:i], fields[i+1:]...)
	}
	for i := range fields { // in any order
		j := c.n(len(fields))
		fields[i], fields[j] = fields[j], fields[i]
	}
	var b strings.Builder
	b.WriteString(c.rare("\xef\xbb\xbf", "\ufeff", " ", "\x00", "\v"))
	b.WriteString("{")
	for i, f := range fields {
		if i > 0 {
			b.WriteString(c.orRarely(",", ",,", ";", ", ", "\n,"))
		}
		b.WriteString(c.space() + `"` + c.spell(f.name) + `"` + c.space() + ":" + c.space() + f.value)
	}
	b.WriteString(c.orRarely("}", ",}", "}}", "", "} ", "}\n", "} "+marker, "}{}", "}null", "}\x00"))
	return []byte(b.String())
}

func (c *choices) rare(of ...string) string { return c.orRarely("", of...) }

func (c *choices) orRarely(mostly string, of ...string) string {
	if c.rarely(16) {
		return of[c.n(len(of))]
	}
	return mostly
}

func (c *choices) space() string { return c.rare(" ", "\t", "\r\n", "\u00a0", "\f", "/**/") }

// spell returns a name, sometimes with an escape for one of its letters.
func (c *choices) spell(name string) string {
	if name == "" || !c.rarely(8) {
		return name
	}
	i := c.n(len(name))
	if name[i] >= 0x80 {
		return name
	}
	return name[:i] + fmt.Sprintf(c.one(`\u%04x`, `\u%04X`), name[i]) + name[i+1:]
}

func (c *choices) name() string {
	if c.rarely(6) {
		return c.str()
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	length := []int{0, 1, 5, 15, 16, 17}[c.n(6)]
	name := ""
	for range length {
		name += string(letters[c.n(len(letters))])
	}
	if c.rarely(6) {
		name += c.one("A", "_", "-", " ", `\n`, "é", ".", "$", `\u0000`)
	}
	return `"` + c.spell(name) + `"`
}

func (c *choices) duration() string {
	if c.rarely(6) {
		return c.value(1)
	}
	return c.integer([]int{-2, -1, 0, 1, 14, 364, 365, 366, 100, 30}[c.n(10)])
}

// integer returns n in one of many notations, or a number that resembles it.
func (c *choices) integer(n int) string {
	switch c.n(14) {
	case 0:
		return fmt.Sprintf("%d.0", n)
	case 1:
		return fmt.Sprintf("%de0", n)
	case 2:
		return fmt.Sprintf("%d0e-1", n)
	case 3:
		return fmt.Sprintf("%d00E-02", n)
	case 4:
		return fmt.Sprintf("%d.%se0", n, strings.Repeat("0", 1+c.n(40)))
	case 5:
		return fmt.Sprintf("%d.5", n)
	case 6:
		return fmt.Sprintf("%d.%s1", n, strings.Repeat("0", c.n(40)))
	case 7:
		return fmt.Sprintf("0%d", n)
	case 8:
		return c.one("+", "--", "", "0x", "-") + fmt.Sprint(n) + c.one(".", "e", "E+", "", "_0", "n")
	case 9:
		return c.one("-0", "-0.0", "0e999999999", "-0E-99999", "1e999999", "1e-999999", "1E400", "-1e400", "2e308", "5e-324", "1e-400", "NaN", "Infinity",
			"9007199254740991", "9007199254740992", "-9007199254740993", "9007199254740992.5", "9223372036854775808", "1"+strings.Repeat("0", 400)+".5", "36.5e1", "3650e-1", "3.65E2", "0.365e3", "0.0365e+4")
	}
	return fmt.Sprint(n)
}

// str returns a JSON string, or a text that resembles one.
func (c *choices) str() string {
	var b strings.Builder
	b.WriteString(`"` + c.one(marker, "", "a"))
	for range c.n(4) {
		b.WriteString(c.one(marker, "user", "é", "\u20ac", "\U0001f600", `\ud83d\ude00`, `\ud83d`, `\ude00`, `\ud83d\ud83d\ude00`, `\ude00\ud83d`, `\uDBFF\uDFFF`,
			"\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", `\u0000`, `\"`, `\\`, `\/`, `\b\f\n\r\t`, `\x41`, `\u12g4`, "\n", "\x01", "\x7f", "\ufffd", `\uFFFD`, "\ufeff"))
	}
	b.WriteString(c.orRarely(`"`, "", `\"`))
	return b.String()
}

// value returns any value.
func (c *choices) value(depth int) string {
	kinds := 8
	if depth <= 0 {
		kinds = 6
	}
	switch c.n(kinds) {
	case 0:
		return c.one("null", "true", "false", "Null", "tru", "nulll")
	case 1, 2:
		return c.str()
	case 3:
		return c.one(markerNumber, markerNumber+".5", markerNumber+"e1", markerNumber+"e9", markerFloat, markerFloat+"e12")
	case 4, 5:
		return c.integer(c.n(400))
	case 6:
		return "[" + c.value(depth-1) + c.orRarely("", ",", ","+c.value(0)) + "]"
	}
	name := c.one(marker, "a", "name")
	return `{"` + name + `":` + c.value(depth-1) + c.rare(`,"`+name+`":1`, `,"`+c.spell(name)+`":2`) + "}"
}

// id returns a path segment that is an id or resembles one.
func (c *choices) id() string {
	if c.rarely(4) {
		return c.one("", ".", "..", "%2e%2e", marker, "1/2", "1%2F2", "1?a="+marker, "1#a", "1;a", "1%00", "%", "%zz", "%C3%A9", "\u00e9", "1%20", "%201", "1+", "0x1", "1_0", "1,2", "null", "true", "1e2", "1.0", "1.", "1e400")
	}
	id := c.one("", "", "", "-", "%2D", c.one("+", "%2B", "0", "00")) + c.one("0", "1", "7", "42", "9007199254740992", "9223372036854775807", "9223372036854775808", "18446744073709551616", markerNumber)
	if c.rarely(6) { // a digit, percent-encoded
		i := c.n(len(id))
		return id[:i] + fmt.Sprintf("%%%02X", id[i]) + id[i+1:]
	}
	return id
}
