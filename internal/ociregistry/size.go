package ociregistry

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

// The library does not check a blob's data file when it reads it. So the size of the
// content is stored beside it, in a file that the library ignores. The digest
// determines the size: a size file never becomes wrong. It is written before the
// data file, so a crash between the two leaves no wrong pair.

// sizePath returns the path of the file that contains a blob's size in decimal.
func sizePath(d digest.Digest) string { return path.Join(path.Dir(dataPath(d)), "size") }

// size returns the size of a blob as it was pushed. known is false for blobs that a
// version without size files stored, and if the size file is damaged, which is
// logged.
func (f *files) size(ctx context.Context, d digest.Digest) (size int64, known bool) {
	if f.root == "" { // in memory there are no size files
		return 0, false
	}
	const maxDigits = 19
	content, err := readAtMost(below(f.root, sizePath(d)), maxDigits)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false
	}
	if err == nil {
		size, err = strconv.ParseInt(string(content), 10, 64)
	}
	if err != nil || strconv.FormatInt(size, 10) != string(content) || size < 0 {
		f.logger.LogAttrs(ctx, slog.LevelError, "the size file of a blob is damaged; the blob is served unchecked until it is pushed again", slog.String("path", strings.TrimPrefix(sizePath(d), "/")))
		return 0, false
	}
	return size, true
}

// writeSize writes the size file of a blob whose verified content is about to be
// stored. The file is on the disk when writeSize returns.
func (f *files) writeSize(d digest.Digest, size int64) error {
	if f.root == "" {
		return nil
	}
	file := below(f.root, sizePath(d))
	if err := atomicfile.MkdirAll(filepath.Dir(file), directoryMode); err != nil {
		return err
	}
	return atomicfile.Write(file, []byte(strconv.FormatInt(size, 10)), 0o644)
}
