// Package sqlite keeps the accounts in one SQLite file.
package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/registryusers/registryusers"
)

// Store is an [accounts.Store] in a SQLite file in WAL mode, which several
// processes may use at the same time. Every commit is synced to the disk.
type Store struct {
	path  string
	file  *file // nil in memory
	write *pool // one connection
	read  *pool // many connections, which read committed data and never wait for a lock

	writer *writer // on write

	walDirty atomic.Bool // deleted or replaced rows may still be in the write-ahead log
}

// ErrEarlierVersion is returned by [Open] for a database that must be upgraded
// first, with [Upgrade].
var ErrEarlierVersion = errors.New("an earlier version of this program wrote the database, and it must be upgraded")

// Open opens the database file at path and creates it if there is none (mode
// 0600). For a database of an earlier version it returns [ErrEarlierVersion] and
// changes nothing.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path, false)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	return s, nil
}

// Upgrade upgrades a database of an earlier version to this version, completely or
// not at all. No other process may have it open: programs of the earlier version
// can't use it afterwards.
func Upgrade(ctx context.Context, path string) error {
	s, err := open(ctx, path, true)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return fmt.Errorf("database %s cannot be upgraded: %w", path, err)
	}
	return nil
}

func open(ctx context.Context, path string, upgrade bool) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	file, err := openFile(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, file: file}
	s.walDirty.Store(true) // an earlier process may have left deleted rows in the log
	s.write = newPool(dsn(path, url.Values{}), 1)
	s.read = newPool(dsn(path, url.Values{"mode": {"ro"}}), max(4, runtime.GOMAXPROCS(0)))
	return s.start(ctx, upgrade)
}

// OpenMemory creates a store in memory, for tests. It is not shared with other
// stores, and its content is lost when it is closed. All calls take turns on one
// connection, so they never wait for a lock of the database.
func OpenMemory(ctx context.Context) (*Store, error) {
	one := newPool(dsn("/memory", url.Values{"mode": {"memory"}}), 1) // a second connection would have a database of its own
	s, err := (&Store{path: "in memory", write: one, read: one}).start(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("database in memory: %w", err)
	}
	return s, nil
}

// start migrates the database and starts the writer. After an error it closes the
// connections.
func (s *Store) start(ctx context.Context, upgrade bool) (*Store, error) {
	_, _ = sqlite.Fdatasync(true) // where there is fdatasync; a commit then syncs no times of files
	err := migrateBusy(ctx, s.write, upgrade)
	if s.file != nil {
		if s.file.ballast.release(err) { // SQLite needs room for its -shm and -wal
			err = migrateBusy(ctx, s.write, upgrade)
		}
		if err == nil {
			err = s.file.noteLog()
		}
	}
	if err != nil {
		return nil, errors.Join(translateError(err), s.Close())
	}
	s.writer = newWriter(s.write, s.file, s.translateError)
	return s, nil
}

// busyTimeout is how long a commit waits for another process's write. A write in
// the queue may wait longer, because the commit before its own may wait, too.
const busyTimeout = 2 * time.Second

// maxLog is the size, in bytes, to which the write-ahead log shrinks after a long
// read that kept it growing.
const maxLog = 64 << 20

// dsn returns a data source name with the settings, so that every pooled connection
// has them.
func dsn(path string, values url.Values) string {
	values["_pragma"] = []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)", // in WAL mode: each commit is synced
		"foreign_keys(ON)",
		"secure_delete(ON)", // deleted content is overwritten
		// How many pages (64 MiB) the log holds before they are moved into the
		// database: a page that many creates change is then moved only once.
		"wal_autocheckpoint(16000)",
		fmt.Sprintf("journal_size_limit(%d)", maxLog),
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: values.Encode()}).String()
}

// Close closes the database.
func (s *Store) Close() error {
	if s.writer != nil {
		s.writer.close()
	}
	return errors.Join(s.read.close(), s.closeWrite())
}

// closeWrite closes the connection that writes. After an unclean stop, an empty
// log stays until the database has been checked: a later start then knows.
//
// It leaves the connection open if another file is in the place of one of the
// database's: SQLite would end with a log that lacks what other processes have
// committed, and remove theirs. The files are then as after a crash.
func (s *Store) closeWrite() error {
	if s.file.isReplaced() {
		return nil
	}
	if s.WasUnclean() && !s.file.checked.Load() {
		_ = s.write.use(context.Background(), func(c *conn) error {
			_, err := c.Conn.(sqlite.FileControl).FileControlPersistWAL("main", 1)
			return err
		})
	}
	return s.write.close()
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrateBusy calls migrate, and repeats it for up to busyTimeout while another
// process creates the same database: SQLite does not wait when two processes change
// the journal mode at the same time.
func migrateBusy(ctx context.Context, write *pool, upgrade bool) error {
	for start := time.Now(); ; {
		err := write.use(ctx, func(c *conn) error { return migrate(ctx, c, upgrade) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(translateError(err), registryusers.ErrUnavailable) || time.Since(start) > busyTimeout {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// migrate runs the migrations that the database has not had yet, in one
// transaction. PRAGMA user_version is their number. If the database is not new and
// upgrade is false, migrate returns ErrEarlierVersion instead.
func migrate(ctx context.Context, c *conn, upgrade bool) error {
	if _, _, err := c.exec(begin); err != nil {
		return err
	}
	defer func() { _, _, _ = c.exec(rollback) }() // without effect after the commit
	version, names, err := schemaVersion(c)
	if err != nil || version == len(names) {
		return err
	}
	if version > 0 && !upgrade {
		return ErrEarlierVersion
	}
	for _, name := range names[version:] {
		script, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if err := c.script(ctx, string(script)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := c.script(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(names))); err != nil {
		return err
	}
	_, _, err = c.exec(commit)
	return err
}

// schemaVersion returns the version of a database's schema, 0 for a new database,
// and the names of the migrations, whose number is the current version.
func schemaVersion(c *conn) (version int, names []string, err error) {
	if names, err = fs.Glob(migrations, "migrations/*.sql"); err != nil {
		return 0, nil, err
	}
	n, err := queryOne(c, scanInt, errDamaged, "PRAGMA user_version")
	if err != nil {
		return 0, nil, err
	}
	if n < 0 {
		err = fmt.Errorf("its schema has the version %d, which does not exist: %w", n, errDamaged)
	} else if n > int64(len(names)) {
		err = fmt.Errorf("a newer version of this program wrote it (its schema has version %d, this program supports up to %d): use that version", n, len(names))
	}
	return int(n), names, err
}

var errDamaged = errors.New("the file is damaged or not a database; restore it from a backup")

// translateError translates the driver's errors into package registryusers', by
// their codes.
func translateError(err error) error {
	switch code(err) {
	case sqlite3.SQLITE_OK:
		return err
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: the database is locked by another process", registryusers.ErrUnavailable)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return errDamaged
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: the disk is full: %w", registryusers.ErrUnavailable, err)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%w: the database's files cannot be read or written: %w", registryusers.ErrUnavailable, err)
	}
	return fmt.Errorf("SQLite error %d: %w", code(err), err)
}

// translateError is translateError for errors that the package returns: it adds the
// database's path, except to ErrUnavailable and to errors that are not SQLite's.
func (s *Store) translateError(err error) error {
	isSQLite := code(err) != sqlite3.SQLITE_OK || errors.Is(err, errDamaged)
	if err = translateError(err); !isSQLite || errors.Is(err, registryusers.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("database %s: %w", s.path, err)
}

// code returns SQLite's primary error code of err, or SQLITE_OK (0) if err is not
// SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return sqlite3.SQLITE_OK
	}
	return e.Code() & 0xff // without the extension
}

func isFull(err error) bool { return code(err) == sqlite3.SQLITE_FULL }

// mayBeFull reports whether a full disk may have caused an error: SQLite returns
// other codes when its shared memory or its log cannot grow.
func mayBeFull(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return true
	}
	return false
}

// violates reports whether err is that a statement violates a constraint of a kind,
// one of SQLite's extended codes.
func violates(err error, kind int) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == kind
}

// ServerKeyID implements store.Store.
func (s *Store) ServerKeyID(ctx context.Context) (id string, err error) {
	err = s.view(ctx, func(c *conn) error {
		id, err = serverKeyID(c)
		return err
	})
	return id, err
}

func serverKeyID(c *conn) (string, error) {
	return queryOne(c, scanText, nil, "SELECT value FROM settings WHERE name = 'server_key_id'")
}

// ClaimServerKey implements store.Store.
func (s *Store) ClaimServerKey(ctx context.Context, id string) (string, error) {
	err := s.change(ctx, nil, "INSERT INTO settings (name, value) VALUES ('server_key_id', ?) ON CONFLICT DO NOTHING", id)
	if err != nil {
		return "", err
	}
	return s.ServerKeyID(ctx)
}
