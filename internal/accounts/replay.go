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

// IdempotencyLifetime is how long a create request can be repeated with its idempotency
// key.
const IdempotencyLifetime = 24 * time.Hour

// IdempotencyRecord is stored for a create request with an idempotency key, so that
// a repeat gets the same response. It holds no secret, and without the server key
// nobody can test guesses of a secret or of the idempotency key against it.
type IdempotencyRecord struct {
	Key       []byte    // keyed hash of the idempotency key, API key, operation and registry
	Request   []byte    // keyed hash of the request, without the secret
	Salt      []byte    // for deriving a generated secret
	ExpiresAt time.Time // when the record expires
	UserID    int64     // set by the store
}

// createRequest is a create request with an idempotency key.
type createRequest struct {
	scope         string // API key, operation, registry and, as the rest of the text, idempotency key
	key, request  []byte // of its IdempotencyRecord
	secretIsGiven bool
}

func (s *Service) newCreateRequest(caller APIKey, ref RegistryRef, idempotencyKey string, n NewUser) createRequest {
	// Every field counts: with a new field of NewUser, this does not compile.
	asked := struct {
		Duration int64
		Name     string
		ReadOnly bool
		Secret   registryusers.SecretText
	}(n)
	decimal := func(n int64) string { return strconv.FormatInt(n, 10) }
	c := createRequest{
		scope: strings.Join([]string{
			decimal(caller.ID), "create user", decimal(ref.ProjectID), decimal(ref.RegionID), decimal(ref.RegistryID), idempotencyKey,
		}, "\x00"),
		secretIsGiven: !asked.Secret.IsZero(),
	}
	c.key = s.key.mac("idempotency key", c.scope)
	// The name comes last, because it may contain any character.
	c.request = s.key.mac("create user", fmt.Sprintf("%s\x00%d %t %t %s", c.scope, asked.Duration, asked.ReadOnly, c.secretIsGiven, asked.Name))
	return c
}

// record returns the record of a request that is made at now, with a new salt.
func (c createRequest) record(now time.Time) IdempotencyRecord {
	r := IdempotencyRecord{Key: c.key, Request: c.request, Salt: make([]byte, 32), ExpiresAt: now.Add(IdempotencyLifetime)}
	_, _ = rand.Read(r.Salt) // never fails: crypto/rand
	return r
}

// derive returns the generated secret of a create request: the same one for the
// same salt.
func (s *Service) derive(c createRequest, salt []byte) string {
	random, err := hkdf.Key(sha256.New, s.key.bytes(), salt, "user secret\x00"+c.scope, 32)
	if err != nil {
		panic(err) // only for more bytes than HKDF can return
	}
	return encodeSecret(random)
}

// replay returns the result of the earlier create request that this one, made at
// now, repeats. ErrNotFound: it repeats none.
func (s *Service) replay(ctx context.Context, caller APIKey, c createRequest, n NewUser, now time.Time) (CreatedUser, error) {
	r, u, err := s.store.IdempotencyRecord(ctx, c.key)
	if err == nil && !now.Before(r.ExpiresAt) {
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
	// The same response as before, even if the user has been changed since.
	u.ReadOnly, u.Duration = n.ReadOnly, n.Duration
	if u.ExpiresAt, err = expiry(u.CreatedAt, n.Duration); err != nil {
		return CreatedUser{}, err
	}
	return CreatedUser{User: *u, Secret: secret, Replayed: true}, nil
}

// compare returns ErrIdempotencyKeyReused if a custom secret is not the user's.
// The throttle does not count it: only the holder of both the API key and the
// idempotency key can test secrets here, and that caller set the user's secret.
func (s *Service) compare(ctx context.Context, caller APIKey, u User, secret registryusers.SecretText) error {
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
