// Package store opens the database that a URL names.
package store

import (
	"context"
	"errors"
	"strings"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/sqlite"
)

// Store is an open database.
type Store interface {
	accounts.Store
	// See package keys, whose interface this package does not link.
	ServerKeyID(ctx context.Context) (string, error)
	ClaimServerKey(ctx context.Context, id string) (string, error)
	// Backup writes a copy of the database to a new file.
	Backup(ctx context.Context, path string) error
	// QuickCheck looks for damage, and returns what it found. A damaged database
	// refuses all writes.
	QuickCheck(ctx context.Context) (findings string, err error)
	// WasUnclean reports whether the database was not closed the last time, or
	// another process has it open.
	WasUnclean() bool
	// KeepBallast reserves room for the database on a full disk, and reports
	// whether the room is reserved.
	KeepBallast() (bool, error)
	// IsFull reports whether that room is missing; until it is reserved again,
	// nothing can be added.
	IsFull() bool
	Close() error
}

// Open opens the database at a URL, and creates it if there is none. The URLs are:
//
//	sqlite:PATH      a file; PATH is used as it is, without escapes
//	sqlite::memory:  in memory, for tests; each Open gets a database of its own
func Open(ctx context.Context, url string) (Store, error) {
	scheme, path, _ := strings.Cut(url, ":")
	// The error does not contain the URL: with another scheme it may hold a password.
	if scheme != "sqlite" || path == "" {
		return nil, errors.New("the database's URL must be sqlite::memory: or sqlite:PATH")
	}
	open := sqlite.Open
	if path == ":memory:" {
		open = func(ctx context.Context, _ string) (*sqlite.Store, error) { return sqlite.OpenMemory(ctx) }
	}
	s, err := open(ctx, path)
	if err != nil {
		return nil, err // s is a nil *sqlite.Store, which is not a nil Store
	}
	return s, nil
}
