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
	// ServerKeyID returns the id of the server key that the database was begun
	// with, or "" while there is none; ClaimServerKey makes it id in that case,
	// and returns the one there is.
	ServerKeyID(ctx context.Context) (string, error)
	ClaimServerKey(ctx context.Context, id string) (string, error)
	// Backup writes a copy of the database to a new file.
	Backup(ctx context.Context, path string) error
	// QuickCheck looks for damage, and returns what it found. Damage ends all writes.
	QuickCheck(ctx context.Context) (findings string, err error)
	// Require has all writes refused while the file at path is missing or is
	// another file than it is now.
	Require(path string) error
	// WasUnclean reports whether the database was not closed the last time, or
	// another process has it open.
	WasUnclean() bool
	// KeepBallast keeps room for the database on a full disk, and reports
	// whether it has that room.
	KeepBallast() (bool, error)
	// IsFull reports whether that room is missing, as long as nothing can be added.
	IsFull() bool
	Close() error
}

// Open opens a database, and creates it if there is none. These are the URLs:
//
//	sqlite:PATH      a file; PATH is taken as it is, without any escapes
//	sqlite::memory:  in memory, for tests: no other process or Open shares it
func Open(ctx context.Context, url string) (Store, error) {
	scheme, path, _ := strings.Cut(url, ":")
	// The URL is not in the error: another scheme's may hold a password.
	if scheme != "sqlite" || path == "" {
		return nil, errors.New("the database's URL must be sqlite::memory: or sqlite:PATH")
	}
	open := sqlite.Open
	if path == ":memory:" {
		open = func(ctx context.Context, _ string) (*sqlite.Store, error) { return sqlite.OpenMemory(ctx) }
	}
	s, err := open(ctx, path)
	if err != nil {
		return nil, err // without a Store of nil in it
	}
	return s, nil
}
