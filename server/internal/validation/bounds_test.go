package validation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/server/internal/validation"
)

// A large body may have a violation in every few bytes. The time
// to report them, and the size of the report, must be bounded.
func TestCheckBoundsItsViolations(t *testing.T) {
	var names strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&names, `,"f%d":1`, i)
	}
	for _, tt := range []struct{ name, schema, value string }{
		{"elements of a wrong type", `{"type":"array","items":{"type":"integer"}}`, "[" + strings.Repeat(`"",`, 30_000) + `""]`},
		{"elements without their fields", `{"type":"array","items":` + createBody + `}`, "[" + strings.Repeat(`{},`, 30_000) + `{}]`},
		{"fields that are not allowed", `{"type":"object","properties":{"o":{"type":"object","additionalProperties":false}}}`, `{"o":{` + names.String()[1:] + `}}`},
		{"fields of a wrong type", `{"type":"object","additionalProperties":{"type":"string"}}`, `{` + names.String()[1:] + `}`},
	} {
		value := decode(t, tt.value)
		for validator, compiled := range map[string]*validation.Schema{"engine": compile(t, tt.schema)} {
			start := time.Now()
			got := compiled.Check(value)
			const limit = 20 * time.Second // a fraction of a second is usual
			if took := time.Since(start); took > limit {
				t.Errorf("%s, %s: Check of %d bytes took %v, want at most %v", tt.name, validator, len(tt.value), took, limit)
			}
			size := 0
			for _, v := range got {
				size += len(v.Field) + len(v.Why)
			}
			if len(got) == 0 || size > 64<<10 {
				t.Errorf("%s, %s: Check of %d bytes: got %d violations of %d bytes in all, want some, of at most 64 KiB", tt.name, validator, len(tt.value), len(got), size)
			}
		}
	}
}
