package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
)

// OpenMemory makes a store in memory, for tests: no other store sees it, and it
// is gone when it is closed. All calls take turns on one connection, so none
// meets another's lock.
func OpenMemory(ctx context.Context) (*Store, error) {
	db, err := sql.Open("sqlite", dsn("/memory", url.Values{"mode": {"memory"}, "_txlock": {"immediate"}}))
	if err != nil {
		return nil, fmt.Errorf("database in memory: %w", err)
	}
	db.SetMaxOpenConns(1) // a second one would have a database of its own
	s := &Store{path: "in memory", write: db, read: db}
	if err := migrate(ctx, db); err != nil {
		return nil, fmt.Errorf("database in memory: %w", errors.Join(translateError(err), s.Close()))
	}
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("database in memory: %w", errors.Join(translateError(err), s.Close()))
	}
	return s, nil
}
