package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// IdempotencyRecord implements [accounts.Store].
func (s *Store) IdempotencyRecord(ctx context.Context, key []byte) (accounts.IdempotencyRecord, *accounts.User, error) {
	r, err := queryOne(ctx, s, scanRecord, registryusers.ErrNotFound, recordByKey, key)
	if err != nil {
		return r, nil, err
	}
	u, err := queryOne(ctx, s, scanUser, registryusers.ErrUserNotFound, userByID, r.UserID)
	if errors.Is(err, registryusers.ErrUserNotFound) {
		return r, nil, nil
	}
	return r, &u, err
}

func scanRecord(row scanner) (accounts.IdempotencyRecord, error) {
	var r accounts.IdempotencyRecord
	var end int64
	err := row.Scan(&r.Key, &r.Request, &r.Salt, &r.UserID, &end)
	r.ExpiresAt = fromMicros(end)
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
