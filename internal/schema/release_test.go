package schema_test

import (
	"bytes"
	"testing"
)

// A parser is reused for another caller's body. No secret of this one may be left
// in its buffers, completely or in part.
func TestSecretIsNotLeftInAParsersBuffers(t *testing.T) {
	const secret = "correct horse battery staple"
	s := compileScalarObject(t, createBody)
	for _, body := range []string{
		`{"name":"m0rk3r","duration":1,"secret":"` + secret + `"}`,
		`{"secret":"` + secret + `","duration":1,"name":"m"}`, // the last string is shorter
		`{"secret":"` + secret + `","duration":1,"name":`,
	} {
		held, left := s.Released(body)
		if n := bytes.Count(held, []byte("orse battery")); n != 2 {
			t.Fatalf("%s: the buffers held the secret %d times before the release, want in both", body, n)
		}
		if rest := bytes.Trim(left, "\x00"); len(rest) > 0 {
			t.Errorf("%s: got %q left in the buffers, want nothing", body, rest)
		}
	}
}
