// Package semaphore limits how much of something is in use at the same time, by key:
// for a user, for a network, for all.
package semaphore

import "sync"

// Claim is what is acquired of the limit of one key.
type Claim struct {
	Key    any
	Amount int64 // 0 or more
	Limit  int64 // that may be in use under the key
}

// Keyed counts what is in use, by key. Its zero value is ready. It is safe for
// concurrent use, and takes memory only for keys of which something is in use.
type Keyed struct {
	mu    sync.Mutex
	inUse map[any]int64
}

// TryAcquire acquires all shares until release is called, which must be called once.
// If a limit would be exceeded, it acquires none: release is nil, and full is the
// index of the first share whose limit it is.
func (k *Keyed) TryAcquire(shares ...Claim) (release func(), full int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, share := range shares {
		if share.Amount > 0 && k.inUse[share.Key]+share.Amount > share.Limit {
			return nil, i
		}
	}
	if k.inUse == nil {
		k.inUse = make(map[any]int64)
	}
	for _, share := range shares {
		if share.Amount > 0 {
			k.inUse[share.Key] += share.Amount
		}
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, share := range shares {
			if k.inUse[share.Key] -= share.Amount; k.inUse[share.Key] == 0 {
				delete(k.inUse, share.Key)
			}
		}
	}, 0
}

// InUse returns how much is in use under a key.
func (k *Keyed) InUse(key any) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.inUse[key]
}
