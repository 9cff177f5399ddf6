package ociregistry_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/registryusers/registryusers/internal/ociregistry"
)

// age sets the times of all files and directories of the images back.
func (w *env) age(by time.Duration) {
	w.t.Helper()
	err := filepath.WalkDir(w.Dir.Images(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return os.Chtimes(path, time.Time{}, info.ModTime().Add(-by))
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// collectNow collects garbage with the files' real times.
func (w *env) collectNow() ociregistry.Garbage {
	w.t.Helper()
	g, err := ociregistry.GarbageCollect(w.t.Context(), w.Dir.Images(), time.Now(), w.Logger)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// A blob with old content was pushed again, mounted, or requested a moment
// ago: a manifest that names it may follow.
func TestGarbageCollectKeepsRecentlyUsedBlobs(t *testing.T) {
	const content = "a layer"
	for name, again := range map[string]func(w *env, bearer string){
		"pushed again": func(w *env, bearer string) {
			got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
			w.wantStatus("push", got, http.StatusCreated, "")
		},
		"pushed to another repository": func(w *env, bearer string) {
			got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/other", bearer), sum(content)), content, bearer)
			w.wantStatus("push", got, http.StatusCreated, "")
		},
		"mounted": func(w *env, bearer string) {
			got := w.send(http.MethodPost, "/v2/1-1-demo/other/blobs/uploads/?from=1-1-demo/app&mount="+sum(content), "", bearer)
			w.wantStatus("mount", got, http.StatusCreated, "")
		},
		"requested": func(w *env, bearer string) {
			got := w.send(http.MethodHead, "/v2/1-1-demo/app/blobs/"+sum(content), "", bearer)
			w.wantStatus("HEAD", got, http.StatusOK, "")
		},
		"": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t)
			bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all), scope("1-1-demo/other", all))
			got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
			w.wantStatus("push", got, http.StatusCreated, "")
			w.age(48 * time.Hour)
			if again != nil {
				again(w, bearer)
				// Only the links are recent.
				data := w.data(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(sum(content), "sha256:")})
				for _, path := range []string{data, filepath.Join(filepath.Dir(data), "size"), filepath.Dir(data)} {
					if err := os.Chtimes(path, time.Time{}, time.Now().Add(-48*time.Hour)); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.Stop()
			garbage := w.collectNow()
			if kept := slices.Equal(w.blobs(), []string{sum(content)}); kept != (again != nil) {
				t.Errorf("got %+v and the blobs %q, want the blob kept: %v", garbage, w.blobs(), again != nil)
			}
			w.Open()
		})
	}
}

// Damage is reported, and protects only the blobs that it may have referenced.
func TestGarbageCollectKeepsBlobsOfDamagedManifests(t *testing.T) {
	image, garbage := newImage(t, 2), newImage(t, 1)
	manifest := digestOf(t, image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer := digestOf(t, layers[0])
	app := []string{"repositories", "1-1-demo", "app"}
	blob := []string{"blobs", "sha256", manifest.Hex[:2], manifest.Hex, "data"}
	for name, test := range map[string]struct {
		file    []string
		content string
	}{
		"an empty layer link":         {slices.Concat(app, []string{"_layers", "sha256", layer.Hex, "link"}), ""},
		"an empty revision link":      {slices.Concat(app, []string{"_manifests", "revisions", "sha256", manifest.Hex, "link"}), ""},
		"a revision link of garbage":  {slices.Concat(app, []string{"_manifests", "revisions", "sha256", manifest.Hex, "link"}), "garbage"},
		"an empty manifest":           {blob, ""},
		"a manifest of other content": {blob, "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t)
			user := w.pusher(w.one)
			_, options := w.as(user)
			w.push(user, "1-1-demo/app:v1", image)
			w.push(user, "1-1-demo/gone:v1", garbage)
			if err := remote.Delete(w.ref("1-1-demo/gone@"+digestOf(t, garbage).String()), options...); err != nil {
				t.Fatal(err)
			}
			overwrite(t, w.file(test.file...), test.content)
			w.age(48 * time.Hour)
			w.Stop()
			w.collectNow()
			if got, want := w.blobs(), digestsOf(t, image); !slices.Equal(got, want) {
				t.Errorf("got the blobs %q, want %q", got, want)
			}
			w.wantNamed(w.file(test.file...))
			w.Open()
			w.push(user, "1-1-demo/app:again", image)
			w.wantPulled(user, "1-1-demo/app:v1", image)
		})
	}
}

// The library once accepted sha512 digests and stored the blobs by sha256.
func TestGarbageCollectKeepsBlobsNamedBySHA512(t *testing.T) {
	const content = "a layer"
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
	w.wantStatus("push", got, http.StatusCreated, "")
	alias := w.file("repositories", "1-1-demo", "app", "_layers", "sha512", strings.Repeat("a", 128), "link")
	if err := os.MkdirAll(filepath.Dir(alias), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(alias, []byte(sum(content)), 0o600); err != nil {
		t.Fatal(err)
	}
	w.age(48 * time.Hour)
	w.Stop()
	w.collectNow()
	if got := w.blobs(); !slices.Equal(got, []string{sum(content)}) {
		t.Errorf("got the blobs %q, want the one of the sha512 link", got)
	}
	w.Open()
}

// Operators may move repositories to other disks and leave symbolic links.
func TestGarbageCollectFollowsSymbolicLinks(t *testing.T) {
	w := newEnv(t)
	user, image := w.pusher(w.one), newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	w.Stop()
	from, to := w.file("repositories", "1-1-demo"), filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, from); err != nil {
		t.Skipf("symbolic links: %v", err)
	}
	w.age(48 * time.Hour)
	if g := w.collectNow(); g.Blobs != 0 {
		t.Errorf("got %+v, want no blob removed", g)
	}
	w.Open()
	w.wantPulled(user, "1-1-demo/app:v1", image)
	w.Stop()
	if err := os.Rename(to, to+"-is-not-mounted"); err != nil {
		t.Fatal(err)
	}
	before := w.blobs()
	_, err := collect(t, w.Dir.Images())
	wantWords(t, "with the other disk missing", err, "1-1-demo")
	if got := w.blobs(); !slices.Equal(got, before) {
		t.Errorf("with the other disk missing: got the blobs %q, want %q", got, before)
	}
	w.Open()
}

func TestGarbageCollectEndsWithItsContext(t *testing.T) {
	w := newEnv(t)
	user, image := w.pusher(w.one), newImage(t, 1)
	_, options := w.as(user)
	w.push(user, "1-1-demo/app:v1", image)
	if err := remote.Delete(w.ref("1-1-demo/app@"+digestOf(t, image).String()), options...); err != nil {
		t.Fatal(err)
	}
	w.age(48 * time.Hour)
	w.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := w.blobs()
	_, err := ociregistry.GarbageCollect(ctx, w.Dir.Images(), time.Now(), slog.New(slog.DiscardHandler))
	if !errors.Is(err, context.Canceled) || !slices.Equal(w.blobs(), before) {
		t.Errorf("got %v and the blobs %q, want it to end at once, and %q", err, w.blobs(), before)
	}
	if g := w.collectNow(); g.Blobs != len(before) {
		t.Errorf("after it: got %+v, want %d blobs removed", g, len(before))
	}
	w.Open()
}
