package sqlite

import (
	"context"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// CreateUser implements [accounts.Store]. The database decides races: one
// statement finds the registry and inserts the user, and another inserts the record.
func (s *Store) CreateUser(ctx context.Context, ref accounts.RegistryRef, u accounts.User, r *accounts.IdempotencyRecord) (accounts.User, error) {
	u.RegistryID = ref.RegistryID
	create := &write{adds: true, isStatement: r == nil}
	create.run = func(c *conn) error {
		var err error
		u.ID, err = c.change(nil, registryusers.ErrUserExists, insertUser,
			ref.RegistryID, ref.ProjectID, ref.RegionID,
			u.Name, u.ReadOnly, u.Duration, u.CreatedAt.UnixMicro(), u.ExpiresAt.UnixMicro(),
			u.Verifier.Index, hashOrNull(u.Verifier), u.SecretVersion, u.Incarnation[:])
		if violates(err, sqlite3.SQLITE_CONSTRAINT_NOTNULL) {
			return registryusers.ErrRegistryNotFound
		}
		if err != nil {
			return err
		}
		create.created = idBlock{ref.RegistryID, u.ID / blockSize}
		return s.putRecord(c, r, u.ID)
	}
	return u, s.writer.do(ctx, create)
}

// idBlock is a block of the ids of a registry's users, a row of user_counts.
type idBlock struct{ registryID, block int64 }

const blockSize = 4096 // ids, as in the migrations

// countUsers counts the users that the transaction has created.
func (c *conn) countUsers(created map[idBlock]int64) error {
	for b, n := range created {
		if _, err := c.change(nil, nil, countUsers, b.registryID, b.block, n); err != nil {
			return err
		}
	}
	return nil
}

const (
	// Without a registry it violates NOT NULL. An INSERT with a SELECT in place of the
	// VALUES would cost more: SQLite prepares to undo several rows.
	insertUser = `INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_hash, secret_version, incarnation)
		VALUES ((SELECT id FROM registries WHERE id = ? AND project_id = ? AND region_id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	countUsers = "INSERT INTO user_counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET users = users + excluded.users"
	updateUser = "UPDATE users SET read_only = ?, duration = ?, expires_at = ?, secret_index = ?, secret_hash = ?, secret_version = ?, incarnation = ? WHERE id = ?"
	userByName = selectUser + "WHERE registry_id = ? AND name = ?"
	userByID   = selectUser + "WHERE id = ? AND registry_id = ?"
	userPage   = selectUser + "WHERE registry_id = ? AND id > ? ORDER BY id LIMIT ? OFFSET ?"
	userTotal  = "SELECT (SELECT coalesce(sum(users), 0) FROM user_counts WHERE registry_id = registries.id) FROM registries WHERE id = ? AND project_id = ? AND region_id = ?"
	userBlock  = `SELECT block * 4096 - 1, before FROM
		(SELECT block, users, sum(users) OVER (ORDER BY block) - users AS before FROM user_counts WHERE registry_id = ?)
		WHERE before + users > ? LIMIT 1`

	accountBySecret = selectAccount + "WHERE u.secret_index = ?"
	accountByID     = selectAccount + "WHERE u.id = ?"
	accountByName   = selectAccount + "WHERE r.project_id = ? AND r.region_id = ? AND r.name = ? AND u.name = ?"

	// It reads at most two users of a name, however many there are.
	soleAccountByName = selectAccount + `WHERE u.id = (SELECT id FROM users WHERE name = ? AND secret_hash IS NOT NULL ORDER BY id LIMIT 1)
	AND NOT EXISTS (SELECT 1 FROM users WHERE name = ? AND secret_hash IS NOT NULL AND id > u.id)
	AND (SELECT min(project_id) FROM registries) = (SELECT max(project_id) FROM registries)`
)

const selectUser = "SELECT id, registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_hash, secret_version, incarnation FROM users "

// User implements [accounts.Store].
func (s *Store) User(ctx context.Context, ref accounts.RegistryRef, name string) (u accounts.User, err error) {
	err = s.snapshot(ctx, func(c *conn) (err error) {
		if err = findRegistry(c, ref); err == nil {
			u, err = queryOne(c, scanUser, registryusers.ErrUserNotFound, userByName, ref.RegistryID, name)
		}
		return err
	})
	return u, err
}

// Users implements [accounts.Store].
func (s *Store) Users(ctx context.Context, ref accounts.RegistryRef, page accounts.Page) (users []accounts.User, total int64, err error) {
	err = s.snapshot(ctx, func(c *conn) (err error) {
		if total, err = queryOne(c, scanInt, registryusers.ErrRegistryNotFound, userTotal, ref.RegistryID, ref.ProjectID, ref.RegionID); err != nil {
			return err
		}
		if page.After > 0 {
			users, err = queryAll(c, scanUser, userPage, ref.RegistryID, page.After, page.Limit, int64(0))
			return err
		}
		var last, before int64 // the last id before the block with the user at the offset, and how many users are before it
		err = c.query(context.Background(), func(r row) error { return r.scan(&last, &before) }, userBlock, ref.RegistryID, page.Offset)
		if err == nil && page.Offset < total {
			users, err = queryAll(c, scanUser, userPage, ref.RegistryID, last, page.Limit, page.Offset-before)
		}
		return err
	})
	return users, total, err
}

func scanUser(r row) (accounts.User, error) {
	var u accounts.User
	var created, expires int64
	var incarnation []byte
	err := r.scan(&u.ID, &u.RegistryID, &u.Name, &u.ReadOnly, &u.Duration, &created, &expires, &u.Verifier.Index, &u.Verifier.Hash, &u.SecretVersion, &incarnation)
	copy(u.Incarnation[:], incarnation)
	u.CreatedAt, u.ExpiresAt = fromMicros(created), fromMicros(expires)
	return u, err
}

// AccountBySecret implements [accounts.Store].
func (s *Store) AccountBySecret(ctx context.Context, index []byte) (accounts.Account, error) {
	return readOne(ctx, s, scanAccount, registryusers.ErrUserNotFound, accountBySecret, index)
}

// Account implements [accounts.Store].
func (s *Store) Account(ctx context.Context, userID int64) (accounts.Account, error) {
	return readOne(ctx, s, scanAccount, registryusers.ErrUserNotFound, accountByID, userID)
}

// AccountByName implements [accounts.Store].
func (s *Store) AccountByName(ctx context.Context, projectID, regionID int64, registry, name string) (accounts.Account, error) {
	return readOne(ctx, s, scanAccount, registryusers.ErrUserNotFound,
		accountByName, projectID, regionID, registry, name)
}

// SoleAccountByName implements [accounts.Store].
func (s *Store) SoleAccountByName(ctx context.Context, name string) (accounts.Account, error) {
	return readOne(ctx, s, scanAccount, registryusers.ErrUserNotFound, soleAccountByName, name, name)
}

const selectAccount = `SELECT r.project_id, r.region_id, r.name,
	u.id, u.registry_id, u.name, u.read_only, u.duration, u.created_at, u.expires_at, u.secret_index, u.secret_hash, u.secret_version, u.incarnation
	FROM users u JOIN registries r ON r.id = u.registry_id `

func scanAccount(r row) (accounts.Account, error) {
	var projectID, regionID int64
	var registry string
	if err := r.scan(&projectID, &regionID, &registry); err != nil {
		return accounts.Account{}, err
	}
	u, err := scanUser(r[3:])
	return accounts.Account{User: u, Namespace: accounts.Namespace(projectID, regionID, registry)}, err
}

// UpdateUser implements [accounts.Store].
func (s *Store) UpdateUser(ctx context.Context, ref accounts.RegistryRef, userID int64, change func(*accounts.User) error, r *accounts.IdempotencyRecord) (accounts.User, error) {
	var u accounts.User
	err := s.writer.do(ctx, &write{adds: r != nil, isStatement: r == nil, run: func(c *conn) error {
		if err := findRegistry(c, ref); err != nil {
			return err
		}
		before, err := queryOne(c, scanUser, registryusers.ErrUserNotFound, userByID, userID, ref.RegistryID)
		if err != nil {
			return err
		}
		u = before
		if err := change(&u); err != nil {
			return err
		}
		u.ID, u.RegistryID, u.Name, u.CreatedAt = before.ID, before.RegistryID, before.Name, before.CreatedAt
		_, err = c.change(nil, nil, updateUser,
			u.ReadOnly, u.Duration, u.ExpiresAt.UnixMicro(), u.Verifier.Index, hashOrNull(u.Verifier), u.SecretVersion, u.Incarnation[:], u.ID)
		if err != nil {
			return err
		}
		return s.putRecord(c, r, u.ID)
	}})
	if err != nil {
		return accounts.User{}, err
	}
	return u, nil
}

// DeleteUser implements [accounts.Store].
func (s *Store) DeleteUser(ctx context.Context, ref accounts.RegistryRef, userID int64) error {
	return s.writer.do(ctx, &write{isStatement: true, run: func(c *conn) error {
		if err := findRegistry(c, ref); err != nil {
			return err
		}
		_, err := c.change(registryusers.ErrUserNotFound, nil, "DELETE FROM users WHERE id = ? AND registry_id = ?", userID, ref.RegistryID)
		return err
	}})
}

func hashOrNull(v accounts.Verifier) any {
	if v.Hash == "" {
		return nil
	}
	return v.Hash
}
