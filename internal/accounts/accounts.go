// Package accounts implements the rules for registries, their users, and the API
// keys that may create users. It has no HTTP and no SQL; a [Store] keeps its state.
package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
)

// RegistryRef refers to a registry by its id, within its project and region: the
// id of a registry in another project or region is not found.
type RegistryRef struct{ ProjectID, RegionID, RegistryID int64 }

// Registry is a container registry, which has users.
type Registry struct {
	ID        int64 // 1 or more
	ProjectID int64 // 1 or more
	RegionID  int64 // 1 or more
	Name      string
	CreatedAt time.Time
}

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

// Key is an API key. Its token is "<id>$<secret>".
type Key struct {
	ID        int64
	ProjectID int64 // the only project that the key is valid for; 0: all
	Hash      [sha256.Size]byte
	CreatedAt time.Time
}

// May reports whether the key is valid for the project.
func (k Key) May(projectID int64) bool { return k.ProjectID == 0 || k.ProjectID == projectID }

// owner names the key in a [queue].
func (k Key) owner() string { return strconv.FormatInt(k.ID, 10) }

// Store keeps the state. Each method is one atomic step, durable when it
// returns nil, and safe for concurrent use by several processes. The errors
// named here are package registryusers' sentinels, or wrap them; every method
// may also return [registryusers.ErrUnavailable]. Package storetest tests this
// contract.
type Store interface {
	RegistryStore
	UserStore
	IdempotencyStore
	AccountStore
	KeyStore
}

// RegistryStore keeps the registries.
type RegistryStore interface {
	// CreateRegistry stores r under a new id. ErrRegistryExists: its project
	// and region have a registry of that name.
	CreateRegistry(ctx context.Context, r Registry) (Registry, error)
	// Registry returns the registry that at refers to. ErrRegistryNotFound.
	Registry(ctx context.Context, at RegistryRef) (Registry, error)
	// Registries returns all registries, by id.
	Registries(ctx context.Context) ([]Registry, error)
}

// UserStore keeps the users.
type UserStore interface {
	// CreateUser stores u under a new id, in the registry that at refers to. If
	// r is not nil, it stores r with it. ErrRegistryNotFound, ErrUserExists.
	// ErrExists: there is a record with the key of r that ends after u.CreatedAt.
	CreateUser(ctx context.Context, at RegistryRef, u User, r *IdempotencyRecord) (User, error)
	// User returns the registry's user of that name. ErrUserNotFound.
	User(ctx context.Context, registryID int64, name string) (User, error)
	// Users returns a registry's users, by id. ErrRegistryNotFound.
	Users(ctx context.Context, registryID int64) ([]User, error)
	// UpdateUser calls change with a user, and stores and returns the changed
	// user. No other update comes in between. If change returns an error,
	// UpdateUser returns it and stores nothing. Changes of ID, RegistryID, Name
	// and CreatedAt are ignored. change must not wait, and may be called more
	// than once. ErrUserNotFound.
	UpdateUser(ctx context.Context, userID int64, change func(*User) error) (User, error)
	// DeleteUser deletes a user. ErrUserNotFound.
	DeleteUser(ctx context.Context, userID int64) error
}

// IdempotencyStore keeps the idempotency records, which [UserStore].CreateUser
// stores with their users.
type IdempotencyStore interface {
	// IdempotencyRecord returns the record with that key, and its user, which
	// is nil if it was deleted. ErrNotFound.
	IdempotencyRecord(ctx context.Context, key []byte) (IdempotencyRecord, *User, error)
	// DeleteIdempotencyRecords deletes the records that have expired at now.
	DeleteIdempotencyRecords(ctx context.Context, now time.Time) error
}

// AccountStore finds the accounts of those who log in.
type AccountStore interface {
	// AccountBySecret returns the account of the user whose verifier has the
	// index. ErrUserNotFound.
	AccountBySecret(ctx context.Context, index []byte) (Account, error)
	// Account returns the account of the user with the id. ErrUserNotFound.
	Account(ctx context.Context, userID int64) (Account, error)
	// AccountByName returns the account of the user of that name in the registry
	// of that name. ErrUserNotFound.
	AccountByName(ctx context.Context, projectID, regionID int64, registry, name string) (Account, error)
	// SoleAccountByName returns the account of the only user of that name with a
	// custom secret, if all registries are in one project. ErrUserNotFound.
	SoleAccountByName(ctx context.Context, name string) (Account, error)
}

// KeyStore keeps the API keys.
type KeyStore interface {
	// CreateKey stores k under a new id.
	CreateKey(ctx context.Context, k Key) (Key, error)
	// Key returns an API key. ErrKeyNotFound.
	Key(ctx context.Context, id int64) (Key, error)
	// Keys returns all API keys, by id.
	Keys(ctx context.Context) ([]Key, error)
	// DeleteKey deletes an API key. ErrKeyNotFound.
	DeleteKey(ctx context.Context, id int64) error
}

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

// AllowBareNames lets a user with a custom secret log in with the bare name, if
// it is the only such user of that name and all registries are in one project.
// Call it before the first login. ErrInvalid: there are registries in several
// projects.
func (s *Service) AllowBareNames(ctx context.Context) error {
	registries, err := s.store.Registries(ctx)
	if err != nil {
		return err
	}
	for _, r := range registries {
		if r.ProjectID != registries[0].ProjectID {
			return fmt.Errorf("%w: all registries must be in one project, but there are registries in the projects %d and %d",
				registryusers.ErrInvalid, registries[0].ProjectID, r.ProjectID)
		}
	}
	s.bareNames = true
	return nil
}

// clock returns the time in the precision that the store keeps: UTC, whole
// microseconds.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// registryName is the pattern of registry names in the vendor's API.
var registryName = regexp.MustCompile(`^[a-z][-a-z0-9]{0,22}[a-z0-9]$`)

// CreateRegistry creates a registry. ErrInvalid, ErrRegistryExists.
func (s *Service) CreateRegistry(ctx context.Context, projectID, regionID int64, name string) (Registry, error) {
	if projectID < 1 || regionID < 1 {
		return Registry{}, fmt.Errorf("%w: project and region must be 1 or more", registryusers.ErrInvalid)
	}
	if !registryName.MatchString(name) {
		return Registry{}, fmt.Errorf("%w: a registry's name must match %s", registryusers.ErrInvalid, registryName)
	}
	return s.store.CreateRegistry(ctx, Registry{ProjectID: projectID, RegionID: regionID, Name: name, CreatedAt: s.clock()})
}

// Registries returns all registries, by id.
func (s *Service) Registries(ctx context.Context) ([]Registry, error) { return s.store.Registries(ctx) }

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

// CreateUser creates a user in the registry that at refers to, for the holder of
// the API key. If idempotencyKey is not "", repeating the call returns the same
// result for [RecordLifetime].
//
// ErrInvalid (for the secret, a [*registryusers.InvalidFieldsError]: see
// [CheckSecret]), ErrForbidden (decided from at alone), ErrRegistryNotFound,
// ErrUserExists (an expired user still exists), ErrIdempotencyKeyReused (the key
// was used for another request), ErrUserChanged (a repeat, after the user was
// deleted or got another secret).
func (s *Service) CreateUser(ctx context.Context, caller Key, at RegistryRef, idempotencyKey string, n NewUser) (CreatedUser, error) {
	u := User{Name: n.Name, ReadOnly: n.ReadOnly, Duration: n.Duration, CreatedAt: s.clock(), SecretVersion: 1, Incarnation: newIncarnation()}
	var err error
	if u.ExpiresAt, err = end(u.CreatedAt, n.Duration); err != nil {
		return CreatedUser{}, err
	}
	if !n.Secret.IsZero() {
		if err := CheckSecret(n.Secret.Reveal()); err != nil {
			return CreatedUser{}, err
		}
	}
	if !caller.May(at.ProjectID) {
		return CreatedUser{}, registryusers.ErrForbidden
	}
	if idempotencyKey == "" {
		return s.create(ctx, caller, at, u, n.Secret, generateSecret, nil)
	}
	c := s.newCreateRequest(caller, at, idempotencyKey, n)
	if created, err := s.replay(ctx, caller, c, n, u.CreatedAt); !isNotFound(err) {
		return created, err
	}
	r := c.record(u.CreatedAt)
	created, err := s.create(ctx, caller, at, u, n.Secret, func() string { return s.derive(c, r.Salt) }, &r)
	if errors.Is(err, registryusers.ErrExists) { // perhaps the same call, running at the same time
		if created, err := s.replay(ctx, caller, c, n, u.CreatedAt); !isNotFound(err) {
			return created, err
		}
		if !errors.Is(err, registryusers.ErrUserExists) { // a record conflicted, and has expired since
			err = fmt.Errorf("%w: the record of an earlier call with this idempotency key has just expired", registryusers.ErrUnavailable)
		}
	}
	return created, err
}

// create stores u with the custom secret, or, if that is empty, with the one that
// generated returns.
func (s *Service) create(ctx context.Context, caller Key, at RegistryRef, u User, custom registryusers.SecretText, generated func() string, r *IdempotencyRecord) (CreatedUser, error) {
	secret := custom
	if custom.IsZero() {
		secret = registryusers.NewSecretText(generated())
		u.Verifier.Index = s.index(secret.Reveal())
	} else {
		// A request for a registry that does not exist must not cost an argon2id.
		_, err := s.store.Registry(ctx, at)
		if err == nil {
			u.Verifier.Hash, err = s.hash(ctx, caller, custom.Reveal())
		}
		if err != nil {
			return CreatedUser{}, err
		}
	}
	u, err := s.store.CreateUser(ctx, at, u, r)
	if err != nil {
		return CreatedUser{}, err
	}
	return CreatedUser{User: u, Secret: secret}, nil
}

// end returns when a user expires that was created with a duration of that many
// days of 24 hours.
func end(created time.Time, days int64) (time.Time, error) {
	const century = 36525 // days; the document allows far fewer
	switch {
	case days == -1:
		return Never, nil
	case days < -1 || days > century:
		return time.Time{}, fmt.Errorf("%w: the duration must be from -1 to %d days", registryusers.ErrInvalid, century)
	}
	return created.Add(time.Duration(days) * 24 * time.Hour), nil
}

// Users returns a registry's users, by id. ErrRegistryNotFound.
func (s *Service) Users(ctx context.Context, registryID int64) ([]User, error) {
	return s.store.Users(ctx, registryID)
}

// User returns the registry's user of that name. ErrUserNotFound.
func (s *Service) User(ctx context.Context, registryID int64, name string) (User, error) {
	return s.store.User(ctx, registryID, name)
}

// UserUpdate holds the changes to a user.
type UserUpdate struct {
	Days      *int64 // duration from the creation, in days; -1 never expires; nil: no change
	ReadOnly  *bool  // nil: no change
	NewSecret bool   // generate a new secret; the old one stops working
}

// UpdateUser applies all changes to a user or none, and returns the user, and its
// new secret if one was generated. The secret is shown only once. ErrInvalid,
// ErrUserNotFound.
func (s *Service) UpdateUser(ctx context.Context, u User, update UserUpdate) (User, registryusers.SecretText, error) {
	var secret string
	var incarnation Incarnation
	if update.NewSecret {
		secret, incarnation = generateSecret(), newIncarnation()
	}
	updated, err := s.store.UpdateUser(ctx, u.ID, func(u *User) error {
		if update.Days != nil {
			expires, err := end(u.CreatedAt, *update.Days)
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
	})
	if err != nil {
		return User{}, registryusers.SecretText{}, err
	}
	return updated, registryusers.NewSecretText(secret), nil
}

// DeleteUser deletes a user; its name can be used again. ErrUserNotFound.
func (s *Service) DeleteUser(ctx context.Context, u User) error {
	return s.store.DeleteUser(ctx, u.ID)
}

// CreateKey creates an API key for one project, or for all (0), and returns it
// with its token, which is shown only once. ErrInvalid.
func (s *Service) CreateKey(ctx context.Context, projectID int64) (Key, registryusers.Secret, error) {
	if projectID < 0 {
		return Key{}, registryusers.Secret{}, fmt.Errorf("%w: the project must be 1 or more", registryusers.ErrInvalid)
	}
	secret := generateSecret()
	k, err := s.store.CreateKey(ctx, Key{ProjectID: projectID, Hash: sha256.Sum256([]byte(secret)), CreatedAt: s.clock()})
	if err != nil {
		return Key{}, registryusers.Secret{}, err
	}
	return k, registryusers.NewSecret(strconv.FormatInt(k.ID, 10) + "$" + secret), nil
}

// Keys returns all API keys, by id.
func (s *Service) Keys(ctx context.Context) ([]Key, error) { return s.store.Keys(ctx) }

// DeleteKey deletes an API key, which stops working at once. ErrKeyNotFound.
func (s *Service) DeleteKey(ctx context.Context, id int64) error { return s.store.DeleteKey(ctx, id) }

// Authenticate returns the API key of a token. ErrUnauthenticated: the token is
// malformed, its key was deleted, or its secret is wrong; the error does not say
// which.
func (s *Service) Authenticate(ctx context.Context, token registryusers.Secret) (Key, error) {
	id, secret, _ := strings.Cut(token.Reveal(), "$")
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id {
		return Key{}, registryusers.ErrUnauthenticated
	}
	hash := sha256.Sum256([]byte(secret)) // a secret of 190 bits needs no slow hash
	k, err := s.store.Key(ctx, n)
	if err != nil && !isNotFound(err) {
		return Key{}, err
	}
	if subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1 || err != nil {
		return Key{}, registryusers.ErrUnauthenticated
	}
	return k, nil
}

// Ready returns an error if the store cannot be read.
func (s *Service) Ready(ctx context.Context) error {
	if _, err := s.store.Key(ctx, 0); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}
