// Package datadir opens, backs up and restores a data directory: the database and
// the keys that belong to it. The server and the admin commands use it.
//
//	DIR/registryusers.db     the accounts (with -wal and -shm beside it)
//	DIR/keys/server.json     the server key, mode 0600
//	DIR/keys/token-*.pem     the keys that sign tokens, mode 0600
//	DIR/images/              the registry's images
//	DIR/ballast              reserves disk space for the database
//	DIR/ballast-inode        reserves an inode for the database
//	DIR/dev.json             an API key in plain text, mode 0600; only of serve --dev
//	DIR/.lock                locked by each process that has the directory open
//	DIR/restore-in-progress  marks an interrupted restore; the directory is refused
//	DIR/before-restore-*/    the database and the keys that a restore replaced
package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/store"
)

// The names in a data directory.
const (
	databaseName  = "registryusers.db"
	keysName      = "keys"
	restoringName = "restore-in-progress"
)

// databaseURL returns the URL of the database in a directory, for package store.
func databaseURL(dir string) string { return "sqlite:" + filepath.Join(dir, databaseName) }

// Dir is an open data directory.
type Dir struct {
	Path   string
	Store  store.Store
	Keys   *keys.Keyring
	unlock func() error
}

// Open opens the data directory at path, or creates one where there is none.
// Several processes may have it open.
//
// A database of an earlier version is upgraded if no other process has the
// directory open; otherwise Open returns an error and changes nothing.
//
// Open refuses a directory that has keys and no database: the database is lost,
// and a new one would have none of its users.
func Open(ctx context.Context, path string) (*Dir, error) {
	return open(ctx, path, false)
}

// OpenNew is [Open] for a directory without a database, and keeps the keys that
// are there. It refuses a directory that has a database.
func OpenNew(ctx context.Context, path string) (*Dir, error) {
	return open(ctx, path, true)
}

// Exists reports whether there is a data directory at path, complete or not.
func Exists(path string) bool {
	for _, name := range []string{databaseName, restoringName} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			return true
		}
	}
	has, err := hasKeys(filepath.Join(path, keysName))
	return err == nil && has
}

// lockWait is how long Open waits for another process that restores or upgrades the
// directory, or that prevents an upgrade because it has the directory open. It is a
// variable for tests.
var lockWait = 2 * time.Second

func open(ctx context.Context, path string, isNew bool) (*Dir, error) {
	if err := atomicfile.MkdirAll(filepath.Join(path, keysName), 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be created: %w", path, err)
	}
	for start := time.Now(); ; {
		d, err := openShared(ctx, path, isNew)
		if errors.Is(err, store.ErrEarlierVersion) {
			if err = upgrade(ctx, path); err == nil {
				continue
			}
		}
		if !errors.Is(err, errLocked) || time.Since(start) > lockWait {
			return d, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// upgrade upgrades the database of a directory that no other process has open.
func upgrade(ctx context.Context, path string) (err error) {
	unlock, err := lockExclusive(path)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrEarlierVersion, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := checkDatabase(path, false); err != nil { // again: the directory was unlocked in between
		return err
	}
	return store.Upgrade(ctx, databaseURL(path))
}

func openShared(ctx context.Context, path string, isNew bool) (d *Dir, err error) {
	d = &Dir{Path: path}
	if d.unlock, err = lockShared(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
			d = nil
		}
	}()
	if err := checkDatabase(path, isNew); err != nil {
		return d, err
	}
	if d.Store, err = store.Open(ctx, databaseURL(path)); err != nil {
		return d, err
	}
	if d.Keys, err = keys.Open(ctx, filepath.Join(path, keysName), d.Store); err != nil {
		return d, err
	}
	// The secrets of users who are created without it would be lost with it.
	if err := d.Store.RequireFile(keys.ServerKeyPath(d.Keys.Dir)); err != nil {
		return d, fmt.Errorf("server key: %w", err)
	}
	if _, err := d.Store.ReserveDisk(); err != nil {
		return d, fmt.Errorf("the file that reserves disk space for the database cannot be created: %w", err)
	}
	return d, nil
}

// checkDatabase refuses a directory whose database is lost or only partly restored.
// If isNew, it refuses one that has a database.
func checkDatabase(path string, isNew bool) error {
	if _, err := os.Lstat(filepath.Join(path, restoringName)); err == nil {
		return fmt.Errorf("data directory %s: a restore was interrupted: run 'registryusers admin restore FILE' again", path)
	}
	// The keys are checked first: a process that creates a directory creates the
	// database before the keys.
	hasKeys, err := hasKeys(filepath.Join(path, keysName))
	if err != nil {
		return err
	}
	// An empty file is a lost database, too: SQLite writes the first page before
	// there is a key, and discards a write-ahead log beside an empty file.
	info, err := os.Stat(filepath.Join(path, databaseName))
	hasDatabase := err == nil && info.Size() > 0
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database: %w", err)
	case isNew && hasDatabase:
		return fmt.Errorf("data directory %s has a database: start without --new-database to use it", path)
	case !isNew && !hasDatabase && hasKeys:
		return fmt.Errorf("data directory %[1]s has keys, but its database %[2]s is lost: restore a backup with 'registryusers admin restore FILE', or put a copy of that file back, with no %[2]s-wal beside it; "+
			"'registryusers serve --new-database' starts with an empty database, without any of the users, registries and API keys", path, databaseName)
	}
	return nil
}

// hasKeys reports whether there is a key in the directory at path.
func hasKeys(path string) (bool, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return false, fmt.Errorf("keys: %w", err)
	}
	return slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return keys.IsFile(entry.Name()) }), nil
}

// Images returns the directory of the images.
func (d *Dir) Images() string { return filepath.Join(d.Path, "images") }

// ServerKey returns the server key.
func (d *Dir) ServerKey() accounts.ServerKey { return accounts.NewServerKey(d.Keys.ServerKey()) }

// Accounts returns a service over the directory's database, for commands that use
// the database while a server runs.
func (d *Dir) Accounts() *accounts.Service { return accounts.New(d.Store, d.ServerKey(), nil) }

// Close closes the database and unlocks the directory.
func (d *Dir) Close() error {
	var err error
	if d.Store != nil {
		err = d.Store.Close()
	}
	return errors.Join(err, d.unlock())
}
