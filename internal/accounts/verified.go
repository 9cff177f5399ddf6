package accounts

import (
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
