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

// The cost of argon2id: OWASP's recommendation for 19 MiB of memory.
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16 // bytes
	argonKey    = 32 // bytes
)

// hashPrefix is how the PHC strings with these parameters begin.
var hashPrefix = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonLanes)

// How many argon2id computations run at a time. Each uses 19 MiB, and several times
// that until the garbage is collected. Holders of an API key, and users at a known
// address, have a slot of their own, which other callers cannot take.
const (
	maxLoginHashes  = 2
	maxKnownHashes  = 1 // for users at an address where they have logged in lately
	maxCreateHashes = 1
)

// hashSlots bounds the argon2id computations in progress and the callers that wait
// for one.
type hashSlots struct {
	mu      sync.Mutex
	free    int
	waiting queue
}

func newHashSlots(n int) *hashSlots { return &hashSlots{free: n} }

// acquire waits for a slot, in the order of a [queue], until ctx is done. owner is
// the caller's address or API key, and failed the share of its limits on failures
// that it has used. ErrUnavailable: ctx is done or, at once, the queue is full of
// callers that are served before this one.
func (h *hashSlots) acquire(ctx context.Context, owner string, failed float64) (release func(), err error) {
	h.mu.Lock()
	if h.free > 0 { // then no caller waits
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

// release passes a slot to the next caller in the queue.
func (h *hashSlots) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waiting.serve() {
		h.free++
	}
}

// hash returns the argon2id hash of a new user's custom secret as a PHC string.
// API keys take turns.
func (s *Service) hash(ctx context.Context, caller APIKey, secret string) (string, error) {
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

// verify reports whether a custom secret has the hash. No secret has the hash "",
// which costs the same. Acquire a slot before the call.
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

// argon2id hashes a secret. Acquire a slot before the call. It is a variable for
// tests that need many hashes and not their cost.
var argon2id = func(secret string, salt []byte) []byte {
	return argon2.IDKey([]byte(secret), salt, argonTime, argonMemory, argonLanes, argonKey)
}

// parseHash parses a PHC string that [Service.hash] returned.
func parseHash(hash string) (salt, key []byte, err error) {
	parts := strings.Split(strings.TrimPrefix(hash, hashPrefix), "$")
	if !strings.HasPrefix(hash, hashPrefix) || len(parts) != 2 {
		return nil, nil, errors.New("the stored hash of a secret has an unknown format: a newer version of this program may have written it")
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[0])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[1])
	return salt, key, errors.Join(err1, err2)
}
