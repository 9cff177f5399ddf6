package registryusers

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a secret prints as.
const redacted = "[redacted]"

// Secret holds a secret inside a program. It prints as "[redacted]" under every
// fmt verb, in slog and in JSON. [Secret.Reveal] returns its text.
//
// [Secret.Equal] compares two Secrets. They cannot be compared with ==, and
// [reflect.DeepEqual] finds them equal only if both are the zero Secret; cmp.Diff
// of package go-cmp uses Equal. Printers that use reflection, such as cmp.Diff,
// cannot reach the text.
//
// The zero Secret is empty. A Secret is immutable and safe for concurrent use.
type Secret struct {
	reveal func() string // no printer shows what a function captures
}

// NewSecret returns a Secret that holds text.
func NewSecret(text string) Secret { return Secret{func() string { return text }} }

// Reveal returns the secret's text. Keep it out of logs and errors.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// Equal reports whether two secrets have the same text. The time that it takes
// depends on the lengths of the texts only.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// Format writes "[redacted]", whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]"; encoding/json uses it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SecretText is a secret in a generated model, which is sent over the wire: JSON
// and other encoders get its text through [SecretText.MarshalText]. In all else it
// is the [Secret] in it, and prints as "[redacted]". The models and the server's types
// that have one do so in slog, too. But slog's JSON handler encodes other structs, and
// slices and maps, as JSON, with the secret: never log them, and keep the secret as a
// Secret.
//
// The zero SecretText is empty. Its methods, except UnmarshalText, are safe for
// concurrent use.
type SecretText struct{ Secret }

// NewSecretText returns a SecretText that holds text.
func NewSecretText(text string) SecretText { return SecretText{NewSecret(text)} }

// Equal reports whether two secrets have the same text, as [Secret.Equal] does.
func (s SecretText) Equal(other SecretText) bool { return s.Secret.Equal(other.Secret) }

// MarshalText returns the secret's text.
func (s SecretText) MarshalText() ([]byte, error) { return []byte(s.Reveal()), nil }

// UnmarshalText sets the secret to text.
func (s *SecretText) UnmarshalText(text []byte) error {
	*s = NewSecretText(string(text))
	return nil
}
