package ociregistry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// eachRepository calls visit with the directory, with each repository below it, and with
// each directory that only contains repositories, until visit returns an error or ctx
// ends. It does not read the directories inside a repository. If a directory cannot
// be read, visit gets the error.
func eachRepository(ctx context.Context, directory string, visit func(directory string, err error) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := directories(directory)
	if err := visit(directory, err); err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "_") { // of the repository itself
			continue
		}
		if err := eachRepository(ctx, filepath.Join(directory, name), visit); err != nil {
			return err
		}
	}
	return nil
}

// eachBlob calls visit with each blob and its directory, until it fails or ctx ends.
func (d *imageDirectory) eachBlob(ctx context.Context, visit func(d digest.Digest, directory string) error) error {
	return eachDirectory(ctx, d.below(blobsRoot), 3, func(directory string) error {
		blob, ok := pathDigest(filepath.Base(filepath.Dir(filepath.Dir(directory))), filepath.Base(directory))
		if !ok {
			return nil
		}
		return visit(blob, directory)
	})
}

// eachDirectory calls visit with the directories that are depth levels below a
// directory, until it fails or ctx ends.
func eachDirectory(ctx context.Context, directory string, depth int, visit func(directory string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth == 0 {
		return visit(directory)
	}
	names, err := directories(directory)
	for _, name := range names {
		if err := eachDirectory(ctx, filepath.Join(directory, name), depth-1, visit); err != nil {
			return err
		}
	}
	return err
}

// directories returns the names of the directories in the directory at path, and of
// symbolic links to directories, with which operators move parts to other disks. A
// broken link is an error, because it may lead to a disk that is not mounted. If
// path does not exist, directories returns no names.
func directories(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		isDir := entry.IsDir()
		if entry.Type()&fs.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(path, entry.Name()))
			if err != nil {
				return nil, err
			}
			isDir = info.IsDir()
		}
		if isDir {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
