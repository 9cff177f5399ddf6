package sqlite

import (
	"context"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/registryusers/registryusers/internal/accounts"
)

// view runs a read on a connection that only reads. Such a read takes microseconds:
// it does not start if ctx has ended, and is not interrupted later.
func (s *Store) view(ctx context.Context, run func(*conn) error) error {
	if err := s.file.checkPathForReads(); err != nil {
		return cancelledError(err)
	}
	return s.translateError(s.read.use(ctx, run))
}

// readOne returns the row that a query finds, or the error none.
func readOne[T any](ctx context.Context, s *Store, scan func(row) (T, error), none error, query string, args ...any) (v T, err error) {
	err = s.view(ctx, func(c *conn) (err error) {
		v, err = queryOne(c, scan, none, query, args...)
		return err
	})
	return v, err
}

// snapshot runs reads that are all of one state of the database.
func (s *Store) snapshot(ctx context.Context, run func(*conn) error) error {
	return s.view(ctx, func(c *conn) error {
		if _, _, err := c.exec("BEGIN"); err != nil {
			return err
		}
		defer func() { _, _, _ = c.exec(rollback) }()
		return run(c)
	})
}

// readPage returns a page of the rows of a small table, by id, and their number.
func readPage[T any](ctx context.Context, s *Store, scan func(row) (T, error), selectRows, selectTotal string, page accounts.Page) (rows []T, total int64, err error) {
	err = s.snapshot(ctx, func(c *conn) (err error) {
		if total, err = queryOne(c, scanInt, nil, selectTotal); err != nil {
			return err
		}
		if page.After > 0 {
			page.Offset = 0
		}
		rows, err = queryAll(c, scan, selectRows+"WHERE id > ? ORDER BY id LIMIT ? OFFSET ?", page.After, page.Limit, page.Offset)
		return err
	})
	return rows, total, err
}

// insert runs a write of one statement that adds rows, as [conn.change] does.
func (s *Store) insert(ctx context.Context, none, exists error, query string, args ...any) (id int64, err error) {
	err = s.writer.do(ctx, &write{adds: true, isStatement: true, run: func(c *conn) (err error) {
		id, err = c.change(none, exists, query, args...)
		return err
	}})
	return id, err
}

// change runs a write of one statement that adds no rows, as [conn.change] does.
func (s *Store) change(ctx context.Context, none error, query string, args ...any) error {
	return s.writer.do(ctx, &write{isStatement: true, run: func(c *conn) error {
		_, err := c.change(none, nil, query, args...)
		return err
	}})
}

// change runs a statement and returns the id of the row that it inserted. It returns
// the error none if no row was changed, and exists, unless that is nil, if the row
// violates a unique index.
func (c *conn) change(none, exists error, query string, args ...any) (id int64, err error) {
	changed, id, err := c.exec(query, args...)
	if exists != nil && violates(err, sqlite3.SQLITE_CONSTRAINT_UNIQUE) {
		return 0, exists
	}
	if err == nil && changed == 0 {
		err = none
	}
	return id, err
}

func fromMicros(microseconds int64) time.Time { return time.UnixMicro(microseconds).UTC() }
