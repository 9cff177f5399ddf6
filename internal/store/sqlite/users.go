package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// CreateUser implements [accounts.Store]. The database decides races: one
// statement finds the registry and inserts the user, and another inserts the record.
func (s *Store) CreateUser(ctx context.Context, ref accounts.RegistryRef, u accounts.User, r *accounts.IdempotencyRecord) (accounts.User, error) {
	u.RegistryID = ref.RegistryID
	err := s.writer.add(ctx, func(ctx context.Context, tx *transaction) error {
		var err error
		u.ID, err = s.exec(ctx, tx, registryusers.ErrRegistryNotFound, registryusers.ErrUserExists, insertUser,
			u.Name, u.ReadOnly, u.Duration, u.CreatedAt.UnixMicro(), u.ExpiresAt.UnixMicro(),
			u.Verifier.Index, hashOrNull(u.Verifier), u.SecretVersion, u.Incarnation[:],
			ref.RegistryID, ref.ProjectID, ref.RegionID)
		if err != nil || r == nil {
			return err
		}
		s.walDirty.Store(true) // the record may replace one that has expired
		_, err = s.exec(ctx, tx, registryusers.ErrExists, nil, insertRecord,
			r.Key, r.Request, r.Salt, u.ID, r.ExpiresAt.UnixMicro(), u.CreatedAt.UnixMicro())
		return err
	})
	return u, err
}

const selectUser = "SELECT id, registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_hash, secret_version, incarnation FROM users "

// User implements [accounts.Store].
func (s *Store) User(ctx context.Context, registryID int64, name string) (accounts.User, error) {
	return queryOne(ctx, s, scanUser, registryusers.ErrUserNotFound, userByName, registryID, name)
}

// Users implements [accounts.Store].
func (s *Store) Users(ctx context.Context, registryID int64) ([]accounts.User, error) {
	users, err := queryAll(ctx, s, scanUser, selectUser+"WHERE registry_id = ? ORDER BY id", registryID)
	if err == nil && len(users) == 0 {
		_, err = queryOne(ctx, s, scanRegistry, registryusers.ErrRegistryNotFound, selectRegistry+"WHERE id = ?", registryID)
	}
	return users, err
}

func scanUser(row scanner) (accounts.User, error) {
	var u accounts.User
	var created, expires int64
	var hash sql.NullString
	var incarnation []byte
	err := row.Scan(&u.ID, &u.RegistryID, &u.Name, &u.ReadOnly, &u.Duration, &created, &expires, &u.Verifier.Index, &hash, &u.SecretVersion, &incarnation)
	copy(u.Incarnation[:], incarnation)
	u.CreatedAt, u.ExpiresAt, u.Verifier.Hash = fromMicros(created), fromMicros(expires), hash.String
	return u, err
}

// AccountBySecret implements [accounts.Store].
func (s *Store) AccountBySecret(ctx context.Context, index []byte) (accounts.Account, error) {
	return queryOne(ctx, s, scanAccount, registryusers.ErrUserNotFound, accountBySecret, index)
}

// Account implements [accounts.Store].
func (s *Store) Account(ctx context.Context, userID int64) (accounts.Account, error) {
	return queryOne(ctx, s, scanAccount, registryusers.ErrUserNotFound, accountByID, userID)
}

// AccountByName implements [accounts.Store].
func (s *Store) AccountByName(ctx context.Context, projectID, regionID int64, registry, name string) (accounts.Account, error) {
	return queryOne(ctx, s, scanAccount, registryusers.ErrUserNotFound,
		accountByName, projectID, regionID, registry, name)
}

// SoleAccountByName implements [accounts.Store].
func (s *Store) SoleAccountByName(ctx context.Context, name string) (accounts.Account, error) {
	return queryOne(ctx, s, scanAccount, registryusers.ErrUserNotFound, soleAccountByName, name, name)
}

const selectAccount = `SELECT u.id, u.registry_id, u.name, u.read_only, u.duration, u.created_at, u.expires_at, u.secret_index, u.secret_hash, u.secret_version, u.incarnation,
	r.project_id, r.region_id, r.name FROM users u JOIN registries r ON r.id = u.registry_id `

func scanAccount(row scanner) (accounts.Account, error) {
	var projectID, regionID int64
	var registry string
	u, err := scanUser(extended{row, []any{&projectID, &regionID, &registry}})
	return accounts.Account{User: u, Namespace: accounts.Namespace(projectID, regionID, registry)}, err
}

// extended is a row with more columns after those that Scan is called with.
type extended struct {
	scanner
	more []any
}

func (e extended) Scan(columns ...any) error { return e.scanner.Scan(append(columns, e.more...)...) }

// UpdateUser implements [accounts.Store].
func (s *Store) UpdateUser(ctx context.Context, userID int64, change func(*accounts.User) error) (accounts.User, error) {
	var u accounts.User
	err := s.writer.do(ctx, func(ctx context.Context, tx *transaction) error {
		before, err := scanUser(tx.tx.QueryRowContext(ctx, userByID, userID))
		if errors.Is(err, sql.ErrNoRows) {
			return registryusers.ErrUserNotFound
		}
		if err != nil {
			return s.translateError(err)
		}
		u = before
		if err := change(&u); err != nil {
			return err
		}
		u.ID, u.RegistryID, u.Name, u.CreatedAt = before.ID, before.RegistryID, before.Name, before.CreatedAt
		_, err = s.exec(ctx, tx, registryusers.ErrUserNotFound, nil, updateUser,
			u.ReadOnly, u.Duration, u.ExpiresAt.UnixMicro(), u.Verifier.Index, hashOrNull(u.Verifier), u.SecretVersion, u.Incarnation[:], u.ID)
		return err
	})
	if err != nil {
		return accounts.User{}, err
	}
	return u, nil
}

// DeleteUser implements [accounts.Store].
func (s *Store) DeleteUser(ctx context.Context, userID int64) error {
	return s.change(ctx, registryusers.ErrUserNotFound, "DELETE FROM users WHERE id = ?", userID)
}

func hashOrNull(v accounts.Verifier) sql.NullString {
	return sql.NullString{String: v.Hash, Valid: v.Hash != ""}
}
