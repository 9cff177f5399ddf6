package validation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/server/internal/validation"
)

// FuzzDecode compares Decode with encoding/json, a parser that
// is more lenient: what Decode accepts, encoding/json accepts too and reads
// as the same value, numbers compared by value; so whatever encoding/json
// refuses, Decode refuses. And every refusal is a *validation.JSONError.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := validation.Decode(data)
		if err != nil {
			var refusal *validation.JSONError
			if !errors.As(err, &refusal) || refusal.Reason == "" || refusal.Offset < 0 || refusal.Offset > int64(len(data)) {
				t.Fatalf("Decode(%q): got %#v, want a *validation.JSONError with a reason and an offset within the input", data, err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("Decode(%q): got %#v, want a refusal, as encoding/json refuses it", data, got)
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("Decode(%q): got %#v, want a refusal, as encoding/json says: %v", data, got, err)
		}
		if !same(got, want) {
			t.Fatalf("Decode(%q):\n got %#v\nwant %#v, as encoding/json reads it", data, got, want)
		}
	})
}

// same reports whether a value from Decode is the one from encoding/json.
func same(got, want any) bool {
	switch want := want.(type) {
	case json.Number:
		return sameNumber(got, want.String())
	case []any:
		array, ok := got.([]any)
		if !ok || len(array) != len(want) {
			return false
		}
		for i := range want {
			if !same(array[i], want[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			return false
		}
		for name := range want {
			value, ok := object[name]
			if !ok || !same(value, want[name]) {
				return false
			}
		}
		return true
	default: // nil, bool, string
		return got == want
	}
}

// sameNumber reports whether got is the value of the JSON number literal.
func sameNumber(got any, literal string) bool {
	if f, ok := got.(float64); ok {
		want, err := strconv.ParseFloat(literal, 64)
		return err == nil && f == want && f != math.Trunc(f)
	}
	n, ok := got.(int64)
	if !ok || n > 1<<53-1 || n < -(1<<53-1) {
		return false
	}
	want, exact := rational(literal)
	if !exact { // the exponent is enormous: only zero can be an integer within bounds
		return n == 0 && strings.Trim(strings.ToLower(literal)[:strings.IndexAny(literal, "eE")], "-.0") == ""
	}
	return want.IsInt() && want.Cmp(new(big.Rat).SetInt64(n)) == 0
}

// rational returns the exact value of a JSON number, unless its exponent is
// too large to write the value down.
func rational(literal string) (value *big.Rat, exact bool) {
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		if e, err := strconv.Atoi(literal[i+1:]); err != nil || e > 100_000 || e < -100_000 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(literal)
}

func TestSameNumberDistinguishesValues(t *testing.T) {
	for _, tt := range []struct {
		got     any
		literal string
		want    bool
	}{
		{int64(14), "14", true},
		{int64(14), "1.4e1", true},
		{int64(14), "15", false},
		{int64(14), "14.0000000000000000000001", false},
		{int64(0), "-0e999999999", true},
		{int64(1), "1e999999999", false},
		{int64(0), "1e-999999999", false},
		{1.5, "1.5", true},
		{1.5, "1.25", false},
		{14.0, "14", false},
		{int64(1 << 53), "9007199254740992", false},
		{"14", "14", false},
	} {
		if got := sameNumber(tt.got, tt.literal); got != tt.want {
			t.Errorf("sameNumber(%T %v, %s): got %v, want %v", tt.got, tt.got, tt.literal, got, tt.want)
		}
	}
}
