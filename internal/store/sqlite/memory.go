package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
)

// OpenMemory creates a store in memory, for tests. It is not shared with other
// stores, and its content is lost when it is closed. All calls take turns on one
// connection, so they never wait for a lock of the database.
func OpenMemory(ctx context.Context) (*Store, error) {
	db, err := sql.Open("sqlite", dsn("/memory", url.Values{"mode": {"memory"}, "_txlock": {"immediate"}}))
	if err != nil {
		return nil, fmt.Errorf("database in memory: %w", err)
	}
	db.SetMaxOpenConns(1) // a second connection would have a database of its own
	s := &Store{path: "in memory", write: db, read: db}
	if err := migrate(ctx, db, false); err != nil {
		return nil, fmt.Errorf("database in memory: %w", errors.Join(translateError(err), s.Close()))
	}
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("database in memory: %w", errors.Join(translateError(err), s.Close()))
	}
	return s, nil
}
