package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/atomicfile"
)

// file is the database's file, with the files beside it.
type file struct {
	path     string
	opened   fs.FileInfo // of the opened file
	unclean  bool        // it was not closed the last time, or another process has it open
	ballast  ballast
	findings atomic.Pointer[string] // of [Store.QuickCheck]; nil: none
	log      fs.FileInfo            // of the write-ahead log; nil: there was none
	seen     atomic.Int64           // when the file was last seen at its path, Unix nanoseconds
}

// openFile creates the database's file if there is none, readable only for its
// owner (SQLite would create it readable for everybody), and checks its size.
func openFile(ctx context.Context, path string) (*file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	opened := &file{path: path, ballast: ballast{path: filepath.Join(filepath.Dir(path), "ballast")}}
	if opened.opened, err = f.Stat(); err != nil {
		return nil, err
	}
	if opened.unclean, err = hasLog(path); err != nil || opened.unclean {
		return opened, err // the log may have pages that the file lacks
	}
	if err := checkSize(f); err != nil {
		opened.unclean, err = checkLocked(ctx, f, err)
		return opened, err
	}
	return opened, nil
}

// checkLocked checks a file of a wrong size again, while no other process can
// change it: another process may have closed the database at that moment, which
// moves its log into the file. wrong is the error of the first check.
func checkLocked(ctx context.Context, f *os.File, wrong error) (unclean bool, err error) {
	name := url.URL{Scheme: "file", Path: f.Name(), RawQuery: url.Values{
		"mode": {"rw"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())},
	}.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return false, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, translateError(err)
	}
	defer tx.Rollback()
	// After its first read, a transaction prevents others from removing a log that
	// is not empty and, if it is empty, from changing the file.
	var tables int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		if errors.Is(translateError(err), registryusers.ErrUnavailable) {
			return false, translateError(err)
		}
		return false, wrong
	}
	if unclean, err := hasLog(f.Name()); err != nil || unclean {
		return unclean, err
	}
	return false, checkSize(f)
}

// hasLog reports whether there is a write-ahead log that is not empty.
func hasLog(path string) (bool, error) {
	info, err := os.Stat(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Size() > 0, err
}

// stat is a variable for tests, which stall it.
var stat = (*os.File).Stat

// checkSize compares the size of a database's file with the number of pages in
// its header (SQLite's file format, section 1.3): SQLite itself notices a missing
// page only when it reads that page.
func checkSize(f *os.File) error {
	var header [100]byte
	n, err := f.ReadAt(header[:], 0)
	if n == 0 && errors.Is(err, io.EOF) {
		return nil // the file is new
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err != nil || string(header[:16]) != "SQLite format 3\x00" {
		return errDamaged
	}
	info, err := stat(f)
	if err != nil {
		return err
	}
	pageSize := int64(binary.BigEndian.Uint16(header[16:]))
	if pageSize == 1 {
		pageSize = 65536
	}
	pages := int64(binary.BigEndian.Uint32(header[28:]))
	if binary.BigEndian.Uint32(header[24:]) != binary.BigEndian.Uint32(header[92:]) {
		pages = 0 // the header's number of pages is out of date
	}
	if pageSize < 512 || info.Size()%pageSize != 0 || pages != 0 && info.Size() != pages*pageSize {
		return fmt.Errorf("its size of %d bytes does not match the pages of %d bytes in its header: %w", info.Size(), pageSize, errDamaged)
	}
	return nil
}

// DamagedSuffix is the suffix, after a database's path, of the file that marks the
// database as damaged for all processes and later starts. A restore moves the file
// away with the database; a check that finds nothing removes it.
const DamagedSuffix = "-damaged"

// noteDamage marks the database as damaged: all processes refuse writes from now on.
func (f *file) noteDamage(findings string) error {
	f.findings.Store(&findings)
	return atomicfile.Write(f.path+DamagedSuffix, []byte(findings+"\n"), 0o600)
}

// forgetDamage removes the mark of [file.noteDamage].
func (f *file) forgetDamage() error {
	err := atomicfile.Remove(f.path + DamagedSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.findings.Store(nil)
	return nil
}

// checkDamage returns an error if the database is known to be damaged.
func (f *file) checkDamage() error {
	if f == nil {
		return nil
	}
	what := "'registryusers admin check' shows the damage"
	if findings := f.findings.Load(); findings != nil {
		what = *findings
	} else if _, err := os.Stat(f.path + DamagedSuffix); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%w: the database %s is damaged (%s); restore it from a backup", registryusers.ErrUnavailable, f.path, what)
}

// noteLog remembers which file the write-ahead log is; SQLite keeps it as long as
// the database is open.
func (f *file) noteLog() error {
	var err error
	if f.log, err = os.Stat(f.path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// checkPlace returns an error unless the open files are still at their paths:
// otherwise the next start would not find what is committed now.
func (f *file) checkPlace() error {
	if f == nil {
		return nil
	}
	info, err := os.Stat(f.path)
	isThere := err == nil && os.SameFile(info, f.opened)
	if isThere && f.log != nil { // commits go there first
		info, err = os.Stat(f.path + "-wal")
		isThere = err == nil && os.SameFile(info, f.log)
	}
	if !isThere {
		return fmt.Errorf("%w: the database or its log is no longer at %s: the data directory was moved, removed or replaced; put it back, or restart the server", registryusers.ErrUnavailable, f.path)
	}
	return nil
}

// placeInterval is how long reads may go on in a database that is no longer at
// its path. It is short, because revocations go to the database at that path.
const placeInterval = time.Second

// checkPlaceForReads calls checkPlace, but not again within [placeInterval] of a
// call that found no error.
func (f *file) checkPlaceForReads() error {
	if f == nil {
		return nil
	}
	now := time.Now().UnixNano()
	if seen := f.seen.Load(); now >= seen && now-seen < int64(placeInterval) {
		return nil
	}
	if err := f.checkPlace(); err != nil {
		return err
	}
	f.seen.Store(now)
	return nil
}
