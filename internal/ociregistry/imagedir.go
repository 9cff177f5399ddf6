package ociregistry

import (
	"errors"
	"io/fs"
	"os"
)

var errImagesMoved = errors.New("the image directory was moved, removed, replaced or unmounted: put it back, or restart the server")

// place is the image directory as it was opened. What is pushed into another
// one at the same path would be lost when the first one comes back.
type imageDirectory struct {
	root   string // "": images are in memory
	opened fs.FileInfo
}

func openImageDirectory(root string) (*imageDirectory, error) {
	if root == "" {
		return &imageDirectory{}, nil
	}
	opened, err := os.Stat(root)
	return &imageDirectory{root, opened}, err
}

// isThere reports whether the directory is still at its path.
func (p *imageDirectory) isThere() bool {
	if p.root == "" {
		return true
	}
	info, err := os.Stat(p.root)
	return err == nil && os.SameFile(info, p.opened)
}
