package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// WasUnclean reports whether the database was not closed the last time: the
// process was killed, or the machine lost its power. It is also true while another
// process has the database open, and at later starts until a [Store.QuickCheck]
// has found nothing.
func (s *Store) WasUnclean() bool { return s.file != nil && s.file.unclean }

// QuickCheck looks for damage in the database (PRAGMA quick_check, and foreign
// keys), while reads and writes go on. It returns what it found, in at most ten
// lines. If it finds damage, the database refuses all further writes, which could
// make the damage worse and backups useless. Other processes and later starts
// refuse them too, until a check finds nothing.
func (s *Store) QuickCheck(ctx context.Context) (findings string, err error) {
	var lines []string
	note := func(r row) error {
		text, err := scanText(r)
		lines = append(lines, text)
		return err
	}
	err = s.read.use(ctx, func(c *conn) error {
		err := c.query(ctx, note, "PRAGMA quick_check(10)")
		if err == nil && len(lines) == 1 && lines[0] == "ok" {
			lines = nil
			err = c.query(ctx, note,
				`SELECT 'row ' || coalesce(rowid, '?') || ' of ' || "table" || ' refers to a missing row of ' || parent FROM pragma_foreign_key_check LIMIT 10`)
		}
		return err
	})
	if err = s.translateError(err); errors.Is(err, errDamaged) {
		lines, err = append(lines, "the file is damaged or not a database"), nil
	}
	if err != nil || s.file == nil {
		return strings.Join(lines, "\n"), err
	}
	if len(lines) == 0 {
		s.file.checked.Store(true)
		return "", s.file.forgetDamage()
	}
	return strings.Join(lines, "\n"), s.file.noteDamage(strings.Join(lines, "; "))
}

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

// CheckBackup looks for damage in a database file that no process has open, as
// [Store.Backup] writes it, and returns the id of the server key that the database
// was created with.
func CheckBackup(ctx context.Context, path string) (id string, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"mode": {"ro"}, "immutable": {"1"}}.Encode()}
	c, err := connect(name.String())
	if err != nil {
		return "", translateError(err)
	}
	defer func() { err = errors.Join(translateError(err), c.Close()) }()
	var found string // "ok", or the first finding
	err = c.query(ctx, func(r row) error { return r.scan(&found) }, "PRAGMA quick_check(1)")
	if err != nil {
		return "", err
	}
	if found != "ok" {
		return "", fmt.Errorf("%s: %w", strings.ReplaceAll(found, "\n", "; "), errDamaged)
	}
	version, _, err := schemaVersion(c)
	if err == nil && version == 0 {
		err = errDamaged
	}
	if err != nil {
		return "", err
	}
	return serverKeyID(c)
}
