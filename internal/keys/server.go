package keys

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

// Database stores the id of the server key that its secrets need.
type Database interface {
	// ServerKeyID returns the id, or "" if there is none yet.
	ServerKeyID(ctx context.Context) (string, error)
	// ClaimServerKey stores id if there is none yet, and returns the stored one.
	ClaimServerKey(ctx context.Context, id string) (string, error)
}

// Keyring is the keys of one database, in a directory.
type Keyring struct {
	Dir string

	id  string
	key func() [32]byte // a function, so that nothing prints the key
}

// Open opens the keys that the database was created with. For a new database it
// creates the server key, unless there is one.
func Open(ctx context.Context, dir string, database Database) (*Keyring, error) {
	path := ServerKeyPath(dir)
	known, err := database.ServerKeyID(ctx)
	if err != nil {
		return nil, err
	}
	if known == "" {
		if err := createServerKey(path); err != nil {
			return nil, fmt.Errorf("server key %s cannot be created: %w", path, err)
		}
	}
	id, key, err := ReadServerKey(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("server key %s (id %s) is lost: restore the file from a backup; without it no generated secret works", path, known)
	case errors.Is(err, errServerKeyDamaged):
		return nil, fmt.Errorf("server key %s: %w: restore it from a backup", path, err)
	case err != nil:
		return nil, fmt.Errorf("server key cannot be read: %w", err)
	}
	if known == "" {
		if known, err = database.ClaimServerKey(ctx, id); err != nil {
			return nil, err
		}
	}
	if id != known {
		return nil, fmt.Errorf("server key %s has the id %s, but the database was created with the key %s: restore that key from a backup", path, id, known)
	}
	return &Keyring{dir, id, func() [32]byte { return key }}, nil
}

// ServerKey returns the server key and its id.
func (k *Keyring) ServerKey() (id string, key [32]byte) { return k.id, k.key() }

// TokenKeys opens the token keys; see [OpenTokenKeys].
func (k *Keyring) TokenKeys(logger *slog.Logger) (*TokenKeys, error) {
	return OpenTokenKeys(k.Dir, logger)
}

// serverKey is the content of the server key's file. In JSON, Key is in base64.
type serverKey struct {
	ID  string `json:"id"`
	Key []byte `json:"key"`
}

var errServerKeyDamaged = errors.New("the file is damaged")

// ReadServerKey reads the server key from a directory of keys. If there is none,
// the error is [fs.ErrNotExist].
func ReadServerKey(dir string) (id string, key [32]byte, err error) {
	data, err := os.ReadFile(ServerKeyPath(dir))
	if err != nil {
		return "", key, err
	}
	var file serverKey
	if json.Unmarshal(data, &file) != nil || file.ID == "" || len(file.Key) != len(key) {
		return "", key, errServerKeyDamaged
	}
	return file.ID, [32]byte(file.Key), nil
}

// ServerKeyPath returns the path of the server key's file in a directory of keys.
func ServerKeyPath(dir string) string { return filepath.Join(dir, serverName) }

// createServerKey writes a new key to path, unless the file exists.
func createServerKey(path string) error {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	data, err := json.Marshal(serverKey{ID: rand.Text(), Key: key})
	if err != nil {
		return err
	}
	if err := atomicfile.Create(path, append(data, '\n'), 0o600); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another process was first
}
