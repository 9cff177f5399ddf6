package ociregistry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

var errImagesMoved = errors.New("the image directory was moved, removed, replaced or unmounted: put it back, or restart the server")

// place is the image directory as it was opened. What is pushed into another
// one at the same path would be lost when the first one comes back.
type imageDirectory struct {
	root   string // "": images are in memory
	opened fs.FileInfo

	// filling is read-locked while a directory is made and gets its first file,
	// and locked while empty directories are removed.
	filling sync.RWMutex
}

func openImageDirectory(root string) (*imageDirectory, error) {
	if root == "" {
		return &imageDirectory{}, nil
	}
	opened, err := os.Stat(root)
	return &imageDirectory{root: root, opened: opened}, err
}

// isThere reports whether the directory is still at its path.
func (p *imageDirectory) isThere() bool {
	if p.root == "" {
		return true
	}
	info, err := os.Stat(p.root)
	return err == nil && os.SameFile(info, p.opened)
}

// prune removes a directory of a repository, and those above it that hold
// nothing else, if they are empty. It does nothing while a directory is being
// filled: a later purge of the uploads removes what is left.
func (p *imageDirectory) prune(directory string) {
	if !p.filling.TryLock() {
		return
	}
	defer p.filling.Unlock()
	removeEmpty(directory, below(p.root, repositoriesRoot))
}

// removeEmpty removes a directory below top, and then those above it up to top,
// until one is not empty. It keeps symbolic links: operators move parts to
// other disks.
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

// directoryMode is the mode of the library's directories. They lie below the
// image directory, which is its owner's alone.
const directoryMode = 0o777
