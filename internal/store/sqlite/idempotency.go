package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

const (
	insertRecord = `INSERT INTO idempotency_records (key, request, salt, object_id, expires_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET request = excluded.request, salt = excluded.salt, object_id = excluded.object_id, expires_at = excluded.expires_at
		WHERE expires_at <= ?`
	deleteRecords = "DELETE FROM idempotency_records WHERE key IN (SELECT key FROM idempotency_records WHERE expires_at <= ? LIMIT 1000)"
	recordByKey   = "SELECT key, request, salt, object_id, expires_at FROM idempotency_records WHERE key = ?"
)

// IdempotencyRecord implements [accounts.Store].
func (s *Store) IdempotencyRecord(ctx context.Context, key []byte) (accounts.IdempotencyRecord, error) {
	return readOne(ctx, s, scanRecord, registryusers.ErrNotFound, recordByKey, key)
}

func scanRecord(r row) (accounts.IdempotencyRecord, error) {
	var record accounts.IdempotencyRecord
	var expires int64
	err := r.scan(&record.Key, &record.Request, &record.Salt, &record.ObjectID, &expires)
	record.ExpiresAt = fromMicros(expires)
	return record, err
}

// putRecord stores the record of a write, unless r is nil, in the write's own
// transaction. ErrExists: there is a record with its key that has not expired.
func (s *Store) putRecord(c *conn, r *accounts.IdempotencyRecord, objectID int64) error {
	if r == nil {
		return nil
	}
	s.walDirty.Store(true) // it may replace a record that has expired
	_, err := c.change(registryusers.ErrExists, nil, insertRecord,
		r.Key, r.Request, r.Salt, objectID, r.ExpiresAt.UnixMicro(), r.MadeAt().UnixMicro())
	return err
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
	err := s.write.use(ctx, func(c *conn) error { // no write may come in between
		var busy int64
		err := c.script(context.Background(), "PRAGMA busy_timeout(100)")
		if err == nil {
			busy, err = queryOne(c, scanInt, nil, "PRAGMA wal_checkpoint(TRUNCATE)")
		}
		undone := c.script(context.Background(), fmt.Sprintf("PRAGMA busy_timeout(%d)", busyTimeout.Milliseconds()))
		if err = errors.Join(err, undone); err == nil && busy == 0 {
			s.walDirty.Store(false)
		}
		return err
	})
	return s.translateError(err)
}
