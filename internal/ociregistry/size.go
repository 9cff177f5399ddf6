package ociregistry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

// The library does not check a blob's data file when it reads it. So the size of the
// content is stored beside it, in a file that the library ignores. The digest
// determines the size: a size file never becomes wrong. It is written before the
// data file, so a crash between the two leaves no wrong pair.

// sizePath returns the path of the file that contains a blob's size in decimal.
func sizePath(d digest.Digest) string { return path.Join(path.Dir(dataPath(d)), "size") }

// damagedBlob is in the size file of a blob whose content did not fit its digest
// when it was verified. Pushing the blob again replaces it.
const damagedBlob = "damaged"

var errSizeDamaged = errors.New("it is not the size of a blob")

// readSize reads a blob's size file. The size is -1, which no content has, if the
// blob is known to be damaged. errSizeDamaged is returned for any other content,
// and [fs.ErrNotExist] if there is no file.
func (f *files) readSize(d digest.Digest) (int64, error) {
	const maxDigits = 19
	content, err := readAtMost(f.images.below(sizePath(d)), maxDigits)
	if err != nil && !errors.Is(err, errTooLarge) {
		return 0, err
	}
	if string(content) == damagedBlob {
		return -1, nil
	}
	size, err := strconv.ParseInt(string(content), 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != string(content) || size < 0 {
		return 0, errSizeDamaged
	}
	return size, nil
}

// size returns the size that a blob's content must have. It is not known until
// the blob has been verified, at this start or the next one, if an earlier
// version stored the blob, or it was copied here, or its size file is damaged,
// which is logged.
func (f *files) size(ctx context.Context, d digest.Digest) (size int64, known bool) {
	size, err := f.readSize(d)
	if err == nil {
		return size, true
	}
	if !errors.Is(err, fs.ErrNotExist) {
		f.log(ctx, sizePath(d), "the size file of a blob is damaged; the blob is served unchecked until the next start verifies it, or it is pushed again", nil)
	}
	_ = os.Remove(f.images.below(sizesComplete)) // usually the file is absent; if removing it fails, the next request tries again
	return 0, false
}

// writeSize writes the size file of a blob whose verified content is about to be
// stored at the path, and whose directory exists. For any other path it does nothing.
// The file is on the disk when writeSize returns.
func (f *files) writeSize(dataPath string, size int64) error {
	d, isData := dataDigest(dataPath)
	if !isData {
		return nil
	}
	f.sizing.RLock()
	defer f.sizing.RUnlock()
	return atomicfile.Write(f.images.below(sizePath(d)), []byte(strconv.FormatInt(size, 10)), sizeMode)
}

// addSize writes the size file of a blob that was verified where it is, unless a push
// has written it in the meantime.
func (f *files) addSize(d digest.Digest, content string) error {
	f.sizing.Lock()
	defer f.sizing.Unlock()
	if _, err := f.readSize(d); err == nil {
		return nil
	}
	return atomicfile.Write(f.images.below(sizePath(d)), []byte(content), sizeMode)
}

const sizeMode = 0o644
