package registryusers

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a secret prints as.
const redacted = "[redacted]"

// Secret holds a secret inside a program. It prints as "[redacted]" under every
// fmt verb, in slog and in JSON. [Secret.Reveal] returns its text.
//
// The text is behind a pointer, so that a printer that bypasses the methods (as
// fmt does for an unexported field) prints an address. Two Secrets with the same
// text are therefore not equal under ==. The zero Secret is empty. A Secret is
// immutable and safe for concurrent use.
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

// MarshalText returns "[redacted]"; encoding/json uses it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SecretText is a secret in a generated model, which is sent over the wire: JSON
// and other encoders get its text through [SecretText.MarshalText]. It prints as
// "[redacted]" under every fmt verb and as a slog value. But slog's JSON handler
// encodes structs as JSON, with the secret: never log a generated model, and keep
// the secret as a [Secret].
//
// The zero SecretText is empty. Only UnmarshalText changes a SecretText; its
// other methods are safe for concurrent use.
type SecretText struct{ text *string }

// NewSecretText returns a SecretText that holds text.
func NewSecretText(text string) SecretText { return SecretText{&text} }

// Reveal returns the secret's text. Keep it out of logs and errors.
func (s SecretText) Reveal() string { return deref(s.text) }

// Secret returns the same secret as a [Secret].
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

// UnmarshalText sets the secret to text.
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
