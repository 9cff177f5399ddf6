package accounts

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"sync"
	"time"
)

// verifiedSecrets remembers which custom secrets were right, so that a client
// that logs in for every layer costs one argon2id. The stored hash is part of the
// key, so an old secret is not accepted once the user has another one.
type verifiedSecrets struct {
	key hashKey
	mu  sync.Mutex
	*expiringSet
}

const (
	verifiedLifetime   = 5 * time.Minute
	maxVerifiedSecrets = 1024
)

func newVerifiedSecrets() *verifiedSecrets {
	return &verifiedSecrets{key: newHashKey(), expiringSet: newExpiringSet(verifiedLifetime, maxVerifiedSecrets)}
}

func (v *verifiedSecrets) has(hash, secret string, now time.Time) bool {
	key := v.key.hash(hash, secret)
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.expiringSet.has(key, now)
}

func (v *verifiedSecrets) add(hash, secret string, now time.Time) {
	key := v.key.hash(hash, secret)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expiringSet.add(key, now)
}

// expiringSet keeps keys for a lifetime each, and at most a number of them. It is
// not safe for concurrent use.
type expiringSet struct {
	lifetime time.Duration
	most     int
	until    map[digest]time.Time
}

func newExpiringSet(lifetime time.Duration, most int) *expiringSet {
	return &expiringSet{lifetime, most, make(map[digest]time.Time)}
}

func (s *expiringSet) has(key digest, now time.Time) bool { return now.Before(s.until[key]) }

func (s *expiringSet) add(key digest, now time.Time) {
	if _, ok := s.until[key]; !ok {
		bound(s.until, s.most, func(until time.Time) bool { return !now.Before(until) })
	}
	s.until[key] = now.Add(s.lifetime)
}

// bound makes room in m if it is full: it deletes the expired entries, and then
// others, down to 3/4 of the limit, so that the next calls find room.
func bound[K comparable, V any](m map[K]V, most int, expired func(V) bool) {
	if len(m) < most {
		return
	}
	for key, value := range m {
		if expired(value) {
			delete(m, key)
		}
	}
	for key := range m {
		if len(m) <= most*3/4 {
			return
		}
		delete(m, key)
	}
}

// hashKey is a random key for hashes that only this process can compute.
type hashKey [32]byte

type digest [sha256.Size]byte

func newHashKey() (k hashKey) {
	_, _ = rand.Read(k[:]) // never fails: crypto/rand
	return k
}

// hash returns the keyed hash of texts. Their lengths are part of it, so "ab", "c"
// and "a", "bc" have different hashes.
func (k hashKey) hash(texts ...string) (d digest) {
	h := hmac.New(sha256.New, k[:])
	for _, text := range texts {
		h.Write([]byte(strconv.Itoa(len(text)) + ":"))
		h.Write([]byte(text))
	}
	h.Sum(d[:0])
	return d
}
