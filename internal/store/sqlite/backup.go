package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Backup writes a copy of the database's current state to a new file at path, mode
// 0600, while reads and writes go on. The copy is one file, without a write-ahead
// log. It is not synced, and an error may leave an incomplete file.
func (s *Store) Backup(ctx context.Context, path string) error {
	// SQLite would create the file readable for everybody, but accepts an empty file.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	// A URI, because a path may begin with "file:".
	target := (&url.URL{Scheme: "file", Path: path}).String()
	if _, err := s.read.ExecContext(ctx, "VACUUM INTO ?", target); err != nil {
		return s.translateError(err)
	}
	return nil
}

// CheckBackup looks for damage in a database file that no process has open, as
// [Store.Backup] writes it, and returns the id of the server key that the database
// was created with.
func CheckBackup(ctx context.Context, path string) (serverKeyID string, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"mode": {"ro"}, "immutable": {"1"}}.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return checkBackup(ctx, db)
}

func checkBackup(ctx context.Context, db *sql.DB) (serverKeyID string, err error) {
	var found string // "ok", or the first finding
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return "", translateError(err)
	}
	if found != "ok" {
		return "", fmt.Errorf("%s: %w", strings.ReplaceAll(found, "\n", "; "), errDamaged)
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return "", err
	}
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return "", translateError(err)
	}
	if version > len(names) {
		return "", fmt.Errorf("a newer version of this program wrote the database (its schema has version %d, this program supports up to %d): use that version", version, len(names))
	}
	if version < 1 {
		return "", errDamaged
	}
	err = db.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = 'server_key_id'").Scan(&serverKeyID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", translateError(err)
	}
	return serverKeyID, nil
}
