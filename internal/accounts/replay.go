package accounts

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
)

// RecordLifetime is how long a create can be repeated with its idempotency key.
const RecordLifetime = 24 * time.Hour

// IdempotencyRecord is what is kept of a create with an idempotency key, so that a repeat
// is answered alike: no secret, nor anything that a secret or the idempotency
// key could be tried against without the server key.
type IdempotencyRecord struct {
	Key     []byte    // keyed hash of the idempotency key, within its API key, operation and place
	Request []byte    // keyed hash of what was asked for, without the secret
	Salt    []byte    // of the derivation of a made secret
	End     time.Time // after which it counts no more
	UserID  int64     // set by the store
}

// creation is a create with an idempotency key.
type createRequest struct {
	scope         string // API key, operation, place and idempotency key, which is the rest of the text
	key, request  []byte // of its Record
	secretIsGiven bool
}

// creation tells a create from every other.
func (s *Service) newCreateRequest(caller Key, at RegistryRef, idempotencyKey string, n NewUser) createRequest {
	// All that is asked for counts: a field more, and this does not compile.
	asked := struct {
		Duration int64
		Name     string
		ReadOnly bool
		Secret   registryusers.SecretText
	}(n)
	decimal := func(n int64) string { return strconv.FormatInt(n, 10) }
	c := createRequest{
		scope: strings.Join([]string{
			decimal(caller.ID), "create user", decimal(at.ProjectID), decimal(at.RegionID), decimal(at.RegistryID), idempotencyKey,
		}, "\x00"),
		secretIsGiven: !asked.Secret.IsZero(),
	}
	c.key = s.key.mac("idempotency key", c.scope)
	// The name stands last, whatever is in it. Requests are compared within the scope.
	c.request = s.key.mac("create user", fmt.Sprintf("%s\x00%d %t %t %s", c.scope, asked.Duration, asked.ReadOnly, c.secretIsGiven, asked.Name))
	return c
}

// record returns the record of the creation at that time.
func (c createRequest) record(now time.Time) IdempotencyRecord {
	r := IdempotencyRecord{Key: c.key, Request: c.request, Salt: make([]byte, 32), End: now.Add(RecordLifetime)}
	_, _ = rand.Read(r.Salt) // never fails: crypto/rand
	return r
}

// derive returns the made secret of a creation: the same for the same salt.
func (s *Service) derive(c createRequest, salt []byte) string {
	random, err := hkdf.Key(sha256.New, s.key.bytes(), salt, "user secret\x00"+c.scope, 32)
	if err != nil {
		panic(err) // only for more bytes than HKDF has
	}
	return spell(random)
}

// replay answers a create that is repeated at now as the first one was.
// ErrNotFound: it is not repeated.
func (s *Service) replay(ctx context.Context, caller Key, c createRequest, n NewUser, now time.Time) (CreatedUser, error) {
	r, u, err := s.store.IdempotencyRecord(ctx, c.key)
	if err == nil && !now.Before(r.End) {
		err = registryusers.ErrNotFound
	}
	if err != nil {
		return CreatedUser{}, err
	}
	if subtle.ConstantTimeCompare(r.Request, c.request) != 1 {
		return CreatedUser{}, registryusers.ErrIdempotencyKeyReused
	}
	if u == nil || u.SecretVersion != 1 {
		return CreatedUser{}, registryusers.ErrUserChanged
	}
	secret := n.Secret
	if c.secretIsGiven {
		if err := s.compare(ctx, caller, *u, secret); err != nil {
			return CreatedUser{}, err
		}
	} else {
		secret = registryusers.NewSecretText(s.derive(c, r.Salt))
		if subtle.ConstantTimeCompare(s.index(secret.Reveal()), u.Verifier.Index) != 1 {
			return CreatedUser{}, registryusers.ErrUserChanged
		}
	}
	// As it was answered, whatever was changed of the user since.
	u.ReadOnly, u.Duration = n.ReadOnly, n.Duration
	if u.ExpiresAt, err = end(u.CreatedAt, n.Duration); err != nil {
		return CreatedUser{}, err
	}
	return CreatedUser{User: *u, Secret: secret, Replayed: true}, nil
}

// compare returns ErrIdempotencyKeyReused if a custom secret is not the user's.
// The throttle does not count it: only the holder of both the API key and the
// idempotency key learns about a secret, and it is the one which that caller chose.
func (s *Service) compare(ctx context.Context, caller Key, u User, secret registryusers.SecretText) error {
	release, err := s.creates.acquire(ctx, caller.owner(), 0)
	if err != nil {
		return err
	}
	defer release()
	ok, err := verify(u.Verifier.Hash, secret.Reveal())
	if err == nil && !ok {
		err = registryusers.ErrIdempotencyKeyReused
	}
	return err
}

// DeleteExpired deletes the idempotency records that have expired.
func (s *Service) DeleteExpired(ctx context.Context) error {
	return s.store.DeleteIdempotencyRecords(ctx, s.clock())
}
