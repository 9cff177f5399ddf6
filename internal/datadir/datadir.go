// Package datadir opens a data directory: the database and the keys that
// belong to it. The server and the admin commands share it.
//
//	DIR/registryusers.db     the accounts (with -wal and -shm beside it)
//	DIR/keys/server.json     the server key, mode 0600
//	DIR/keys/token-*.pem     the keys that sign tokens, mode 0600
//	DIR/images/              the registry's images
//	DIR/ballast              room for the database on a full disk
//	DIR/dev.json             of serve --dev: an API key in the clear, mode 0600
package datadir

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/sqlite"
)

// Dir is an open data directory.
type Dir struct {
	Path     string
	Accounts *accounts.Service
	store    *sqlite.Store
}

// Open opens the data directory at path and makes what is missing in a new
// one. Several processes may have it open. now is the clock; nil means [time.Now].
func Open(ctx context.Context, path string, now func() time.Time) (*Dir, error) {
	if err := os.MkdirAll(filepath.Join(path, "keys"), 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be made: %w", path, err)
	}
	store, err := sqlite.Open(ctx, filepath.Join(path, "registryusers.db"))
	if err != nil {
		return nil, err
	}
	key, err := serverKey(ctx, store, filepath.Join(path, "keys", "server.json"))
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if _, err := store.KeepBallast(); err != nil {
		return nil, errors.Join(fmt.Errorf("the file that keeps room for the database cannot be made: %w", err), store.Close())
	}
	return &Dir{Path: path, Accounts: accounts.New(store, key, now), store: store}, nil
}

// KeepBallast makes the ballast again, which was removed when the disk was
// full, if there is room. It reports whether it is there: until then, nothing
// can be added to the accounts.
func (d *Dir) KeepBallast() (bool, error) { return d.store.KeepBallast() }

// WasUnclean reports whether the database was not closed the last time, or is
// open in another process.
func (d *Dir) WasUnclean() bool { return d.store.WasUnclean() }

// Check looks for damage in the database and returns what it found. If there is
// any, the database takes no more writes from this process.
func (d *Dir) Check(ctx context.Context) (findings string, err error) {
	return d.store.QuickCheck(ctx)
}

// Keys returns where the keys lie.
func (d *Dir) Keys() string { return filepath.Join(d.Path, "keys") }

// Images returns where the images lie.
func (d *Dir) Images() string { return filepath.Join(d.Path, "images") }

// Close closes the directory's database.
func (d *Dir) Close() error { return d.store.Close() }

// keyFile is the server key as it lies in its file. JSON spells Key in base64.
type keyFile struct {
	ID  string `json:"id"`
	Key []byte `json:"key"`
}

// serverKey returns the key that the database was begun with; the first to
// open a new directory makes it.
func serverKey(ctx context.Context, store *sqlite.Store, path string) (accounts.ServerKey, error) {
	var none accounts.ServerKey
	known, err := store.ServerKeyID(ctx)
	if err != nil {
		return none, err
	}
	if known == "" {
		if err := makeKey(path); err != nil {
			return none, fmt.Errorf("server key %s cannot be made: %w", path, err)
		}
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, fmt.Errorf("server key %s (id %s) is lost: restore the file from a backup; without it no secret that this server made is good", path, known)
	}
	if err != nil {
		return none, fmt.Errorf("server key cannot be read: %w", err)
	}
	var file keyFile
	if json.Unmarshal(data, &file) != nil || file.ID == "" || len(file.Key) != 32 {
		return none, fmt.Errorf("server key %s is damaged: restore the file from a backup", path)
	}
	if known == "" {
		if known, err = store.ClaimServerKey(ctx, file.ID); err != nil {
			return none, err
		}
	}
	if file.ID != known {
		return none, fmt.Errorf("server key %s has the id %s, but the database was begun with the key %s: restore that one from a backup", path, file.ID, known)
	}
	return accounts.NewServerKey(file.ID, [32]byte(file.Key)), nil
}

// makeKey writes a new key to path, whole or not at all, unless there is a file.
func makeKey(path string) error {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	data, err := json.Marshal(keyFile{ID: rand.Text(), Key: key})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // unlike a rename, fails if another process was first
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a directory's new names survive power loss.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
