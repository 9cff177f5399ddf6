package ociregistry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/dirlock"
)

var errImagesMoved = errors.New("the image directory was moved, removed, replaced or unmounted: put it back, or restart the server")

// imageDirectory is the image directory that was opened. Content that is pushed to
// another directory at the same path would be lost when the first one comes back.
type imageDirectory struct {
	root   string
	opened fs.FileInfo
	close  func() error // unlocks it

	// filling is read-locked while a directory is created and gets its first file,
	// and locked while empty directories are removed.
	filling sync.RWMutex
}

// openImageDirectory opens the image directory for this process alone, and creates it if
// it does not exist: a garbage collection during a push would corrupt images.
func openImageDirectory(root string) (*imageDirectory, error) {
	if err := atomicfile.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("image directory %s cannot be created: %w", root, err)
	}
	unlock, err := dirlock.Exclusive(root)
	if errors.Is(err, dirlock.ErrLocked) {
		return nil, fmt.Errorf("image directory %s is in use by another process: stop that server first", root)
	}
	if err != nil {
		return nil, fmt.Errorf("image directory %s cannot be locked: %w", root, err)
	}
	opened, err := os.Stat(root)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("image directory %s: %w", root, err), unlock())
	}
	return &imageDirectory{root: root, opened: opened, close: unlock}, nil
}

// below returns the file path of a path of the layout.
func (d *imageDirectory) below(path string) string {
	return filepath.Join(d.root, filepath.FromSlash(path))
}

// relative returns a file path for the log: a path of the layout.
func (d *imageDirectory) relative(path string) string {
	name, _ := filepath.Rel(d.root, path) // fails only for a path that is not below it
	return filepath.ToSlash(name)
}

// isThere reports whether the directory is still at its path.
func (d *imageDirectory) isThere() bool {
	info, err := os.Stat(d.root)
	return err == nil && os.SameFile(info, d.opened)
}

// prune removes a directory of a repository if it is empty, and then the parent
// directories that become empty. It waits while a directory is being filled, which
// is not long.
func (d *imageDirectory) prune(directory string) {
	d.filling.Lock()
	defer d.filling.Unlock()
	removeEmpty(directory, d.below(repositoriesRoot))
}

// removeEmpty removes an empty directory below top, and then its parents below top,
// until one is not empty. It keeps symbolic links, with which operators move parts
// to other disks.
func removeEmpty(directory, top string) {
	for ; len(directory) > len(top); directory = filepath.Dir(directory) {
		info, err := os.Lstat(directory)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || !info.IsDir() || os.Remove(directory) != nil {
			return
		}
	}
}
