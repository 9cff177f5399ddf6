package accounts

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/registryusers/registryusers"
)

// User is a user of one registry.
type User struct {
	ID            int64 // 1 or more, never used again
	RegistryID    int64
	Name          string // unique in its registry; may be empty
	ReadOnly      bool
	Duration      int64     // days from CreatedAt; 0 expires at once, -1 never
	CreatedAt     time.Time // UTC, whole microseconds
	ExpiresAt     time.Time // UTC; [Never] for a Duration of -1
	Verifier      Verifier
	SecretVersion int64       // starts at 1, and each new secret adds 1
	Incarnation   Incarnation // random, new with every secret
}

// Expired reports whether the user has expired at now.
func (u User) Expired(now time.Time) bool { return !now.Before(u.ExpiresAt) }

// Never is the ExpiresAt of a user that never expires. It is more than a day
// before the end of year 9999, so that it is a date of that year in every time
// zone: Go's JSON and other programs refuse the year 10000.
var Never = time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)

// Incarnation identifies a user with its current secret. Ids alone do not: they
// are reused after a backup is restored.
type Incarnation [16]byte

func newIncarnation() (i Incarnation) {
	_, _ = rand.Read(i[:]) // never fails: crypto/rand
	return i
}

// MarshalText implements [encoding.TextMarshaler], in URL-safe base64.
func (i Incarnation) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, i[:]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *Incarnation) UnmarshalText(text []byte) error {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil || len(decoded) != len(i) {
		return errors.New("an incarnation must be 16 bytes in URL-safe base64")
	}
	copy(i[:], decoded)
	return nil
}

// NewUser is the document's create body: what a user is created from.
type NewUser struct {
	Duration int64 // days; 0 expires at once, -1 never
	Name     string
	ReadOnly bool
	Secret   registryusers.SecretText // empty: one is generated
}

// CreatedUser is a user that was just created, with its secret, which is shown only once.
type CreatedUser struct {
	User
	Secret   registryusers.SecretText
	Replayed bool // an earlier call with the same idempotency key created the user
}

// CreateUser creates a user in the registry that ref refers to, for the holder of
// the API key. If idempotencyKey is not "", repeating the call returns the same
// result for [IdempotencyLifetime].
//
// ErrInvalid (for the secret, a [*registryusers.Error]: see
// [CheckSecret]), ErrForbidden (decided from ref alone), ErrRegistryNotFound,
// ErrUserExists (an expired user still exists), ErrIdempotencyKeyReused (the key
// was used for another request), ErrUserChanged (a repeat, after the user was
// deleted or got another secret).
func (s *Service) CreateUser(ctx context.Context, caller APIKey, ref RegistryRef, idempotencyKey string, n NewUser) (CreatedUser, error) {
	u := User{Name: n.Name, ReadOnly: n.ReadOnly, Duration: n.Duration, CreatedAt: s.clock(), SecretVersion: 1, Incarnation: newIncarnation()}
	var err error
	if u.ExpiresAt, err = expiry(u.CreatedAt, n.Duration); err != nil {
		return CreatedUser{}, err
	}
	if !n.Secret.IsZero() {
		if err := CheckSecret(n.Secret.Reveal()); err != nil {
			return CreatedUser{}, err
		}
	}
	if err := caller.authorize(ref.ProjectID); err != nil {
		return CreatedUser{}, err
	}
	var request *idempotentRequest
	if idempotencyKey != "" {
		request = s.newCreateRequest(caller, ref, idempotencyKey, n)
	}
	return doOnce(ctx, s, request, u.CreatedAt,
		func(r *IdempotencyRecord) (CreatedUser, error) {
			return s.create(ctx, caller, ref, u, n.Secret, request, r)
		},
		func(r IdempotencyRecord) (CreatedUser, error) { return s.repeatCreate(ctx, caller, request, r, n) })
}

// create stores u with the custom secret or, if that is empty, with a generated one,
// and with the record of the request, unless that is nil.
func (s *Service) create(ctx context.Context, caller APIKey, ref RegistryRef, u User, custom registryusers.SecretText, request *idempotentRequest, r *IdempotencyRecord) (CreatedUser, error) {
	secret := custom
	if custom.IsZero() {
		secret = registryusers.NewSecretText(s.newSecret(request, r))
		u.Verifier.Index = s.index(secret.Reveal())
	} else {
		// A request for a registry that does not exist must not cost an argon2id.
		_, err := s.store.Registry(ctx, ref)
		if err == nil {
			u.Verifier.Hash, err = s.hash(ctx, caller, custom.Reveal())
		}
		if err != nil {
			return CreatedUser{}, err
		}
	}
	u, err := s.store.CreateUser(ctx, ref, u, r)
	if err != nil {
		return CreatedUser{}, err
	}
	return CreatedUser{User: u, Secret: secret}, nil
}

// expiry returns when a user expires that was created with a duration of that many
// days of 24 hours.
func expiry(created time.Time, days int64) (time.Time, error) {
	const century = 36525 // days; the document allows far fewer
	switch {
	case days == -1:
		return Never, nil
	case days < -1 || days > century:
		return time.Time{}, fmt.Errorf("%w: the duration must be from -1 to %d days", registryusers.ErrInvalid, century)
	}
	return created.Add(time.Duration(days) * 24 * time.Hour), nil
}

// Users returns all users of a registry, by id. ErrForbidden, ErrRegistryNotFound.
func (s *Service) Users(ctx context.Context, caller APIKey, ref RegistryRef) ([]User, error) {
	return readPages(func(p Page) ([]User, int64, error) { return s.UserPage(ctx, caller, ref, p) },
		func(u User) int64 { return u.ID })
}

// UserPage returns a page of a registry's users, by id, and how many users the
// registry has. A limit of 0, or of more than [MaxPage], means MaxPage. ErrInvalid: a
// number is negative. ErrForbidden, ErrRegistryNotFound.
func (s *Service) UserPage(ctx context.Context, caller APIKey, ref RegistryRef, page Page) (users []User, total int64, err error) {
	if page, err = page.withLimits(); err != nil {
		return nil, 0, err
	}
	if err := caller.authorize(ref.ProjectID); err != nil {
		return nil, 0, err
	}
	return s.store.Users(ctx, ref, page)
}

// User returns the registry's user of that name. ErrForbidden, ErrRegistryNotFound,
// ErrUserNotFound.
func (s *Service) User(ctx context.Context, caller APIKey, ref RegistryRef, name string) (User, error) {
	if err := caller.authorize(ref.ProjectID); err != nil {
		return User{}, err
	}
	return s.store.User(ctx, ref, name)
}

// UserUpdate holds the changes to a user.
type UserUpdate struct {
	Days      *int64 // duration from the creation, in days; -1 never expires; nil: no change
	ReadOnly  *bool  // nil: no change
	NewSecret bool   // generate a new secret; the old one stops working
}

// UpdateUser applies all changes to a user or none, and returns the user, and its
// new secret if one was generated. The secret is shown only once. ErrInvalid,
// ErrForbidden, ErrRegistryNotFound, ErrUserNotFound.
func (s *Service) UpdateUser(ctx context.Context, caller APIKey, ref RegistryRef, userID int64, update UserUpdate) (User, registryusers.SecretText, error) {
	if err := caller.authorize(ref.ProjectID); err != nil {
		return User{}, registryusers.SecretText{}, err
	}
	var secret string
	var incarnation Incarnation
	if update.NewSecret {
		secret, incarnation = generateSecret(), newIncarnation()
	}
	updated, err := s.store.UpdateUser(ctx, ref, userID, func(u *User) error {
		if update.Days != nil {
			expires, err := expiry(u.CreatedAt, *update.Days)
			if err != nil {
				return err
			}
			u.Duration, u.ExpiresAt = *update.Days, expires
		}
		if update.ReadOnly != nil {
			u.ReadOnly = *update.ReadOnly
		}
		if update.NewSecret {
			u.Verifier = Verifier{Index: s.index(secret)}
			u.SecretVersion++
			u.Incarnation = incarnation
		}
		return nil
	}, nil)
	if err != nil {
		return User{}, registryusers.SecretText{}, err
	}
	return updated, registryusers.NewSecretText(secret), nil
}

// DeleteUser deletes a user; its name can be used again. ErrForbidden,
// ErrRegistryNotFound, ErrUserNotFound.
func (s *Service) DeleteUser(ctx context.Context, caller APIKey, ref RegistryRef, userID int64) error {
	if err := caller.authorize(ref.ProjectID); err != nil {
		return err
	}
	return s.store.DeleteUser(ctx, ref, userID)
}
