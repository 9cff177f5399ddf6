package sqlite

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/diskspace"
)

// ballast is a file that reserves disk space. It is removed when the disk is full,
// so that users and keys can still be deleted and restricted. While it is missing,
// nothing is added to the database. A second, empty file belongs to it: to open the
// database, SQLite needs two inodes, for its -wal and its -shm.
type ballast struct {
	path string
	kept atomic.Bool // [Store.ReserveDisk] was called: the file should exist
}

// maxBallast is the size of the ballast in bytes; on small file systems it is 1/32
// of their size.
const maxBallast = 16 << 20

// ballastFiles is the number of inodes of the ballast.
const ballastFiles = 2

// roomForBallast is how many times the ballast's size and inodes must be free
// before it is created.
const roomForBallast = 2

var errNoRoom = fmt.Errorf("%w: the disk is full: nothing can be added until %d MiB are free, or a sixteenth of a small disk",
	registryusers.ErrUnavailable, maxBallast*roomForBallast>>20)

// ReserveDisk creates the ballast beside the database if it is missing and there
// is room. From the first call on, nothing is added while the ballast is missing.
// ReserveDisk reports whether it exists.
func (s *Store) ReserveDisk() (bool, error) {
	s.file.ballast.kept.Store(true)
	if err := s.file.checkPath(); err != nil { // not in another directory
		return false, err
	}
	err := s.file.ballast.make()
	return !s.file.ballast.isReleased(), err
}

// DiskFull implements store.Maintenance: it reports whether the ballast is missing.
func (s *Store) DiskFull() bool { return s.file.ballast.isReleased() }

func (b *ballast) isReleased() bool {
	if !b.kept.Load() {
		return false
	}
	_, err := os.Stat(b.path)
	return errors.Is(err, fs.ErrNotExist)
}

// release removes the ballast if a full disk caused err. It reports whether that
// made room.
func (b *ballast) release(err error) bool {
	if !mayBeFull(err) {
		return false
	}
	space, ok := diskspace.Of(filepath.Dir(b.path))
	noSpace := ok && space.Free < maxBallast
	noFiles := ok && space.Files > 0 && space.FreeFiles < ballastFiles
	if !isFull(err) && !noSpace && !noFiles {
		return false // another I/O error
	}
	_ = os.Remove(b.second())
	return os.Remove(b.path) == nil
}

// second returns the path of the second file.
func (b *ballast) second() string { return b.path + "-inode" }

// make creates the ballast atomically if it is missing and there is room.
func (b *ballast) make() error {
	if _, err := os.Stat(b.path); err == nil {
		return b.makeSecond() // earlier versions had only the first
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	size := uint64(maxBallast)
	if space, ok := diskspace.Of(filepath.Dir(b.path)); ok {
		size = min(size, space.Total/32)
		if space.Free < size*roomForBallast || space.Files > 0 && space.FreeFiles < ballastFiles*roomForBallast {
			return nil
		}
	}
	if err := b.makeSecond(); err != nil {
		return err
	}
	content := make([]byte, size)
	_, _ = rand.Read(content) // random, because file systems compress other content
	err := atomicfile.Write(b.path, content, 0o600)
	if diskspace.IsFull(err) {
		return nil
	}
	return err
}

func (b *ballast) makeSecond() error {
	file, err := os.OpenFile(b.second(), os.O_WRONLY|os.O_CREATE, 0o600)
	if diskspace.IsFull(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}
