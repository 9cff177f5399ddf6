package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

var _ accounts.Store = (*Store)(nil)

// CreateRegistry implements [accounts.Store].
func (s *Store) CreateRegistry(ctx context.Context, r accounts.Registry) (accounts.Registry, error) {
	var err error
	r.ID, err = s.insert(ctx, nil, registryusers.ErrRegistryExists,
		"INSERT INTO registries (project_id, region_id, name, created_at) VALUES (?, ?, ?, ?)",
		r.ProjectID, r.RegionID, r.Name, r.CreatedAt.UnixMicro())
	return r, err
}

const selectRegistry = "SELECT id, project_id, region_id, name, created_at FROM registries "

// Registry implements [accounts.Store].
func (s *Store) Registry(ctx context.Context, at accounts.RegistryRef) (accounts.Registry, error) {
	return one(ctx, s, scanRegistry, registryusers.ErrRegistryNotFound,
		registryByPlace, at.RegistryID, at.ProjectID, at.RegionID)
}

// Registries implements [accounts.Store].
func (s *Store) Registries(ctx context.Context) ([]accounts.Registry, error) {
	return all(ctx, s, scanRegistry, selectRegistry+"ORDER BY id")
}

func scanRegistry(row scanner) (accounts.Registry, error) {
	var r accounts.Registry
	var created int64
	err := row.Scan(&r.ID, &r.ProjectID, &r.RegionID, &r.Name, &created)
	r.CreatedAt = instant(created)
	return r, err
}

// CreateUser implements [accounts.Store]. The database decides races: one
// statement finds the registry and inserts the user, and another inserts the record.
func (s *Store) CreateUser(ctx context.Context, at accounts.RegistryRef, u accounts.User, r *accounts.IdempotencyRecord) (accounts.User, error) {
	u.RegistryID = at.RegistryID
	err := s.writer.add(ctx, func(ctx context.Context, tx *transaction) error {
		var err error
		u.ID, err = s.exec(ctx, tx, registryusers.ErrRegistryNotFound, registryusers.ErrUserExists, insertUser,
			u.Name, u.ReadOnly, u.Duration, u.CreatedAt.UnixMicro(), u.ExpiresAt.UnixMicro(),
			u.Verifier.Index, hashOrNull(u.Verifier), u.SecretVersion, u.Incarnation[:],
			at.RegistryID, at.ProjectID, at.RegionID)
		if err != nil || r == nil {
			return err
		}
		s.walDirty.Store(true) // the record may replace one that has expired
		_, err = s.exec(ctx, tx, registryusers.ErrExists, nil, insertRecord,
			r.Key, r.Request, r.Salt, u.ID, r.End.UnixMicro(), u.CreatedAt.UnixMicro())
		return err
	})
	return u, err
}

// IdempotencyRecord implements [accounts.Store].
func (s *Store) IdempotencyRecord(ctx context.Context, key []byte) (accounts.IdempotencyRecord, *accounts.User, error) {
	r, err := one(ctx, s, scanRecord, registryusers.ErrNotFound, recordByKey, key)
	if err != nil {
		return r, nil, err
	}
	u, err := one(ctx, s, scanUser, registryusers.ErrUserNotFound, userByID, r.UserID)
	if errors.Is(err, registryusers.ErrUserNotFound) {
		return r, nil, nil
	}
	return r, &u, err
}

func scanRecord(row scanner) (accounts.IdempotencyRecord, error) {
	var r accounts.IdempotencyRecord
	var end int64
	err := row.Scan(&r.Key, &r.Request, &r.Salt, &r.UserID, &end)
	r.End = instant(end)
	return r, err
}

// DeleteIdempotencyRecords implements [accounts.Store]. Afterwards no file contains
// the deleted records, unless a long read prevents that: then the next call removes
// them.
func (s *Store) DeleteIdempotencyRecords(ctx context.Context, now time.Time) error {
	for { // in steps, so that other writes run in between
		err := s.change(ctx, registryusers.ErrNotFound, deleteRecords, now.UnixMicro())
		if errors.Is(err, registryusers.ErrNotFound) {
			return s.emptyLog(ctx)
		}
		if err != nil {
			return err
		}
		s.walDirty.Store(true)
	}
}

// emptyLog moves the pages of the write-ahead log into the database and empties the
// log, if something was deleted or replaced since the last time. It does not wait
// for readers: writes would have to wait, too.
func (s *Store) emptyLog(ctx context.Context) error {
	if !s.walDirty.Load() {
		return nil
	}
	conn, err := s.write.Conn(ctx) // no write may come in between
	if err != nil {
		return s.translateError(err)
	}
	defer func() { _ = conn.Close() }() // back to the pool
	ctx = context.WithoutCancel(ctx)
	var busy, pages, moved int
	if _, err = conn.ExecContext(ctx, "PRAGMA busy_timeout(100)"); err == nil {
		err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	}
	_, undone := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout(%d)", busyTimeout.Milliseconds()))
	if err = errors.Join(err, undone); err == nil && busy == 0 {
		s.walDirty.Store(false)
	}
	return s.translateError(err)
}

const selectUser = "SELECT id, registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_hash, secret_version, incarnation FROM users "

// User implements [accounts.Store].
func (s *Store) User(ctx context.Context, registryID int64, name string) (accounts.User, error) {
	return one(ctx, s, scanUser, registryusers.ErrUserNotFound, userByName, registryID, name)
}

// Users implements [accounts.Store].
func (s *Store) Users(ctx context.Context, registryID int64) ([]accounts.User, error) {
	users, err := all(ctx, s, scanUser, selectUser+"WHERE registry_id = ? ORDER BY id", registryID)
	if err == nil && len(users) == 0 {
		_, err = one(ctx, s, scanRegistry, registryusers.ErrRegistryNotFound, selectRegistry+"WHERE id = ?", registryID)
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
	u.CreatedAt, u.ExpiresAt, u.Verifier.Hash = instant(created), instant(expires), hash.String
	return u, err
}

// AccountBySecret implements [accounts.Store].
func (s *Store) AccountBySecret(ctx context.Context, index []byte) (accounts.Account, error) {
	return one(ctx, s, scanAccount, registryusers.ErrUserNotFound, accountBySecret, index)
}

// Account implements [accounts.Store].
func (s *Store) Account(ctx context.Context, userID int64) (accounts.Account, error) {
	return one(ctx, s, scanAccount, registryusers.ErrUserNotFound, accountByID, userID)
}

// AccountByName implements [accounts.Store].
func (s *Store) AccountByName(ctx context.Context, projectID, regionID int64, registry, name string) (accounts.Account, error) {
	return one(ctx, s, scanAccount, registryusers.ErrUserNotFound,
		accountByName, projectID, regionID, registry, name)
}

// SoleAccountByName implements [accounts.Store].
func (s *Store) SoleAccountByName(ctx context.Context, name string) (accounts.Account, error) {
	return one(ctx, s, scanAccount, registryusers.ErrUserNotFound, soleAccountByName, name, name)
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

// CreateKey implements [accounts.Store].
func (s *Store) CreateKey(ctx context.Context, k accounts.Key) (accounts.Key, error) {
	var err error
	k.ID, err = s.insert(ctx, nil, nil, "INSERT INTO api_keys (project_id, hash, created_at) VALUES (?, ?, ?)",
		k.ProjectID, k.Hash[:], k.CreatedAt.UnixMicro())
	return k, err
}

const selectKey = "SELECT id, project_id, hash, created_at FROM api_keys "

// Key implements [accounts.Store].
func (s *Store) Key(ctx context.Context, id int64) (accounts.Key, error) {
	return one(ctx, s, scanKey, registryusers.ErrKeyNotFound, keyByID, id)
}

// Keys implements [accounts.Store].
func (s *Store) Keys(ctx context.Context) ([]accounts.Key, error) {
	return all(ctx, s, scanKey, selectKey+"ORDER BY id")
}

func scanKey(row scanner) (accounts.Key, error) {
	var k accounts.Key
	var hash []byte
	var created int64
	err := row.Scan(&k.ID, &k.ProjectID, &hash, &created)
	copy(k.Hash[:], hash)
	k.CreatedAt = instant(created)
	return k, err
}

// DeleteKey implements [accounts.Store].
func (s *Store) DeleteKey(ctx context.Context, id int64) error {
	return s.change(ctx, registryusers.ErrKeyNotFound, "DELETE FROM api_keys WHERE id = ?", id)
}

// insert runs a write of one statement that adds rows, as [Store.exec] does.
func (s *Store) insert(ctx context.Context, none, exists error, query string, args ...any) (id int64, err error) {
	err = s.writer.add(ctx, func(ctx context.Context, tx *transaction) error {
		var err error
		id, err = s.exec(ctx, tx, none, exists, query, args...)
		return err
	})
	return id, err
}

// change runs a write of one statement that adds no rows, as [Store.exec] does.
func (s *Store) change(ctx context.Context, none error, query string, args ...any) error {
	return s.writer.do(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := s.exec(ctx, tx, none, nil, query, args...)
		return err
	})
}

// exec runs a statement and returns the id of the row that it inserted. It returns
// the error none if no row was changed, and exists, unless that is nil, if the row
// violates a unique index.
func (s *Store) exec(ctx context.Context, tx *transaction, none, exists error, query string, args ...any) (id int64, err error) {
	result, err := tx.ExecContext(ctx, query, args...)
	if exists != nil && isUnique(err) {
		return 0, exists
	}
	if err != nil {
		return 0, s.translateError(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return 0, errors.Join(none, err)
	}
	return result.LastInsertId()
}

// The statements of create requests, which are prepared.
const (
	insertUser = `INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_hash, secret_version, incarnation)
		SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM registries WHERE id = ? AND project_id = ? AND region_id = ?`
	insertRecord = `INSERT INTO create_records (key, request, salt, user_id, ends_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET request = excluded.request, salt = excluded.salt, user_id = excluded.user_id, ends_at = excluded.ends_at
		WHERE ends_at <= ?`
)

var written = []string{insertUser, insertRecord, savepoint, undo, release}

type scanner interface{ Scan(...any) error }

// Statements that are used less often.
const (
	registryByPlace = selectRegistry + "WHERE id = ? AND project_id = ? AND region_id = ?"
	userByID        = selectUser + "WHERE id = ?"
	userByName      = selectUser + "WHERE registry_id = ? AND name = ?"
	accountByName   = selectAccount + "WHERE r.project_id = ? AND r.region_id = ? AND r.name = ? AND u.name = ?"
	updateUser      = "UPDATE users SET read_only = ?, duration = ?, expires_at = ?, secret_index = ?, secret_hash = ?, secret_version = ?, incarnation = ? WHERE id = ?"
	deleteRecords   = "DELETE FROM create_records WHERE key IN (SELECT key FROM create_records WHERE ends_at <= ? LIMIT 1000)"
)

// soleAccountByName reads at most two users of a name, however many there are.
const soleAccountByName = selectAccount + `WHERE u.id = (SELECT id FROM users WHERE name = ? AND secret_hash IS NOT NULL ORDER BY id LIMIT 1)
	AND NOT EXISTS (SELECT 1 FROM users WHERE name = ? AND secret_hash IS NOT NULL AND id > u.id)
	AND (SELECT min(project_id) FROM registries) = (SELECT max(project_id) FROM registries)`

// The queries of every request, which use one index each and are prepared.
const (
	accountBySecret = selectAccount + "WHERE u.secret_index = ?"
	accountByID     = selectAccount + "WHERE u.id = ?"
	keyByID         = selectKey + "WHERE id = ?"
	recordByKey     = "SELECT key, request, salt, user_id, ends_at FROM create_records WHERE key = ?"
)

// prepare prepares the queries of every request and the statements of create
// requests.
func (s *Store) prepare(ctx context.Context) error {
	var err error
	if s.writer, err = newWriter(ctx, s.write, s.file, s.translateError); err != nil {
		return err
	}
	s.prepared = make(map[string]*sql.Stmt)
	for _, query := range []string{accountBySecret, accountByID, keyByID, recordByKey} {
		statement, err := s.read.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		s.prepared[query] = statement // closed with s.read
	}
	return nil
}

// one returns the row that a query finds, or the error none. Such a query takes
// microseconds: it does not start if ctx has ended, and is not interrupted later,
// which would cost a goroutine each time.
func one[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), none error, query string, args ...any) (T, error) {
	var v T
	err := ctx.Err()
	if err == nil {
		err = s.file.checkPlaceForReads()
	}
	if err != nil {
		return v, givenUp(err)
	}
	ctx = context.WithoutCancel(ctx)
	if statement := s.prepared[query]; statement != nil {
		v, err = scan(statement.QueryRowContext(ctx, args...))
	} else {
		v, err = scan(s.read.QueryRowContext(ctx, query, args...))
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = none
	}
	return v, s.translateError(err)
}

// all returns the rows that a query finds.
func all[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) (values []T, err error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.translateError(err)
	}
	defer func() { err = errors.Join(err, s.translateError(rows.Close())) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, s.translateError(err)
		}
		values = append(values, v)
	}
	return values, s.translateError(rows.Err())
}

func hashOrNull(v accounts.Verifier) sql.NullString {
	return sql.NullString{String: v.Hash, Valid: v.Hash != ""}
}

func instant(microseconds int64) time.Time { return time.UnixMicro(microseconds).UTC() }
