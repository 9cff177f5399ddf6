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
	Maintenance
	// See package keys, whose interface this package does not link.
	ServerKeyID(ctx context.Context) (string, error)
	ClaimServerKey(ctx context.Context, id string) (string, error)
	Close() error
}

// Maintenance is what the maintenance of an open database needs.
type Maintenance interface {
	// Backup writes a copy of the database to a new file.
	Backup(ctx context.Context, path string) error
	// QuickCheck looks for damage, and returns what it found. A damaged database
	// refuses all writes.
	QuickCheck(ctx context.Context) (findings string, err error)
	// After RequireFile, every write fails while the file at path is missing or is
	// another file than it is now.
	RequireFile(path string) error
	// WasUnclean reports whether the database was not closed the last time, or
	// another process has it open.
	WasUnclean() bool
	// ReserveDisk reserves room for the database on a full disk, and reports
	// whether the room is reserved.
	ReserveDisk() (bool, error)
	// DiskFull reports whether that room is missing; until it is reserved again,
	// nothing can be added.
	DiskFull() bool
}

// ErrEarlierVersion is returned by [Open] for a database that must be upgraded
// first, with [Upgrade].
var ErrEarlierVersion = sqlite.ErrEarlierVersion

// DamagedSuffix is the suffix, after a database's path, of the file that marks the
// database as damaged. It belongs to the database's files.
const DamagedSuffix = sqlite.DamagedSuffix

// Open opens the database at a URL, and creates it if there is none. For a database
// of an earlier version it returns [ErrEarlierVersion] and changes nothing. The
// URLs are:
//
//	sqlite:PATH      a file; PATH is used as it is, without escapes
//	sqlite::memory:  in memory, for tests; each Open gets a database of its own
func Open(ctx context.Context, url string) (Store, error) {
	if url == "sqlite::memory:" {
		return orNil(sqlite.OpenMemory(ctx))
	}
	path, err := pathOf(url)
	if err != nil {
		return nil, err
	}
	return orNil(sqlite.Open(ctx, path))
}

// orNil returns no store with an error: a nil *sqlite.Store is not a nil Store.
func orNil(s *sqlite.Store, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Upgrade upgrades the database at a URL to this version, completely or not at all.
// No other process may have it open.
func Upgrade(ctx context.Context, url string) error {
	path, err := pathOf(url)
	if err != nil {
		return err
	}
	return sqlite.Upgrade(ctx, path)
}

// CheckBackup looks for damage in a database that no process has open, as
// [Maintenance].Backup writes it, and returns the id of the server key that it was
// created with.
func CheckBackup(ctx context.Context, url string) (serverKeyID string, err error) {
	path, err := pathOf(url)
	if err != nil {
		return "", err
	}
	return sqlite.CheckBackup(ctx, path)
}

// pathOf returns the path of a database's file.
func pathOf(url string) (string, error) {
	scheme, path, _ := strings.Cut(url, ":")
	// The error does not contain the URL: with another scheme it may hold a password.
	if scheme != "sqlite" || path == "" || path == ":memory:" {
		return "", errors.New("the database's URL must be sqlite::memory: or sqlite:PATH")
	}
	return path, nil
}
