// Package accounts implements the rules for registries, their users, and the API
// keys that may create users. It has no HTTP and no SQL; a [Store] keeps its state.
package accounts

import (
	"context"
	"runtime"
	"time"
)

// Service applies the rules to a store. It is safe for concurrent use.
type Service struct {
	store     Store
	key       ServerKey
	now       func() time.Time
	bareNames bool

	// Slots for logins from unknown addresses, for logins of users from an address
	// where they have logged in lately, and for holders of an API key.
	logins, knownLogins, creates *hashSlots

	verified *verifiedSecrets
	throttle *loginThrottle
}

// New returns a Service. now is the clock; nil means [time.Now].
func New(store Store, key ServerKey, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{
		store:       store,
		key:         key,
		now:         now,
		logins:      newHashSlots(min(runtime.GOMAXPROCS(0), maxLoginHashes)),
		knownLogins: newHashSlots(maxKnownHashes),
		creates:     newHashSlots(maxCreateHashes),
		verified:    newVerifiedSecrets(),
		throttle:    newLoginThrottle(),
	}
}

// clock returns the time in the precision that the store keeps: UTC, whole
// microseconds.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Ready returns an error if the store cannot be read.
func (s *Service) Ready(ctx context.Context) error {
	if _, err := s.store.APIKey(ctx, 0); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}
