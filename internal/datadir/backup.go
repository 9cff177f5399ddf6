package datadir

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/store"
)

// Backup writes the database's current state and the keys, without the images, to
// a new tar file, mode 0600, completely or not at all. The server may run meanwhile.
// If the file exists, the error is [fs.ErrExist].
func (d *Dir) Backup(ctx context.Context, file string) error {
	if _, err := os.Lstat(file); err == nil {
		return &fs.PathError{Op: "backup", Path: file, Err: fs.ErrExist}
	}
	temp, err := os.MkdirTemp(filepath.Dir(file), ".backup-*") // mode 0700
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer os.RemoveAll(temp)
	database := filepath.Join(temp, databaseName)
	if err := d.Store.Backup(ctx, database); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if _, err := store.CheckBackup(ctx, databaseURL(temp)); err != nil {
		return fmt.Errorf("the copy of the database cannot be used, and the database itself may be damaged: %w", err)
	}
	return atomicfile.CreateFrom(file, 0o600, func(f *os.File) error {
		archive := tar.NewWriter(f)
		entries, err := os.ReadDir(d.Keys.Dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if !keys.IsFile(entry.Name()) {
				continue
			}
			err := archiveFile(archive, path.Join(keysName, entry.Name()), filepath.Join(d.Keys.Dir, entry.Name()))
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have been removed since
				return err
			}
		}
		// The database comes last, so that a truncated backup has none.
		if err := archiveFile(archive, databaseName, database); err != nil {
			return err
		}
		return archive.Close()
	})
}

func archiveFile(archive *tar.Writer, name, path string) error {
	f, info, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o600, ModTime: info.ModTime()}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}

// openFile opens a file to read it.
func openFile(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}
