package ociregistry

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// blobFiles are the files of a new image directory, of which the test writes blobs.
type blobFiles struct {
	*files
	t   *testing.T
	log bytes.Buffer
}

func newBlobFiles(t *testing.T) *blobFiles {
	t.Helper()
	images, err := openImageDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &blobFiles{t: t}
	t.Cleanup(func() {
		if err := images.close(); err != nil {
			t.Error(err)
		}
	})
	logger := slog.New(slog.NewTextHandler(&f.log, nil))
	f.files = &files{logger: logger, reserve: &reserve{root: images.root, logger: logger}, images: images}
	return f
}

// put writes a blob without a size file, as earlier versions did. If it is
// damaged, its content is other than what its digest says.
func (f *blobFiles) put(content string, isDamaged bool) digest.Digest {
	f.t.Helper()
	d := digest.FromString(content)
	if isDamaged {
		content = content[:len(content)-1]
	}
	data := f.images.below(dataPath(d))
	if err := os.MkdirAll(filepath.Dir(data), directoryMode); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(data, []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return d
}

func (f *blobFiles) wantSize(d digest.Digest, want string) {
	f.t.Helper()
	got, err := os.ReadFile(f.images.below(sizePath(d)))
	if errors.Is(err, fs.ErrNotExist) {
		got, err = []byte("none"), nil
	}
	if err != nil || string(got) != want {
		f.t.Errorf("the size file of %s: got %q, %v; want %q", d, got, err, want)
	}
}

func (f *blobFiles) wantMark(want bool) {
	f.t.Helper()
	if got := exists(f.images.below(sizesComplete)); got != want {
		f.t.Errorf("the mark: got %t, want %t", got, want)
	}
}

func TestBlobsAreVerifiedOnce(t *testing.T) {
	f := newBlobFiles(t)
	intact, cut, empty := f.put("intact blob!", false), f.put("a blob that was cut", true), f.put("x", true)
	f.verifyBlobs(t.Context())
	f.wantSize(intact, "12")
	f.wantSize(cut, damagedBlob)
	f.wantSize(empty, damagedBlob)
	f.wantMark(true)
	if text := f.log.String(); strings.Count(text, "level=ERROR") != 2 || !strings.Contains(text, strings.TrimPrefix(dataPath(cut), "/")) || strings.Contains(text, f.images.root) {
		t.Errorf("got the log\n%s\nwant the two damaged blobs by name, and no path of the machine", text)
	}
	late := f.put("another blob", false)
	f.verifyBlobs(t.Context())
	f.wantSize(late, "none")
	// After a request for a blob without a size, the next start verifies it.
	if size, known := f.size(t.Context(), late); known {
		t.Errorf("got the size %d of a blob without a size file, want none", size)
	}
	f.wantMark(false)
	f.verifyBlobs(t.Context())
	f.wantSize(late, "12")
	f.wantMark(true)
}

func TestDamagedSizeFilesAreReplaced(t *testing.T) {
	for _, damage := range []string{"", "garbage", "-1", "+12", "damaged ", strings.Repeat("1", 5000)} {
		f := newBlobFiles(t)
		d := f.put("intact blob!", false)
		if err := os.WriteFile(f.images.below(sizePath(d)), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		f.verifyBlobs(t.Context())
		f.wantSize(d, "12")
		if !strings.Contains(f.log.String(), strings.TrimPrefix(sizePath(d), "/")) {
			t.Errorf("%.20q: got the log %s, want the damaged file by name", damage, &f.log)
		}
	}
}

// A size that a push has written is never replaced by an earlier finding.
func TestVerificationChangesNoSizeOfAPush(t *testing.T) {
	f := newBlobFiles(t)
	d := f.put("intact blob!", false)
	if err := f.writeSize(dataPath(d), 12); err != nil {
		t.Fatal(err)
	}
	if err := f.addSize(d, damagedBlob); err != nil {
		t.Error(err)
	}
	f.wantSize(d, "12")
}

// The verification has a bounded rate, and continues where it was stopped.
func TestVerificationIsSlowAndContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBlobFiles(t)
		random := make([]byte, 5<<20)
		_, _ = rand.Read(random)
		var all []digest.Digest
		for i := range 4 {
			all = append(all, f.put(string(random)+string(rune('a'+i)), false))
		}
		known := func() (n int) {
			for _, d := range all {
				if exists(f.images.below(sizePath(d))) {
					n++
				}
			}
			return n
		}
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond) // of the bubble's clock
		defer cancel()
		f.verifyBlobs(ctx)
		if n := known(); n != 2 {
			t.Errorf("after a quarter of a second: got %d blobs of 5 MiB verified, want 2", n)
		}
		f.wantMark(false)
		f.verifyBlobs(t.Context())
		if n := known(); n != len(all) {
			t.Errorf("after the next start: got %d blobs verified, want %d", n, len(all))
		}
		f.wantMark(true)
		if text := f.log.String(); strings.Contains(text, "ERROR") || strings.Count(text, "blobs=2") != 1 {
			t.Errorf("got the log\n%s\nwant the two blobs of the second start, and no error", text)
		}
	})
}

func TestVerificationThatCannotContinueLeavesNoMark(t *testing.T) {
	t.Run("a full disk", func(t *testing.T) {
		f := newBlobFiles(t)
		d := f.put("intact blob!", false)
		f.reserve.accountsDiskFull = func() bool { return true }
		f.verifyBlobs(t.Context())
		f.wantSize(d, "none")
		f.wantMark(false)
	})
	t.Run("a blob that cannot be read", func(t *testing.T) {
		f := newBlobFiles(t)
		d, broken := f.put("intact blob!", false), digest.FromString("broken")
		if err := os.MkdirAll(f.images.below(dataPath(broken)), directoryMode); err != nil { // a directory for a file
			t.Fatal(err)
		}
		f.verifyBlobs(t.Context())
		f.wantSize(d, "12")
		f.wantSize(broken, "none")
		f.wantMark(false)
	})
	t.Run("an image directory that was replaced", func(t *testing.T) {
		f := newBlobFiles(t)
		if err := errors.Join(os.Rename(f.images.root, f.images.root+".moved"), os.Mkdir(f.images.root, 0o700)); err != nil {
			t.Fatal(err)
		}
		f.verifyBlobs(t.Context())
		f.wantMark(false)
	})
}
