package ociregistry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// below returns a directory or file of the layout below the image directory.
func below(root, path string) string { return filepath.Join(root, filepath.FromSlash(path)) }

// relative returns a path as logs name it: relative to the image directory.
func relative(root, path string) string {
	if name, err := filepath.Rel(root, path); err == nil {
		return filepath.ToSlash(name)
	}
	return filepath.Base(path)
}

// eachRepository calls visit with the directory of each repository (and of
// what only holds repositories), until it fails or ctx ends. It reads no
// directory inside of a repository. Instead of a directory that cannot be read,
// visit gets the error.
func eachRepository(ctx context.Context, root string, visit func(directory string, err error) error) error {
	return eachRepositoryIn(ctx, below(root, repositoriesRoot), maxDepth, visit)
}

// maxDepth is more than the components of the longest repository name, and
// ends a circle of symbolic links.
const maxDepth = 256

func eachRepositoryIn(ctx context.Context, directory string, depth int, visit func(string, error) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := directories(directory)
	if err := visit(directory, err); err != nil || depth == 0 {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "_") { // of the repository itself
			continue
		}
		if err := eachRepositoryIn(ctx, filepath.Join(directory, name), depth-1, visit); err != nil {
			return err
		}
	}
	return nil
}

// directories returns the names of the directories in one, and of symbolic
// links to directories. There are none in a directory that does not exist.
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
		if entry.Type()&fs.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(path, entry.Name()))
			if err != nil {
				return nil, err
			}
			if !info.IsDir() {
				continue
			}
		} else if !entry.IsDir() {
			continue
		}
		names = append(names, entry.Name())
	}
	return names, nil
}
