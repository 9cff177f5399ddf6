// Package dirlock locks a directory, so that other processes keep out of it. The lock
// ends with the process.
package dirlock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

// name is the name of the lock file in a directory.
const name = ".lock"

// ErrLocked is returned while another process has a lock that excludes the requested one.
var ErrLocked = errors.New("another process has locked the directory")

// Shared locks a directory that others may lock with Shared, too.
func Shared(directory string) (unlock func() error, err error) {
	return lock(directory, (*flock.Flock).TryRLock)
}

// Exclusive locks a directory that nobody else may lock.
func Exclusive(directory string) (unlock func() error, err error) {
	return lock(directory, (*flock.Flock).TryLock)
}

func lock(directory string, try func(*flock.Flock) (bool, error)) (unlock func() error, err error) {
	path := filepath.Join(directory, name)
	_, before := os.Lstat(path)
	l := flock.New(path, flock.SetPermissions(0o600))
	ok, err := try(l)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.Join(ErrLocked, l.Close())
	}
	if errors.Is(before, fs.ErrNotExist) { // root may have created the file; the directory's owner must be able to lock it, too
		if info, err := os.Stat(directory); err == nil {
			_ = atomicfile.CopyOwner(path, info) // fails without the right to do so, which does not matter here
		}
	}
	return l.Close, nil
}
