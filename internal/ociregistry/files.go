package ociregistry

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

// files is the library's storage driver, with checks of what the library reads: a
// damaged file is logged by name, and the library gets a "not found" error for it.
// So a pull of it gets 404, and pushing the content again repairs it.
type files struct {
	driver.StorageDriver
	logger  *slog.Logger
	reserve *reserve
	images  *imageDirectory
	making  sync.Mutex   // locked while directories are created
	sizing  sync.RWMutex // read-locked while a push writes a size file, locked while addSize does
}

type replacingKey struct{}

// withReplacement returns a context in which the library does not find a digest's
// content, so that the pushed content replaces the existing one, which may be
// damaged.
func withReplacement(ctx context.Context, d digest.Digest) context.Context {
	return context.WithValue(ctx, replacingKey{}, d)
}

// open opens a blob's content.
func (f *files) open(d digest.Digest) (*os.File, error) { return os.Open(f.images.below(dataPath(d))) }

// touchInterval is the greatest age of a layer link's time that touch leaves as it
// is.
const touchInterval = time.Hour

// touch updates the time of a layer link, so that the garbage collection keeps it: a
// client that finds a blob does not push it again, and may push a manifest that
// names it later.
func (f *files) touch(repository string, d digest.Digest) {
	link := f.images.below(layerLinkPath(repository, d))
	now := time.Now()
	if info, err := os.Stat(link); err == nil && now.Sub(info.ModTime()) > touchInterval {
		_ = os.Chtimes(link, time.Time{}, now) // if it fails, the blob may be collected early
	}
}

// Stat implements [driver.StorageDriver].
func (f *files) Stat(ctx context.Context, path string) (driver.FileInfo, error) {
	d, isData := dataDigest(path)
	if isData && ctx.Value(replacingKey{}) == d {
		return nil, driver.PathNotFoundError{Path: path, DriverName: f.Name()}
	}
	info, err := f.StorageDriver.Stat(ctx, path)
	if err != nil || !isData || info.IsDir() {
		return info, err
	}
	if size, known := f.size(ctx, d); known && info.Size() != size || info.Size() == 0 && d != emptyDigest {
		return nil, f.damaged(ctx, path, "the content of a blob is not what was pushed")
	}
	return info, nil
}

var emptyDigest = digest.FromBytes(nil)

// GetContent implements [driver.StorageDriver].
func (f *files) GetContent(ctx context.Context, path string) ([]byte, error) {
	content, err := f.StorageDriver.GetContent(ctx, path)
	if err != nil {
		return nil, err
	}
	switch filepath.Base(path) {
	case "link":
		if _, ok := linkTarget(path, content); !ok {
			return nil, f.damaged(ctx, path, "a link does not contain its digest")
		}
	case "startedat":
		if _, err := time.Parse(time.RFC3339, string(content)); err != nil {
			return nil, f.damaged(ctx, path, "the start of an upload is not a time")
		}
	}
	return content, nil
}

// Reader implements [driver.StorageDriver].
func (f *files) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	reader, err := f.StorageDriver.Reader(ctx, path, offset)
	d, isData := dataDigest(path)
	if err != nil || !isData || offset != 0 {
		return reader, err
	}
	return &verifiedReader{reader, d.Verifier(), func() error {
		return f.damaged(ctx, path, "the content of a blob is not what was pushed")
	}}, nil
}

// verifiedReader verifies content when it has been read to its end.
type verifiedReader struct {
	io.ReadCloser
	verifier digest.Verifier
	damaged  func() error
}

func (v *verifiedReader) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	_, _ = v.verifier.Write(p[:n]) // never fails
	if errors.Is(err, io.EOF) && !v.verifier.Verified() {
		err = v.damaged()
	}
	return n, err
}

// fill creates the directory of a file, if the reserve allows it, and calls write, which
// writes the file. Until write returns, the directory is not removed, even if it is
// empty. If write fails, fill leaves no empty directories.
func (f *files) fill(ctx context.Context, path string, write func() error) (err error) {
	directory := filepath.Dir(f.images.below(path))
	defer func() {
		if recordDiskFull(ctx, err) != nil {
			f.images.prune(directory)
		}
	}()
	f.images.filling.RLock()
	defer f.images.filling.RUnlock()
	if err := f.makeDirectory(ctx, directory); err != nil {
		return err
	}
	return write()
}

// makeDirectory creates a directory. Only one goroutine at a time creates directories: a
// repository name may have a hundred, and many uploads that start together must not
// exceed the reserve.
func (f *files) makeDirectory(ctx context.Context, directory string) error {
	if info, err := os.Stat(directory); err == nil && info.IsDir() {
		return nil
	}
	f.making.Lock()
	defer f.making.Unlock()
	if f.reserve.refuses(ctx) {
		return errReserve
	}
	return os.MkdirAll(directory, directoryMode)
}

// PutContent implements [driver.StorageDriver].
func (f *files) PutContent(ctx context.Context, path string, content []byte) error {
	if f.reserve.refusesWrite(ctx, len(content)) { // before directories are created
		return recordDiskFull(ctx, errReserve)
	}
	return f.fill(ctx, path, func() error {
		if err := f.writeSize(path, int64(len(content))); err != nil {
			return err
		}
		return f.StorageDriver.PutContent(ctx, path, content)
	})
}

// Move implements [driver.StorageDriver]. The library moves a blob's content that it
// has verified.
func (f *files) Move(ctx context.Context, from, to string) error {
	return f.fill(ctx, to, func() error {
		info, err := f.StorageDriver.Stat(ctx, from)
		if err != nil {
			return err
		}
		if err := f.writeSize(to, info.Size()); err != nil {
			return err
		}
		if err := f.StorageDriver.Move(ctx, from, to); err != nil {
			return err
		}
		return atomicfile.SyncDir(filepath.Dir(f.images.below(to))) // the library does not sync it
	})
}

// Writer implements [driver.StorageDriver].
func (f *files) Writer(ctx context.Context, path string, appends bool) (writer driver.FileWriter, err error) {
	err = f.fill(ctx, path, func() error {
		writer, err = f.StorageDriver.Writer(ctx, path, appends)
		return err
	})
	if err != nil {
		return nil, err
	}
	if e := exchangeOf(ctx); e != nil {
		// The library does not close it if another write fails, as on a full disk.
		e.atEnd = append(e.atEnd, func() { _ = writer.Close() }) // usually it is closed already
	}
	return &fileWriter{writer, ctx, f.reserve}, nil
}

// fileWriter writes an upload as long as the reserve allows it.
type fileWriter struct {
	driver.FileWriter
	ctx     context.Context // of the request
	reserve *reserve
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if w.reserve.refusesWrite(w.ctx, len(p)) {
		return 0, recordDiskFull(w.ctx, errReserve)
	}
	n, err := w.FileWriter.Write(p)
	if recordDiskFull(w.ctx, err) != nil {
		err = withoutPath(err) // the library logs the text
	}
	return n, err
}

func (w *fileWriter) Commit(ctx context.Context) error {
	return recordDiskFull(w.ctx, w.FileWriter.Commit(ctx))
}

func (w *fileWriter) Close() error { return recordDiskFull(w.ctx, w.FileWriter.Close()) }

// damaged logs that a file is damaged and returns a "not found" error.
func (f *files) damaged(ctx context.Context, path, what string) error {
	f.log(ctx, path, what+"; it is not served until it is pushed again", nil)
	return driver.PathNotFoundError{Path: path, DriverName: f.Name()}
}

// log logs what is wrong with a file, and why, if err is not nil.
func (f *files) log(ctx context.Context, path, what string, err error) {
	attrs := []slog.Attr{slog.String("path", strings.TrimPrefix(path, "/"))}
	if err != nil {
		attrs = append(attrs, slog.String("error", withoutPath(err).Error()))
	}
	f.logger.LogAttrs(ctx, slog.LevelError, what, attrs...)
}

// withoutPath returns the cause of a storage error without the path of its file.
func withoutPath(err error) error {
	var wrapped driver.Error // without Unwrap
	if errors.As(err, &wrapped) {
		err = wrapped.Detail
	}
	if file := new(fs.PathError); errors.As(err, &file) {
		return file.Err
	}
	if link := new(os.LinkError); errors.As(err, &link) {
		return link.Err
	}
	return err
}

var errTooLarge = errors.New("it is too large")

// readAtMost reads a file of at most max bytes. If it is larger, it returns errTooLarge
// and the beginning.
func readAtMost(path string, max int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, max+1))
	if err == nil && int64(len(content)) > max {
		err = errTooLarge
	}
	return content, err
}
