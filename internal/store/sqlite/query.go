package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

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

var preparedWrites = []string{insertUser, insertRecord, savepoint, rollbackTo, release}

type scanner interface{ Scan(...any) error }

// Statements that are used less often.
const (
	registryByRef = selectRegistry + "WHERE id = ? AND project_id = ? AND region_id = ?"
	userByID      = selectUser + "WHERE id = ?"
	userByName    = selectUser + "WHERE registry_id = ? AND name = ?"
	accountByName = selectAccount + "WHERE r.project_id = ? AND r.region_id = ? AND r.name = ? AND u.name = ?"
	updateUser    = "UPDATE users SET read_only = ?, duration = ?, expires_at = ?, secret_index = ?, secret_hash = ?, secret_version = ?, incarnation = ? WHERE id = ?"
	deleteRecords = "DELETE FROM create_records WHERE key IN (SELECT key FROM create_records WHERE ends_at <= ? LIMIT 1000)"
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

// queryOne returns the row that a query finds, or the error none. Such a query takes
// microseconds: it does not start if ctx has ended, and is not interrupted later,
// which would cost a goroutine each time.
func queryOne[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), none error, query string, args ...any) (T, error) {
	var v T
	err := ctx.Err()
	if err == nil {
		err = s.file.checkPathForReads()
	}
	if err != nil {
		return v, cancelledError(err)
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

// queryAll returns the rows that a query finds.
func queryAll[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) (values []T, err error) {
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

func fromMicros(microseconds int64) time.Time { return time.UnixMicro(microseconds).UTC() }
