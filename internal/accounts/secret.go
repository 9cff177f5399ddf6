package accounts

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/registryusers/registryusers"
)

// Verifier is stored in place of a user's secret. One of its fields is set.
type Verifier struct {
	// Index is the keyed hash of a generated secret: it verifies the secret and
	// finds its user.
	Index []byte
	// Hash is the argon2id hash of a custom secret, in the PHC string format.
	Hash string
}

// MaxSecret is the maximum length of a custom secret, in bytes.
const MaxSecret = 1024

// CheckSecret checks a custom secret: 1 to 1,024 bytes of UTF-8 without control
// characters, so that every client can send it in HTTP Basic (RFC 7617). The
// error is a [*registryusers.Error], and does not quote the secret.
func CheckSecret(secret string) error {
	if len(secret) > 0 && len(secret) <= MaxSecret && utf8.ValidString(secret) && !strings.ContainsFunc(secret, unicode.IsControl) {
		return nil
	}
	return &registryusers.Error{Kind: registryusers.ErrInvalid, InvalidFields: map[string][]string{
		"secret": {fmt.Sprintf("must be 1 to %d bytes of UTF-8 without control characters", MaxSecret)},
	}}
}

// index returns the keyed hash by which a generated secret is found.
func (s *Service) index(secret string) []byte { return s.key.mac("user secret", secret) }

// The alphabet and the length of generated secrets: 62^32 is 190 bits.
const (
	alphabet        = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	generatedLength = 32
)

// generateSecret returns a new random secret.
func generateSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand
	return encodeSecret(random[:])
}

// encodeSecret returns the secret for 32 random bytes: the last 32 digits, in base 62, of
// the number of 256 bits. No digit is likelier than another by more than 2^-65.
func encodeSecret(random []byte) string {
	secret := make([]byte, generatedLength)
	number, base, digit := new(big.Int).SetBytes(random), big.NewInt(int64(len(alphabet))), new(big.Int)
	for i := range secret {
		number.DivMod(number, base, digit)
		secret[i] = alphabet[digit.Int64()]
	}
	return string(secret)
}
