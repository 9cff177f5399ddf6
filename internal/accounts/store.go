package accounts

import (
	"context"
	"errors"
	"time"

	"github.com/registryusers/registryusers"
)

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
	APIKeyStore
}

// RegistryStore keeps the registries.
type RegistryStore interface {
	// CreateRegistry stores r under a new id, and the record, as all methods of a
	// store do that take one: see [IdempotencyStore]. ErrRegistryExists: its project
	// and region have a registry of that name.
	CreateRegistry(ctx context.Context, r Registry, record *IdempotencyRecord) (Registry, error)
	// Registry returns the registry that ref refers to. ErrRegistryNotFound.
	Registry(ctx context.Context, ref RegistryRef) (Registry, error)
	// Registries returns a page of all registries, by id, and how many there are.
	Registries(ctx context.Context, page Page) (registries []Registry, total int64, err error)
}

// UserStore keeps the users. Each method that takes a RegistryRef returns
// ErrRegistryNotFound if it refers to no registry, also if the id is that of a
// registry of another project or region.
type UserStore interface {
	// CreateUser stores u under a new id, and the record. ErrUserExists.
	CreateUser(ctx context.Context, ref RegistryRef, u User, record *IdempotencyRecord) (User, error)
	// User returns the registry's user of that name. ErrUserNotFound.
	User(ctx context.Context, ref RegistryRef, name string) (User, error)
	// Users returns a page of a registry's users, by id, and how many users the
	// registry has, both of one moment. Its time depends on the page's limit, and
	// hardly on its place or the number of users.
	Users(ctx context.Context, ref RegistryRef, page Page) (users []User, total int64, err error)
	// UpdateUser calls change with a registry's user, stores the changed user and
	// the record, and returns the user. No other update comes in between. If change returns an error,
	// UpdateUser returns it and stores nothing. Changes of ID, RegistryID, Name
	// and CreatedAt are ignored. change must not wait, and may be called more
	// than once. ErrUserNotFound.
	UpdateUser(ctx context.Context, ref RegistryRef, userID int64, change func(*User) error, record *IdempotencyRecord) (User, error)
	// DeleteUser deletes a registry's user. ErrUserNotFound.
	DeleteUser(ctx context.Context, ref RegistryRef, userID int64) error
}

// IdempotencyStore keeps the idempotency records. The method that creates or
// changes an object, such as [UserStore].CreateUser, stores the record with it, in
// one step, unless the record is nil. ErrExists: there is already a record with its
// key, which expires after the new one's MadeAt; then nothing is stored.
type IdempotencyStore interface {
	// IdempotencyRecord returns the record with that key. ErrNotFound.
	IdempotencyRecord(ctx context.Context, key []byte) (IdempotencyRecord, error)
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

// APIKeyStore keeps the API keys.
type APIKeyStore interface {
	// CreateKey stores k under a new id.
	CreateAPIKey(ctx context.Context, k APIKey) (APIKey, error)
	// APIKey returns an API key. ErrAPIKeyNotFound.
	APIKey(ctx context.Context, id int64) (APIKey, error)
	// APIKeys returns a page of all API keys, by id, and how many there are.
	APIKeys(ctx context.Context, page Page) (keys []APIKey, total int64, err error)
	// DeleteAPIKey deletes an API key. ErrAPIKeyNotFound.
	DeleteAPIKey(ctx context.Context, id int64) error
}

func isNotFound(err error) bool { return errors.Is(err, registryusers.ErrNotFound) }
