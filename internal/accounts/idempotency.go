package accounts

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/registryusers/registryusers"
)

// IdempotencyLifetime is how long a request can be repeated with its idempotency
// key.
const IdempotencyLifetime = 24 * time.Hour

// IdempotencyRecord is stored for a request with an idempotency key, so that a
// repeat gets the same response. It holds no secret, and without the server key
// nobody can test guesses of a secret or of the idempotency key against it.
type IdempotencyRecord struct {
	Key       []byte    // keyed hash of the idempotency key, API key, operation and registry
	Request   []byte    // keyed hash of the request, without the secret
	Salt      []byte    // for deriving a generated secret
	ExpiresAt time.Time // when the record expires
	ObjectID  int64     // of what the request created or changed, of a batch the first, perhaps deleted since; set by the store
}

// MadeAt returns when the request of the record was made. A record that has expired
// by then may be replaced.
func (r IdempotencyRecord) MadeAt() time.Time { return r.ExpiresAt.Add(-IdempotencyLifetime) }

// idempotentRequest is a request with an idempotency key.
type idempotentRequest struct {
	scope     string // API key, operation, registry and, as the rest of the text, idempotency key
	key, hash []byte // Key and Request of its IdempotencyRecord
}

// idempotentRequest returns a request for an operation on a registry. content is all
// of the request that must be equal when it is repeated, without a secret.
func (s *Service) idempotentRequest(caller APIKey, operation string, ref RegistryRef, idempotencyKey, content string) *idempotentRequest {
	scope := fmt.Sprintf("%d\x00%s\x00%d\x00%d\x00%d\x00%s", caller.ID, operation, ref.ProjectID, ref.RegionID, ref.RegistryID, idempotencyKey)
	return &idempotentRequest{scope, s.key.mac("idempotency key", scope), s.key.mac(operation, scope+"\x00"+content)}
}

// record returns the record of a request that is made at now, with a new salt.
func (r *idempotentRequest) record(now time.Time) IdempotencyRecord {
	record := IdempotencyRecord{Key: r.key, Request: r.hash, Salt: make([]byte, 32), ExpiresAt: now.Add(IdempotencyLifetime)}
	_, _ = rand.Read(record.Salt) // never fails: crypto/rand
	return record
}

// deriveSecret returns the generated secret of a request: the same one for the same
// salt.
func (s *Service) deriveSecret(r *idempotentRequest, salt []byte) string {
	random, err := hkdf.Key(sha256.New, s.key.bytes(), salt, "user secret\x00"+r.scope, 32)
	if err != nil {
		panic(err) // only for more bytes than HKDF can return
	}
	return encodeSecret(random)
}

// newSecret returns a generated secret for a request and its record: the same one for
// the same record. Without an idempotency key both are nil, and it is random.
func (s *Service) newSecret(request *idempotentRequest, r *IdempotencyRecord) string {
	if r == nil {
		return generateSecret()
	}
	return s.deriveSecret(request, r.Salt)
}

// doOnce runs an operation, which stores the record that it gets with its change. If
// an earlier request, with the same idempotency key, was the same, doOnce calls repeat
// with the earlier record instead: repeat returns the same response, from the record
// and its object. request is nil without an idempotency key, and then so is the record.
//
// ErrIdempotencyKeyReused: the earlier request was another one.
func doOnce[T any](ctx context.Context, s *Service, request *idempotentRequest, now time.Time, do func(*IdempotencyRecord) (T, error), repeat func(IdempotencyRecord) (T, error)) (result T, err error) {
	if request == nil {
		return do(nil)
	}
	earlier, err := s.earlier(ctx, request, now)
	if err == nil {
		return repeat(earlier)
	}
	if !isNotFound(err) {
		return result, err
	}
	record := request.record(now)
	done, err := do(&record)
	if !errors.Is(err, registryusers.ErrExists) {
		return done, err
	}
	conflict := err // perhaps with the same request, running at the same time
	if earlier, err = s.earlier(ctx, request, now); err == nil {
		return repeat(earlier)
	}
	if !isNotFound(err) {
		return result, err
	}
	if !errors.Is(conflict, registryusers.ErrUserExists) && !errors.Is(conflict, registryusers.ErrRegistryExists) {
		conflict = fmt.Errorf("%w: the record of an earlier call with this idempotency key has just expired", registryusers.ErrUnavailable)
	}
	return result, conflict
}

// earlier returns the record of the earlier request that this one, made at now,
// repeats. ErrNotFound: it repeats none. ErrIdempotencyKeyReused: the earlier
// request was another one.
func (s *Service) earlier(ctx context.Context, r *idempotentRequest, now time.Time) (IdempotencyRecord, error) {
	record, err := s.store.IdempotencyRecord(ctx, r.key)
	if err == nil && !now.Before(record.ExpiresAt) {
		err = registryusers.ErrNotFound
	}
	if err == nil && subtle.ConstantTimeCompare(record.Request, r.hash) != 1 {
		err = registryusers.ErrIdempotencyKeyReused
	}
	return record, err
}

// newCreateRequest returns the idempotent request that creates a user.
func (s *Service) newCreateRequest(caller APIKey, ref RegistryRef, idempotencyKey string, n NewUser) *idempotentRequest {
	// Every field counts: with a new field of NewUser, this does not compile.
	fields := struct {
		Duration int64
		Name     string
		ReadOnly bool
		Secret   registryusers.SecretText
	}(n)
	// The name comes last, because it may contain any character.
	return s.idempotentRequest(caller, "create user", ref, idempotencyKey,
		fmt.Sprintf("%d %t %t %s", fields.Duration, fields.ReadOnly, !fields.Secret.IsZero(), fields.Name))
}

// repeatCreate returns the result of the earlier create request with that record.
// ErrUserChanged: the user was deleted or got another secret.
func (s *Service) repeatCreate(ctx context.Context, caller APIKey, r *idempotentRequest, record IdempotencyRecord, n NewUser) (CreatedUser, error) {
	account, err := s.store.Account(ctx, record.ObjectID)
	u := account.User
	if isNotFound(err) || err == nil && u.SecretVersion != 1 {
		return CreatedUser{}, registryusers.ErrUserChanged
	}
	if err != nil {
		return CreatedUser{}, err
	}
	secret := n.Secret
	if !secret.IsZero() {
		if err := s.compare(ctx, caller, u, secret); err != nil {
			return CreatedUser{}, err
		}
	} else {
		secret = registryusers.NewSecretText(s.deriveSecret(r, record.Salt))
		if subtle.ConstantTimeCompare(s.index(secret.Reveal()), u.Verifier.Index) != 1 {
			return CreatedUser{}, registryusers.ErrUserChanged
		}
	}
	// The same response as before, even if the user has been changed since.
	u.ReadOnly, u.Duration = n.ReadOnly, n.Duration
	if u.ExpiresAt, err = expiry(u.CreatedAt, n.Duration); err != nil {
		return CreatedUser{}, err
	}
	return CreatedUser{User: u, Secret: secret, Replayed: true}, nil
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
