// Package atomicfile writes files so that a crash or a power loss at any moment
// leaves either the old content or the new one, complete.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// sync is a variable for tests, which record its calls.
var sync = (*os.File).Sync

// Write replaces the content of the file at path, or creates it with the mode.
// An existing file keeps its owner and mode; a symbolic link is followed and kept.
// The content is on the disk when Write returns.
func Write(path string, data []byte, mode fs.FileMode) error {
	path, old, err := Resolve(path)
	if err != nil {
		return err
	}
	temp, err := writeTemp(path, old, mode, writer(data))
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return SyncDir(filepath.Dir(path))
}

// Create is [Write] for a new file. If there is a file or a symbolic link at path,
// even a broken link, the error is [fs.ErrExist].
func Create(path string, data []byte, mode fs.FileMode) error {
	return CreateFrom(path, mode, writer(data))
}

// CreateFrom is [Create], but calls write to write the content, to a file with a
// temporary name.
func CreateFrom(path string, mode fs.FileMode, write func(*os.File) error) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	temp, err := writeTemp(path, nil, mode, write)
	if err != nil {
		return err
	}
	// Unlike a rename, a link fails if another process has created the file.
	if err := errors.Join(os.Link(temp, path), os.Remove(temp)); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Remove removes the file at path; after a power loss it does not come back.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// MkdirAll is [os.MkdirAll], but the new directories survive a power loss.
func MkdirAll(path string, mode fs.FileMode) error {
	var parents []string // of the missing directories
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		parents = append(parents, filepath.Dir(dir))
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	for _, dir := range parents {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// Check returns an error if [Write] cannot write the file at path with more bytes
// than it has now.
func Check(path string, more int) error {
	path, old, err := Resolve(path)
	if err != nil {
		return err
	}
	if old != nil {
		more += int(old.Size())
	}
	temp, err := writeTemp(path, old, 0o600, writer(make([]byte, more)))
	if err != nil {
		return err
	}
	return os.Remove(temp)
}

// Resolve follows the symbolic links at path and returns the path of their target.
// info is nil if there is no such file yet.
func Resolve(path string) (resolved string, info fs.FileInfo, err error) {
	const maxLinks = 40
	for range maxLinks {
		dir, name := filepath.Split(path) // unlike Dir, keeps the ".." after symbolic links
		if dir == "" {
			dir = "."
		}
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", nil, err
		}
		path = filepath.Join(dir, name)
		info, err = os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path, nil, nil
		case err != nil:
			return "", nil, err
		case info.Mode().IsRegular():
			return path, info, nil
		case info.Mode().Type() != fs.ModeSymlink:
			return "", nil, fmt.Errorf("%s is not a regular file", path)
		}
		target, err := os.Readlink(path)
		if err != nil {
			return "", nil, err
		}
		if !filepath.IsAbs(target) {
			target = dir + string(filepath.Separator) + target
		}
		path = target
	}
	return "", nil, fmt.Errorf("%s: too many symbolic links", path)
}

func writer(data []byte) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}
}

// writeTemp writes a synced temporary file beside path and returns its path. The
// file has the owner and mode of old, or mode if old is nil.
func writeTemp(path string, old fs.FileInfo, mode fs.FileMode, write func(*os.File) error) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed already
			_ = os.Remove(f.Name())
		}
	}()
	if old != nil {
		if err := CopyOwner(f.Name(), old); err != nil {
			return "", fmt.Errorf("%s belongs to another user, and the new file cannot be given to that user: %w", path, err)
		}
		mode = old.Mode().Perm()
	}
	if err := write(f); err != nil {
		return "", err
	}
	return f.Name(), errors.Join(f.Chmod(mode), sync(f), f.Close())
}
