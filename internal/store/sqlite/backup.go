package sqlite

import (
	"context"
	"database/sql/driver"
	"net/url"
	"os"
	"path/filepath"
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
	return s.translateError(s.read.use(ctx, func(c *conn) error {
		return c.script(ctx, "VACUUM INTO ?", driver.NamedValue{Ordinal: 1, Value: target})
	}))
}
