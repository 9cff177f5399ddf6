package accounts

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/registryusers/registryusers"
)

// ServerKey is the secret that keeps the database alone from letting anybody
// in. It is kept outside of the database; losing it loses every made secret.
type ServerKey struct {
	ID    string
	bytes func() []byte // a function, so that no printer finds them
}

// NewServerKey returns the server key with an id and 32 bytes from crypto/rand.
func NewServerKey(id string, key [32]byte) ServerKey {
	return ServerKey{id, func() []byte { return key[:] }}
}

// mac is a keyed hash (HMAC-SHA-256) of data, apart for each purpose.
func (k ServerKey) mac(purpose, data string) []byte {
	h := hmac.New(sha256.New, k.bytes())
	h.Write([]byte(purpose + "\x00" + data))
	return h.Sum(nil)
}

// Verifier is what is kept of a user's secret. One of its fields is set.
type Verifier struct {
	// Index, of a made secret, is its keyed hash: it verifies the secret, and
	// finds its user.
	Index []byte
	// Hash, of a chosen secret, is its argon2id hash in the PHC string format.
	Hash string
}

// MaxSecret is the most that a custom secret may have, in bytes.
const MaxSecret = 1024

// CheckSecret checks a custom secret: 1 to 1,024 bytes of UTF-8 without control
// characters, so that every client can send it in HTTP Basic (RFC 7617). The
// error is a [*registryusers.InvalidFieldsError], and does not quote the secret.
func CheckSecret(secret string) error {
	if len(secret) > 0 && len(secret) <= MaxSecret && utf8.ValidString(secret) && !strings.ContainsFunc(secret, unicode.IsControl) {
		return nil
	}
	return &registryusers.InvalidFieldsError{Fields: map[string][]string{
		"secret": {fmt.Sprintf("must be 1 to %d bytes of UTF-8 without control characters", MaxSecret)},
	}}
}

// index is the keyed hash under which a made secret is found.
func (s *Service) index(secret string) []byte { return s.key.mac("user secret", secret) }

// The alphabet and the length of made secrets: 62^32 is 190 bits.
const (
	letters         = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	generatedLength = 32
)

// makeSecret returns a new random secret.
func generateSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand
	return spell(random[:])
}

// spell makes a secret of 32 random bytes, a number of 256 bits: its last 32
// digits to the base of 62. No digit is likelier than another by more than 2^-65.
func spell(random []byte) string {
	secret := make([]byte, generatedLength)
	number, base, digit := new(big.Int).SetBytes(random), big.NewInt(int64(len(letters))), new(big.Int)
	for i := range secret {
		number.DivMod(number, base, digit)
		secret[i] = letters[digit.Int64()]
	}
	return string(secret)
}

func isNotFound(err error) bool { return errors.Is(err, registryusers.ErrNotFound) }
