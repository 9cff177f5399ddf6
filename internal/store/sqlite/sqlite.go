// Package sqlite keeps the accounts in one SQLite file.
package sqlite

import (
	"context"
	"database/sql"
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
	file  *file   // nil in memory
	write *sql.DB // one connection; its transactions take the write lock when they begin
	read  *sql.DB // many connections, which read committed data and never wait for a lock

	prepared map[string]*sql.Stmt // on read, by their text
	writer   *writer              // on write

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
	if s.write, err = sql.Open("sqlite", dsn(path, url.Values{"_txlock": {"immediate"}})); err != nil {
		return nil, err
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite", dsn(path, url.Values{"mode": {"ro"}})); err != nil {
		return nil, errors.Join(err, s.closeWrite())
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return s.start(ctx, upgrade)
}

// OpenMemory creates a store in memory, for tests. It is not shared with other
// stores, and its content is lost when it is closed. All calls take turns on one
// connection, so they never wait for a lock of the database.
func OpenMemory(ctx context.Context) (*Store, error) {
	db, err := sql.Open("sqlite", dsn("/memory", url.Values{"mode": {"memory"}, "_txlock": {"immediate"}}))
	if err != nil {
		return nil, fmt.Errorf("database in memory: %w", err)
	}
	db.SetMaxOpenConns(1) // a second connection would have a database of its own
	s, err := (&Store{path: "in memory", write: db, read: db}).start(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("database in memory: %w", err)
	}
	return s, nil
}

// start migrates the database and prepares its statements. After an error it closes
// the connections.
func (s *Store) start(ctx context.Context, upgrade bool) (*Store, error) {
	err := migrateBusy(ctx, s.write, upgrade)
	if s.file != nil {
		if s.file.ballast.release(err) { // SQLite needs room for its -shm and -wal
			err = migrateBusy(ctx, s.write, upgrade)
		}
		if err == nil {
			err = s.file.noteLog()
		}
	}
	if err == nil {
		err = s.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(translateError(err), s.Close())
	}
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
	return errors.Join(s.read.Close(), s.closeWrite())
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
		if conn, err := s.write.Conn(context.Background()); err == nil {
			_ = conn.Raw(func(driver any) error {
				_, err := driver.(sqlite.FileControl).FileControlPersistWAL("main", 1)
				return err
			})
			_ = conn.Close()
		}
	}
	return s.write.Close()
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrateBusy calls migrate, and repeats it for up to busyTimeout while another
// process creates the same database: SQLite does not wait when two processes change
// the journal mode at the same time.
func migrateBusy(ctx context.Context, db *sql.DB, upgrade bool) error {
	for start := time.Now(); ; {
		err := migrate(ctx, db, upgrade)
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
func migrate(ctx context.Context, db *sql.DB, upgrade bool) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	version, names, err := schemaVersion(ctx, tx)
	if err != nil {
		return err
	}
	if version == len(names) {
		return nil
	}
	if version > 0 && !upgrade {
		return ErrEarlierVersion
	}
	for _, name := range names[version:] {
		script, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(script)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(names))); err != nil {
		return err
	}
	return tx.Commit()
}

// schemaVersion returns the version of a database's schema, 0 for a new database,
// and the names of the migrations, whose number is the current version.
func schemaVersion(ctx context.Context, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (version int, names []string, err error) {
	if names, err = fs.Glob(migrations, "migrations/*.sql"); err != nil {
		return 0, nil, err
	}
	if err = db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, nil, err
	}
	if version < 0 {
		err = fmt.Errorf("its schema has the version %d, which does not exist: %w", version, errDamaged)
	} else if version > len(names) {
		err = fmt.Errorf("a newer version of this program wrote it (its schema has version %d, this program supports up to %d): use that version", version, len(names))
	}
	return version, names, err
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
// database's path, except to ErrNotFound and ErrUnavailable.
func (s *Store) translateError(err error) error {
	if err = translateError(err); err == nil || errors.Is(err, registryusers.ErrNotFound) || errors.Is(err, registryusers.ErrUnavailable) {
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

func isUnique(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}

// ServerKeyID implements store.Store.
func (s *Store) ServerKeyID(ctx context.Context) (string, error) {
	id, err := serverKeyID(ctx, s.read)
	return id, s.translateError(err)
}

func serverKeyID(ctx context.Context, db *sql.DB) (id string, err error) {
	err = db.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = 'server_key_id'").Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// ClaimServerKey implements store.Store.
func (s *Store) ClaimServerKey(ctx context.Context, id string) (string, error) {
	err := s.change(ctx, nil, "INSERT INTO settings (name, value) VALUES ('server_key_id', ?) ON CONFLICT DO NOTHING", id)
	if err != nil {
		return "", err
	}
	return s.ServerKeyID(ctx)
}
