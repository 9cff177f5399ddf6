package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/atomicfile"
)

// file is the database's file, with the files beside it.
type file struct {
	path     string
	places   []place               // of the database and, once it is open, of its log and the log's index
	required atomic.Pointer[place] // of [Store.RequireFile]; nil: none
	unclean  bool                  // it was not closed the last time, or another process has it open
	checked  atomic.Bool           // [Store.QuickCheck] has found nothing
	ballast  ballast
	findings atomic.Pointer[string] // of [Store.QuickCheck]; nil: none
	seen     atomic.Int64           // when the file was last at its path, Unix nanoseconds
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
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	opened.places = []place{{path, info}}
	size, err := statLog(path)
	opened.unclean = size >= 0
	if err != nil || size > 0 {
		return opened, err // SQLite reads what is missing in the file from the log
	}
	if err := checkSize(f); err != nil {
		hasLog, err := checkLocked(ctx, f, err)
		opened.unclean = opened.unclean || hasLog
		return opened, err
	}
	return opened, nil
}

// checkLocked looks again at a file of a wrong size, while no other process
// changes it: one that closed the database at that moment has moved its log into
// the file. wrong is the error about the size. hasLog reports whether there is
// anything in a log now.
func checkLocked(ctx context.Context, f *os.File, wrong error) (hasLog bool, err error) {
	name := url.URL{Scheme: "file", Path: f.Name(), RawQuery: url.Values{
		"mode": {"rw"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())},
	}.Encode()}
	c, err := connect(name.String())
	if err != nil {
		return false, translateError(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.script(ctx, "BEGIN"); err != nil {
		return false, translateError(err)
	}
	// After its first read, a transaction prevents others from removing a log that
	// is not empty and, if it is empty, from changing the file.
	if _, err := queryOne(c, scanInt, nil, "SELECT count(*) FROM sqlite_schema"); err != nil {
		if errors.Is(translateError(err), registryusers.ErrUnavailable) {
			return false, translateError(err)
		}
		return false, wrong
	}
	if size, err := statLog(f.Name()); err != nil || size > 0 {
		return err == nil, err
	}
	return false, checkSize(f)
}

// statLog returns the size of the write-ahead log, or -1 if there is none. A
// process that closes the database removes the log; one that is killed leaves it,
// empty or not.
func statLog(path string) (int64, error) {
	info, err := os.Stat(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	return info.Size(), nil
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

// place is a file and where it was.
type place struct {
	path string
	info fs.FileInfo
}

// findPlace returns the place of the file that is at path now. It does not open
// the file: closing it would release the locks that SQLite holds in this process.
func findPlace(path string) (place, error) {
	info, err := os.Stat(path)
	if err != nil {
		return place{}, err
	}
	os.SameFile(info, info) // Windows finds out a file's identity when it is first compared
	return place{path, info}, nil
}

// isThere reports whether the file is still at its path.
func (p place) isThere() bool {
	info, err := os.Stat(p.path)
	return err == nil && os.SameFile(info, p.info)
}

// isReplaced reports whether another file is at the path.
func (p place) isReplaced() bool {
	info, err := os.Stat(p.path)
	return err == nil && !os.SameFile(info, p.info)
}

// noteLog remembers the write-ahead log and its index, which SQLite keeps as long
// as the database is open.
func (f *file) noteLog() error {
	for _, suffix := range []string{"-wal", "-shm"} {
		place, err := findPlace(f.path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue // on a file system where SQLite cannot have one
		}
		if err != nil {
			return err
		}
		f.places = append(f.places, place)
	}
	return nil
}

// RequireFile makes every write fail from now on while the file at path is missing or is
// another file than it is now.
func (s *Store) RequireFile(path string) error {
	place, err := findPlace(path)
	if err == nil && s.file != nil {
		s.file.required.Store(&place)
	}
	return err
}

// checkRequired returns an error unless the required file is at its path.
func (f *file) checkRequired() error {
	if f == nil {
		return nil
	}
	if required := f.required.Load(); required != nil && !required.isThere() {
		return fmt.Errorf("%w: %s was moved, removed or replaced: put it back, or restart the server", registryusers.ErrUnavailable, required.path)
	}
	return nil
}

// checkPath returns an error unless what is committed now is in the file that
// the next start opens, and other processes see it.
func (f *file) checkPath() error {
	if f == nil {
		return nil
	}
	for _, place := range f.places {
		if !place.isThere() {
			return fmt.Errorf("%w: %s is not the file that was opened: the data directory or a file of the database was moved, removed or replaced; put it back, or restart the server", registryusers.ErrUnavailable, place.path)
		}
	}
	return nil
}

// isReplaced reports whether another file is in the place of one of the
// database's: then another process may have committed what this one does not see.
func (f *file) isReplaced() bool {
	return f != nil && slices.ContainsFunc(f.places, place.isReplaced)
}

// checkPathInterval is how long reads may go on in a database that is no longer at
// its path. It is short, because revocations go to the database at that path.
const checkPathInterval = time.Second

// checkPathForReads calls checkPath, but not again within [checkPathInterval] of a
// call that found no error.
func (f *file) checkPathForReads() error {
	if f == nil {
		return nil
	}
	now := time.Now().UnixNano()
	if seen := f.seen.Load(); now >= seen && now-seen < int64(checkPathInterval) {
		return nil
	}
	if err := f.checkPath(); err != nil {
		return err
	}
	f.seen.Store(now)
	return nil
}
