package ociregistry

import (
	"context"
	"errors"
	"hash"
	"io"
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
	root    string // directory of the files
	logger  *slog.Logger
	reserve *reserve
	images  *imageDirectory
	making  sync.Mutex   // locked while directories are created
	sizing  sync.RWMutex // read-locked while a size file is written, locked while a damaged one is removed
}

type replacingKey struct{}

// withReplacement returns a context in which the library does not find a digest's
// content, so that the pushed content replaces the existing one, which may be
// damaged.
func withReplacement(ctx context.Context, d digest.Digest) context.Context {
	return context.WithValue(ctx, replacingKey{}, d)
}

// open opens a blob's content.
func (f *files) open(d digest.Digest) (*os.File, error) {
	return os.Open(filepath.Join(f.root, filepath.FromSlash(dataPath(d))))
}

// touchInterval is the greatest age of a layer link's time that touch leaves as it
// is.
const touchInterval = time.Hour

// touch updates the time of a layer link, so that the garbage collection keeps it: a
// client that finds a blob does not push it again, and may push a manifest that
// names it later.
func (f *files) touch(repository string, d digest.Digest) {
	link := filepath.Join(f.root, filepath.FromSlash(layerLinkPath(repository, d)))
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
	size, known := f.size(ctx, d)
	if known && size < 0 {
		return nil, f.damaged(ctx, path, "the content of a blob does not match its digest")
	}
	if known && info.Size() != size {
		return nil, f.damaged(ctx, path, "the size of a blob's content differs from what was pushed")
	}
	if info.Size() == 0 && d != emptyDigest {
		return nil, f.damaged(ctx, path, "the content of a blob is empty")
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
	switch {
	case strings.HasSuffix(path, "/link"):
		if _, ok := linkTarget(path, content); !ok {
			return nil, f.damaged(ctx, path, "a link does not contain its digest")
		}
	case strings.HasSuffix(path, "/startedat"):
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
	return &verifier{ReadCloser: reader, hash: d.Algorithm().Hash(), failure: func(h hash.Hash) error {
		if digest.NewDigest(d.Algorithm(), h) == d {
			return nil
		}
		return f.damaged(ctx, path, "the content of a blob does not match its digest")
	}}, nil
}

// verifier verifies content when it has been read to its end.
type verifier struct {
	io.ReadCloser
	hash    hash.Hash
	failure func(hash.Hash) error // returns the error for the hash of all content, or nil
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if failure := v.failure(v.hash); failure != nil {
			return n, failure
		}
	}
	return n, err
}

// ensureDirectory creates the directory of a file that is about to be written, if the reserve
// allows it. The directory is not removed until filled is called, even if it is
// empty. Only one goroutine at a time creates directories: a repository name may
// have a hundred, and many uploads that start together must not exceed the reserve.
func (f *files) ensureDirectory(ctx context.Context, path string) (filled func(), err error) {
	f.images.filling.RLock()
	directory := filepath.Dir(below(f.root, path))
	if info, err := os.Stat(directory); err == nil && info.IsDir() {
		return f.images.filling.RUnlock, nil
	}
	if err := f.makeDirectory(ctx, directory); err != nil {
		f.images.filling.RUnlock()
		f.images.prune(directory)
		return nil, err
	}
	return f.images.filling.RUnlock, nil
}

func (f *files) makeDirectory(ctx context.Context, directory string) error {
	f.making.Lock()
	defer f.making.Unlock()
	if f.reserve.check(ctx) {
		return errReserve
	}
	return os.MkdirAll(directory, directoryMode)
}

// PutContent implements [driver.StorageDriver].
func (f *files) PutContent(ctx context.Context, path string, content []byte) error {
	return recordDiskFull(ctx, f.putContent(ctx, path, content))
}

func (f *files) putContent(ctx context.Context, path string, content []byte) (err error) {
	if f.reserve.use(ctx, len(content)) { // before directories are created
		return errReserve
	}
	filled, err := f.ensureDirectory(ctx, path)
	if err != nil {
		return err
	}
	defer func() {
		filled()
		if err != nil { // the directory may be new
			f.images.prune(filepath.Dir(below(f.root, path)))
		}
	}()
	if d, isData := dataDigest(path); isData {
		if err := f.writeSize(d, int64(len(content))); err != nil {
			return err
		}
	}
	return f.StorageDriver.PutContent(ctx, path, content)
}

// Move implements [driver.StorageDriver].
func (f *files) Move(ctx context.Context, from, to string) error {
	return recordDiskFull(ctx, f.move(ctx, from, to))
}

func (f *files) move(ctx context.Context, from, to string) error {
	filled, err := f.ensureDirectory(ctx, to)
	if err != nil {
		return err
	}
	defer filled()
	d, isData := dataDigest(to)
	if !isData {
		return f.StorageDriver.Move(ctx, from, to)
	}
	info, err := f.StorageDriver.Stat(ctx, from) // the library has verified the content
	if err != nil {
		return err
	}
	if err := f.writeSize(d, info.Size()); err != nil {
		return err
	}
	if err := f.StorageDriver.Move(ctx, from, to); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(below(f.root, to))) // the library does not sync it
}

// Writer implements [driver.StorageDriver].
func (f *files) Writer(ctx context.Context, path string, appends bool) (driver.FileWriter, error) {
	filled, err := f.ensureDirectory(ctx, path)
	if err != nil {
		return nil, recordDiskFull(ctx, err)
	}
	defer filled()
	writer, err := f.StorageDriver.Writer(ctx, path, appends)
	if err != nil {
		return nil, recordDiskFull(ctx, err)
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
	if w.reserve.use(w.ctx, len(p)) {
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
	f.logger.LogAttrs(ctx, slog.LevelError, what+"; it is not served until it is pushed again", slog.String("path", strings.TrimPrefix(path, "/")))
	return driver.PathNotFoundError{Path: path, DriverName: f.Name()}
}
