package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/atomicfile"
)

// lockShared locks a data directory for a process that has it open; others may
// have it open, too.
func lockShared(path string) (unlock func() error, err error) {
	return lock(path, (*flock.Flock).TryRLock, "is being restored or upgraded by another process: try again when that has ended")
}

// lockAlone locks a data directory that no other process may have open.
func lockAlone(path string) (unlock func() error, err error) {
	return lock(path, (*flock.Flock).TryLock, "is open in another process: stop the server and the commands that use it, and try again")
}

// errLocked is wrapped in the error about a lock that another process holds.
var errLocked = fmt.Errorf("%w: data directory", registryusers.ErrUnavailable)

func lock(path string, try func(*flock.Flock) (bool, error), taken string) (unlock func() error, err error) {
	name := filepath.Join(path, lockName)
	_, before := os.Lstat(name)
	l := flock.New(name, flock.SetPermissions(0o600))
	ok, err := try(l)
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be locked: %w", path, err)
	}
	if !ok {
		return nil, errors.Join(fmt.Errorf("%w %s %s", errLocked, path, taken), l.Close())
	}
	if errors.Is(before, fs.ErrNotExist) { // root may have created the file; the directory's owner must be able to lock it, too
		if info, err := os.Stat(path); err == nil {
			_ = atomicfile.CopyOwner(name, info) // fails without the right to do so, which does not matter here
		}
	}
	return l.Close, nil
}
