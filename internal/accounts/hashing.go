package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/registryusers/registryusers"
)

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

// How many argon2ids run at a time, each with 19 MiB (and several times that
// until it is collected). Holders of an API key, and users whose address is known,
// have a slot of their own, which strangers cannot take.
const (
	maxLoginHashes  = 2
	maxKnownHashes  = 1 // of users at an address where they have logged in lately
	maxCreateHashes = 1
)

// hashSlots bounds the argon2ids in progress and the callers that wait for one.
type hashSlots struct {
	mu      sync.Mutex
	free    int
	waiting queue
}

func newHashSlots(n int) *hashSlots { return &hashSlots{free: n} }

// acquire waits for a slot, in the order of a queue, until ctx is done. owner is
// the address or the API key that the caller waits for, and failed the share of
// its limits that has been spent. ErrUnavailable, at once: too many wait that come
// before this caller.
func (h *hashSlots) acquire(ctx context.Context, owner string, failed float64) (release func(), err error) {
	h.mu.Lock()
	if h.free > 0 { // then nobody waits
		h.free--
		h.mu.Unlock()
		return h.release, nil
	}
	w := newWaiter(owner, failed)
	ok := h.waiting.add(w)
	h.mu.Unlock()
	if !ok {
		return nil, errQueueFull
	}
	select {
	case served := <-w.served:
		if !served {
			return nil, errQueueFull
		}
		return h.release, nil
	case <-ctx.Done():
		h.mu.Lock()
		left := h.waiting.remove(w)
		h.mu.Unlock()
		if !left && <-w.served {
			h.release()
		}
		return nil, fmt.Errorf("%w: waiting to hash a secret: %w", registryusers.ErrUnavailable, ctx.Err())
	}
}

var errQueueFull = fmt.Errorf("%w: %d secrets are waiting to be hashed", registryusers.ErrUnavailable, maxQueue)

// release gives a slot to the next caller that waits.
func (h *hashSlots) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waiting.serve() {
		h.free++
	}
}

// hash returns the argon2id hash of a new user's custom secret as a PHC string.
// The holders of API keys take turns.
func (s *Service) hash(ctx context.Context, caller Key, secret string) (string, error) {
	release, err := s.creates.acquire(ctx, caller.owner(), 0)
	if err != nil {
		return "", err
	}
	defer release()
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails: crypto/rand
	b64 := base64.RawStdEncoding.EncodeToString
	return hashPrefix + b64(salt) + "$" + b64(argon2id(secret, salt)), nil
}

// verify reports whether a custom secret has the hash; "" is the hash of none, and
// costs the same. Call it with a slot.
func verify(hash, secret string) (bool, error) {
	if hash == "" {
		argon2id(secret, make([]byte, argonSalt))
		return false, nil
	}
	salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(argon2id(secret, salt), want) == 1, nil
}

// argon2id hashes a secret. Call it with a slot.
func argon2id(secret string, salt []byte) []byte {
	return argon2.IDKey([]byte(secret), salt, argonTime, argonMemory, argonLanes, argonKey)
}

// parseHash reads what [Service.hash] wrote.
func parseHash(hash string) (salt, key []byte, err error) {
	parts := strings.Split(strings.TrimPrefix(hash, hashPrefix), "$")
	if !strings.HasPrefix(hash, hashPrefix) || len(parts) != 2 {
		return nil, nil, errors.New("a stored secret is hashed in a way that this program does not know")
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[0])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[1])
	return salt, key, errors.Join(err1, err2)
}
