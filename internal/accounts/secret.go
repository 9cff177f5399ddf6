package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/argon2"

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

// index is the keyed hash under which a made secret is found.
func (s *Service) index(secret string) []byte { return s.key.mac("user secret", secret) }

// The alphabet and the length of made secrets: 62^32 is 190 bits.
const (
	letters    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	madeLength = 32
)

// makeSecret returns a new random secret.
func makeSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand
	return spell(random[:])
}

// spell makes a secret of 32 random bytes, a number of 256 bits: its last 32
// digits to the base of 62. No digit is likelier than another by more than 2^-65.
func spell(random []byte) string {
	secret := make([]byte, madeLength)
	number, base, digit := new(big.Int).SetBytes(random), big.NewInt(int64(len(letters))), new(big.Int)
	for i := range secret {
		number.DivMod(number, base, digit)
		secret[i] = letters[digit.Int64()]
	}
	return string(secret)
}

// The cost of argon2id: OWASP's recommendation for its smallest memory but one.
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16 // bytes
	argonKey    = 32 // bytes
)

// hashPrefix begins the PHC strings of these parameters.
var hashPrefix = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonLanes)

// maxHashing bounds the memory of all the hashing at a time, on machines of
// many processors: each takes 19 MiB, and leaves several times that until it is
// collected.
const maxHashing = 2

// maxWait is how long one waits for the others.
const maxWait = 20 * time.Second

// acquire waits until an argon2id may work: at most GOMAXPROCS of them do at a
// time, and [maxHashing]. It gives up with ctx, and after [maxWait], with
// ErrUnavailable: nothing is done without the hash.
func (s *Service) acquire(ctx context.Context) (release func(), err error) {
	select {
	case s.hashing <- struct{}{}:
		return func() { <-s.hashing }, nil
	case <-time.After(maxWait):
		return nil, fmt.Errorf("%w: too many secrets wait to be hashed", registryusers.ErrUnavailable)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting to hash a secret: %w", registryusers.ErrUnavailable, ctx.Err())
	}
}

// hash returns the argon2id hash of a chosen secret as a PHC string.
func (s *Service) hash(ctx context.Context, secret string) (string, error) {
	release, err := s.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt)
	b64 := base64.RawStdEncoding.EncodeToString
	return hashPrefix + b64(salt) + "$" + b64(argon2id(secret, salt)), nil
}

// argon2id hashes; call it between acquire and release.
func argon2id(secret string, salt []byte) []byte {
	return argon2.IDKey([]byte(secret), salt, argonTime, argonMemory, argonLanes, argonKey)
}

func isNotFound(err error) bool { return errors.Is(err, registryusers.ErrNotFound) }
