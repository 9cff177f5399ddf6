package datadir

import (
	"errors"
	"fmt"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/dirlock"
)

// lockShared locks a data directory for a process that has it open; others may
// have it open, too.
func lockShared(path string) (unlock func() error, err error) {
	unlock, err = dirlock.Shared(path)
	return unlock, lockError(path, err, "is being restored or upgraded by another process: try again when that has ended")
}

// lockExclusive locks a data directory that no other process may have open.
func lockExclusive(path string) (unlock func() error, err error) {
	unlock, err = dirlock.Exclusive(path)
	return unlock, lockError(path, err, "is open in another process: stop the server and the commands that use it, and try again")
}

// errLocked is wrapped in the error about a lock that another process has.
var errLocked = fmt.Errorf("%w: data directory", registryusers.ErrUnavailable)

func lockError(path string, err error, locked string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dirlock.ErrLocked):
		return fmt.Errorf("%w %s %s", errLocked, path, locked)
	}
	return fmt.Errorf("data directory %s cannot be locked: %w", path, err)
}
