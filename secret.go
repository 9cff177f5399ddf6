package registryusers

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a secret prints as.
const redacted = "[redacted]"

// Secret is a secret in the hands of a program: it prints as "[redacted]"
// under every fmt verb, in slog and in JSON. [Secret.Reveal] gives its text.
//
// The text lies behind a pointer, so that a printer which reaches past the
// methods (fmt does, for an unexported field) finds an address. Two Secrets
// with the same text are therefore not equal under ==. The zero Secret is
// empty. A Secret is immutable and safe for concurrent use.
type Secret struct{ text *string }

// NewSecret returns a Secret that holds text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the secret's text. Keep it out of logs and errors.
func (s Secret) Reveal() string { return deref(s.text) }

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// Format writes "[redacted]", whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", and so does JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SecretText is a secret on its way over the wire, as the generated models
// carry it: JSON and other encoders see its text, through [SecretText.MarshalText],
// and nothing else does. Under every fmt verb and as a slog value it is
// "[redacted]". But slog's JSON handler encodes a whole struct as JSON: never
// log a generated model; make a [Secret] of what you keep.
//
// The zero SecretText is empty. It is immutable, but for UnmarshalText, and
// safe for concurrent use.
type SecretText struct{ text *string }

// NewSecretText returns a SecretText that holds text.
func NewSecretText(text string) SecretText { return SecretText{&text} }

// Reveal returns the secret's text. Keep it out of logs and errors.
func (s SecretText) Reveal() string { return deref(s.text) }

// Secret returns the same secret as one that does not go over the wire.
func (s SecretText) Secret() Secret { return Secret(s) }

// IsZero reports whether the secret is empty; encoders omit it then.
func (s SecretText) IsZero() bool { return s.Reveal() == "" }

// String returns "[redacted]".
func (s SecretText) String() string { return redacted }

// Format writes "[redacted]", whatever the verb.
func (s SecretText) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (s SecretText) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns the secret's text.
func (s SecretText) MarshalText() ([]byte, error) { return []byte(s.Reveal()), nil }

// UnmarshalText replaces the secret by one that holds text.
func (s *SecretText) UnmarshalText(text []byte) error {
	*s = NewSecretText(string(text))
	return nil
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
