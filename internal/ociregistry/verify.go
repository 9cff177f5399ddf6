package ociregistry

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

const (
	// verifyRate is how many bytes of content are hashed in a second.
	verifyRate = 50 << 20
	// verifyBuffer is how many bytes of content are hashed at a time.
	verifyBuffer = 256 << 10
	// blobCost is how many bytes of content a blob counts for beside its own:
	// finding out that it has its size file takes time, too.
	blobCost = 32 << 10
)

// verifyBlobs verifies the blobs that have no size file, or a damaged one, and
// writes it. Earlier versions wrote none, and images that were copied here
// from another registry have none. A blob whose content does not fit its digest is
// logged, and missing from then on until it is pushed again.
//
// When each blob has its size file, verifyBlobs leaves a mark, and does nothing at
// later starts. It ends with ctx, and the next start continues.
func (f *files) verifyBlobs(ctx context.Context) {
	if _, err := os.Stat(f.images.below(sizesComplete)); err == nil {
		return
	}
	v := &blobVerifier{files: f, buffer: make([]byte, verifyBuffer)}
	err := f.images.eachBlob(ctx, func(d digest.Digest, _ string) error { return v.verify(ctx, d) })
	if err == nil && v.failed == 0 {
		err = f.markSizesComplete()
	}
	if ctx.Err() != nil {
		return
	}
	if n := v.intact + v.damaged; n > 0 {
		f.logger.LogAttrs(ctx, slog.LevelInfo, "verified blobs that had no valid size file", slog.Int("blobs", n), slog.Int("damaged", v.damaged))
	}
	if err != nil {
		f.log(ctx, blobsRoot, "not all blobs without a valid size file could be verified; the next start continues", err)
	}
}

// markSizesComplete leaves the mark, unless the image directory was moved or replaced.
func (f *files) markSizesComplete() error {
	if !f.images.isThere() {
		return errImagesMoved
	}
	mark := f.images.below(sizesComplete)
	if err := atomicfile.MkdirAll(filepath.Dir(mark), directoryMode); err != nil {
		return err
	}
	return atomicfile.Write(mark, nil, sizeMode)
}

type blobVerifier struct {
	files  *files
	buffer []byte

	intact, damaged, failed int // blobs
}

// verify verifies a blob if its size is not known. An error ends the walk.
func (v *blobVerifier) verify(ctx context.Context, d digest.Digest) error {
	if err := pause(ctx, blobCost); err != nil {
		return err
	}
	_, err := v.files.readSize(d)
	if err == nil {
		return nil
	}
	if errors.Is(err, errSizeDamaged) {
		v.files.log(ctx, sizePath(d), "the size file of a blob is damaged, and the blob is verified again", nil)
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = v.hash(ctx, d)
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist): // there is no content
	case ctx.Err() != nil, errors.Is(err, errReserve):
		return err
	default:
		v.failed++
		v.files.log(ctx, dataPath(d), "a blob could not be verified", err)
	}
	return nil
}

// hash writes the size file of a blob by its content.
func (v *blobVerifier) hash(ctx context.Context, d digest.Digest) error {
	file, err := v.files.open(d)
	if err != nil {
		return err
	}
	defer file.Close()
	verifier := d.Verifier()
	size, err := io.CopyBuffer(verifier, &slowReader{ctx, file}, v.buffer)
	if err != nil {
		return err
	}
	if v.files.reserve.refuses(ctx) {
		return errReserve // a size file takes an inode
	}
	if verifier.Verified() {
		v.intact++
		return v.files.addSize(d, strconv.FormatInt(size, 10))
	}
	v.damaged++
	v.files.log(ctx, dataPath(d), "the content of a blob does not fit its digest; it is not served until it is pushed again", nil)
	return v.files.addSize(d, damagedBlob)
}

// slowReader reads at [verifyRate], until ctx ends.
type slowReader struct {
	ctx context.Context
	io.Reader
}

func (r *slowReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		return n, err
	}
	return n, pause(r.ctx, n)
}

// pause waits as long as n bytes take at [verifyRate].
func pause(ctx context.Context, n int) error {
	timer := time.NewTimer(time.Duration(n) * time.Second / verifyRate)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
