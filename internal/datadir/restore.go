package datadir

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/store"
)

// The limits of a backup. A database is limited only by the size of the backup file.
const (
	maxBackupFiles = 1000
	maxKeyFile     = 64 << 10 // bytes
)

// Restore puts the database and the keys of a backup into the data directory at
// path, which no process may have open, and creates the directory if there is none.
// It moves the replaced files to a new directory in it and returns that directory's
// path, or "" if there were none. It checks the backup first: if the backup cannot
// be used, nothing changes.
//
// After a crash, either nothing has changed, or [Open] refuses the directory until
// Restore is run again.
func Restore(ctx context.Context, path, file string) (before string, err error) {
	if err := atomicfile.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("data directory %s cannot be created: %w", path, err)
	}
	unlock, err := lockExclusive(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	r := &restore{dir: path, staged: filepath.Join(path, ".restore")}
	if err := os.RemoveAll(r.staged); err != nil { // of a restore that was interrupted
		return "", err
	}
	defer os.RemoveAll(r.staged)
	if err := r.unpack(ctx, file); err != nil {
		return "", fmt.Errorf("backup %s: %w", file, err)
	}
	for i, step := range r.steps() {
		if err := step(); err != nil {
			if i <= firstMove && !r.resumed { // nothing has moved
				_ = os.Remove(filepath.Join(path, restoringName))
				_ = os.Remove(r.before)
			}
			return "", fmt.Errorf("restore: %w", err)
		}
	}
	if os.Remove(r.before) == nil { // it is empty
		return "", nil
	}
	return r.before, nil
}

// restore is a restore in progress.
type restore struct {
	dir    string // the data directory
	staged string // in dir, for the unpacked files
	before string // in dir, for the replaced files

	resumed bool // an earlier restore was interrupted, and may have moved files
}

// unpack unpacks a backup, with every file synced, and checks it.
func (r *restore) unpack(ctx context.Context, file string) error {
	owner, err := os.Stat(r.dir)
	if err != nil {
		return err
	}
	f, info, err := openFile(file)
	if err != nil {
		return err
	}
	defer f.Close()
	keys := filepath.Join(r.staged, keysName)
	for _, dir := range []string{r.staged, keys} {
		if err := errors.Join(os.Mkdir(dir, 0o700), atomicfile.CopyOwner(dir, owner)); err != nil {
			return err
		}
	}
	archive := tar.NewReader(f)
	for n := 0; ; n++ {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return r.check(ctx)
		case err != nil:
			return notABackup(err)
		case n >= maxBackupFiles:
			return notABackup(fmt.Errorf("it has more than %d entries", maxBackupFiles))
		}
		if err := r.unpackFile(header, archive, info.Size(), owner); err != nil {
			return err
		}
	}
}

func notABackup(err error) error {
	return fmt.Errorf("the file is damaged or was not written by 'registryusers admin backup': %w", err)
}

// unpackFile unpacks a file, and refuses one that a backup cannot have.
func (r *restore) unpackFile(header *tar.Header, content io.Reader, archiveSize int64, owner fs.FileInfo) error {
	key, isKey := strings.CutPrefix(header.Name, keysName+"/")
	isKey = isKey && keys.IsFile(key) && !strings.ContainsAny(key, `/\:`)
	switch {
	case header.Typeflag != tar.TypeReg || !isKey && header.Name != databaseName:
		return notABackup(fmt.Errorf("it has the entry %.100q", header.Name))
	case isKey && header.Size > maxKeyFile, header.Size > archiveSize:
		return notABackup(fmt.Errorf("its entry %.100q has %d bytes", header.Name, header.Size))
	}
	path := filepath.Join(r.staged, filepath.FromSlash(header.Name))
	err := atomicfile.CreateFrom(path, 0o600, func(f *os.File) error {
		_, err := io.CopyN(f, content, header.Size)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = notABackup(errors.New("it ends too early"))
		}
		return errors.Join(err, atomicfile.CopyOwner(f.Name(), owner))
	})
	if errors.Is(err, fs.ErrExist) {
		return notABackup(fmt.Errorf("it has the entry %.100q twice", header.Name))
	}
	return err
}

// check returns an error if the unpacked files cannot be used.
func (r *restore) check(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(r.staged, databaseName)); err != nil {
		return notABackup(errors.New("it has no database"))
	}
	known, err := store.CheckBackup(ctx, databaseURL(r.staged))
	if err != nil {
		return fmt.Errorf("its database: %w", err)
	}
	id, _, err := keys.ReadServerKey(filepath.Join(r.staged, keysName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notABackup(errors.New("it has no server key"))
	case err != nil:
		return fmt.Errorf("its server key: %w", err)
	case id != known:
		return fmt.Errorf("its server key has the id %s, but its database was created with the key %s", id, known)
	}
	return nil
}

// firstMove is the index of the first step that moves a file.
const firstMove = 1

const beforePrefix = "before-restore-"

// steps returns the steps that put the unpacked files in place. The first step
// creates a mark for [Open], and the last one removes it: after a crash or a power
// loss in between, Open refuses the directory, and the next restore continues.
func (r *restore) steps() []func() error {
	mark := filepath.Join(r.dir, restoringName)
	before := beforePrefix + time.Now().UTC().Format("20060102T150405.000000Z")
	text, err := os.ReadFile(mark)
	r.resumed = err == nil
	if strings.HasPrefix(string(text), beforePrefix) && !strings.ContainsAny(string(text), `/\:`) {
		before = string(text) // where the interrupted restore moved files to
	}
	r.before = filepath.Join(r.dir, before)
	steps := []func() error{func() error {
		owner, err := os.Stat(r.dir)
		if err == nil {
			err = errors.Join(os.MkdirAll(r.before, 0o700), atomicfile.CopyOwner(r.before, owner))
		}
		if err != nil {
			return err
		}
		return atomicfile.Write(mark, []byte(before), 0o600)
	}}
	// The keys come first: if they are on another file system, the move fails before
	// anything has been moved.
	for _, name := range []string{keysName, databaseName, databaseName + "-journal", databaseName + "-wal", databaseName + "-shm", databaseName + store.DamagedSuffix} {
		steps = append(steps, func() error {
			path, before := filepath.Join(r.dir, name), filepath.Join(r.before, name)
			if _, err := os.Lstat(before); err == nil { // then the interrupted restore put the file at path there
				return os.RemoveAll(path)
			}
			if err := os.Rename(path, before); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
	}
	steps = append(steps, r.sync) // all old files are moved before the first new one takes their place
	for _, name := range []string{databaseName, keysName} {
		steps = append(steps, func() error {
			return os.Rename(filepath.Join(r.staged, name), filepath.Join(r.dir, name))
		})
	}
	return append(steps, r.sync, func() error { return atomicfile.Remove(mark) })
}

// sync makes the moves of the previous steps survive a power loss.
func (r *restore) sync() error { return errors.Join(syncDir(r.before), syncDir(r.dir)) }

// syncDir is a variable for tests, which record its calls.
var syncDir = atomicfile.SyncDir
