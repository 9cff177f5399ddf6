package ociregistry_test

import (
	"fmt"
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
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/ociregistry"
	"github.com/registryusers/registryusers/internal/token"
)

var quiet = slog.New(slog.DiscardHandler)

// open opens a registry over the accounts of a new data directory.
func open(t *testing.T, o ociregistry.Options) (*ociregistry.Registry, error) {
	t.Helper()
	e := apptest.New(t, apptest.Options{})
	o.Accounts, o.Logger = e.Accounts, e.Logger
	o.Issuer = &token.Issuer{Keys: e.Keys, Service: apptest.Service, Now: e.Clock.Now}
	return ociregistry.Open(t.Context(), o)
}

// wantOpenError checks that a registry does not open, with an error that contains the words.
func wantOpenError(t *testing.T, o ociregistry.Options, words ...string) {
	t.Helper()
	registry, err := open(t, o)
	if err == nil {
		_ = registry.Close()
	}
	wantWords(t, "Open", err, words...)
}

func wantWords(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: got no error, want one with %q in it", what, words)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: got %q, want %q in it", what, err, word)
		}
	}
}

func TestImageDirectoryThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("a file", func(t *testing.T) { wantOpenError(t, ociregistry.Options{Root: file}, file, "cannot be created") })
	t.Run("under a file", func(t *testing.T) {
		wantOpenError(t, ociregistry.Options{Root: filepath.Join(file, "images")}, filepath.Join(file, "images"), "cannot be created")
	})
	t.Run("its lock is a directory", func(t *testing.T) {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, ".lock"), 0o700); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, ociregistry.Options{Root: root}, root, "cannot be locked")
	})
	t.Run("not writable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write everywhere")
		}
		root := t.TempDir()
		if err := os.Chmod(root, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(root, 0o700) })
		wantOpenError(t, ociregistry.Options{Root: root}, root, "permission denied")
	})
	t.Run("an invalid URL", func(t *testing.T) {
		root := t.TempDir()
		wantOpenError(t, ociregistry.Options{Root: root, URL: "https://[::1"}, "configured")
		if _, err := collect(t, root); err != nil {
			t.Errorf("the lock after an Open that failed: got %v, want it released", err)
		}
	})
}

func TestImageDirectoryIsLocked(t *testing.T) {
	root := filepath.Join(t.TempDir(), "images")
	first, err := open(t, ociregistry.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantOpenError(t, ociregistry.Options{Root: root}, root, "in use")
		_, err := collect(t, root)
		wantWords(t, "GarbageCollect", err, root, "in use")
	}
	if err := first.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if _, err := collect(t, root); err != nil {
		t.Errorf("GarbageCollect after Close: %v", err)
	}
	second, err := open(t, ociregistry.Options{Root: root})
	if err != nil {
		t.Fatalf("Open after Close and GarbageCollect: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestOnlyTheOwnerCanReadTheImages(t *testing.T) {
	w := newEnv(t)
	info, err := os.Stat(w.Dir.Images())
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the image directory: got %v, %v; want mode 0700", info.Mode(), err)
	}
}

// blobs returns the digests of the blobs that have files.
func (w *env) blobs() []string {
	w.t.Helper()
	var digests []string
	root := filepath.Join(w.Dir.Images(), "docker", "registry", "v2", "blobs")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "data" {
			parts := strings.Split(filepath.ToSlash(filepath.Dir(path)), "/")
			digests = append(digests, parts[len(parts)-3]+":"+parts[len(parts)-1])
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(digests)
	return digests
}

// digestsOf returns the digests of all manifests, configurations and layers of images.
func digestsOf(t *testing.T, images ...v1.Image) []string {
	t.Helper()
	var digests []string
	for _, image := range images {
		config, err := image.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digestOf(t, image).String(), config.String())
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range layers {
			digests = append(digests, digestOf(t, layer).String())
		}
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}

// collect collects garbage, as if all files were a day old. A panic is an error.
func collect(t *testing.T, root string) (g ociregistry.Garbage, err error) {
	t.Helper()
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return ociregistry.GarbageCollect(t.Context(), root, time.Now().Add(24*time.Hour+time.Minute), quiet)
}

func TestGarbageCollectRemovesOnlyUnreferencedBlobs(t *testing.T) {
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	_, options := w.as(user)

	kept, untagged, gone := newImage(t, 2), newImage(t, 1), newImage(t, 3)
	layers, err := kept.Layers()
	if err != nil {
		t.Fatal(err)
	}
	shares, err := mutate.AppendLayers(gone, layers[0]) // collected, except for its shared layer
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, platform := newImage(t, 1), newImage(t, 1)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: platform})
	w.push(user, "1-1-demo/app:kept", kept)
	w.push(user, "1-1-demo/app@"+digestOf(t, untagged).String(), untagged)
	w.push(user, "1-1-demo/app:gone", gone)
	w.push(user, "1-1-demo/gone:shares", shares)
	w.push(other, "2-1-demo/app:kept", elsewhere)
	if err := remote.WriteIndex(w.ref("1-1-demo/app:multi"), index, options...); err != nil {
		t.Fatal(err)
	}
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	loose := "a blob that no manifest ever named"
	got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(loose)), loose, bearer)
	w.wantStatus("push a loose blob", got, http.StatusCreated, "")

	for _, ref := range []string{"1-1-demo/app@" + digestOf(t, gone).String(), "1-1-demo/gone@" + digestOf(t, shares).String()} {
		if err := remote.Delete(w.ref(ref), options...); err != nil {
			t.Fatal(err)
		}
	}
	before := w.blobs()
	if !slices.Contains(before, digestsOf(t, gone)[0]) {
		t.Error("before the collection: got no blob of the image that was deleted, want them all")
	}
	w.Stop()
	garbage, err := ociregistry.GarbageCollect(t.Context(), w.Dir.Images(), time.Now().Add(24*time.Hour-time.Minute), quiet)
	if after := w.blobs(); err != nil || garbage != (ociregistry.Garbage{}) || !slices.Equal(after, before) {
		t.Errorf("while everything is younger than a day: got %+v, %v and the blobs %q, want nothing removed of %q", garbage, err, after, before)
	}
	garbage, err = collect(t, w.Dir.Images())
	if err != nil {
		t.Fatal(err)
	}

	want := digestsOf(t, kept, untagged, elsewhere, platform)
	want = append(want, digestOf(t, index).String())
	slices.Sort(want)
	if got := w.blobs(); !slices.Equal(got, want) {
		t.Errorf("after the collection: got the blobs %q, want %q", got, want)
	}
	if garbage.Blobs != len(before)-len(want) || garbage.Bytes == 0 || garbage.Links == 0 {
		t.Errorf("got %+v, want %d blobs in it, their bytes, and links", garbage, len(before)-len(want))
	}
	if again, err := collect(t, w.Dir.Images()); err != nil || again != (ociregistry.Garbage{}) {
		t.Errorf("once more: got %+v, %v; want nothing removed", again, err)
	}
	w.Open()
	w.wantPulled(user, "1-1-demo/app:kept", kept)
	w.wantPulled(user, "1-1-demo/app@"+digestOf(t, untagged).String(), untagged)
	w.wantPulled(user, "1-1-demo/app@"+digestOf(t, platform).String(), platform)
	w.wantPulled(other, "2-1-demo/app:kept", elsewhere)

	// A collected image can be pushed again and is complete.
	w.push(user, "1-1-demo/app:gone", gone)
	w.wantPulled(user, "1-1-demo/app:gone", gone)
	w.push(user, "1-1-demo/gone:shares", shares)
	w.wantPulled(user, "1-1-demo/gone:shares", shares)
	w.Stop()
	w.Open()
	w.wantPulled(user, "1-1-demo/app:gone", gone)
	w.wantPulled(user, "1-1-demo/gone:shares", shares)
}

func TestGarbageCollectOfAnEmptyDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "images")
	for range 2 {
		if garbage, err := collect(t, root); err != nil || garbage != (ociregistry.Garbage{}) {
			t.Errorf("a new directory: got %+v, %v; want nothing", garbage, err)
		}
	}
}

// A server that is stopped during a push must start again, even if it was the
// first push.
func TestOpenAfterAnInterruptedPush(t *testing.T) {
	for _, before := range []string{"", "1-1-demo/app:v1", "1-1-demo/other:v1"} {
		for _, piece := range []string{"", "some"} {
			t.Run("after "+before+" with "+piece, func(t *testing.T) {
				w := newEnv(t)
				user := w.pusher(w.one)
				if before != "" {
					w.push(user, before, newImage(t, 1))
				}
				bearer := w.bearer(user, scope("1-1-demo/app", all))
				location := w.begun("1-1-demo/app", bearer)
				if piece != "" {
					w.wantStatus("send a chunk", w.send(http.MethodPatch, location, piece, bearer), http.StatusAccepted, "")
				}
				w.Stop()
				if _, err := collect(t, w.Dir.Images()); err != nil {
					t.Error(err)
				}
				w.Open()
				image := newImage(t, 1)
				w.push(user, "1-1-demo/app:v2", image)
				w.wantPulled(user, "1-1-demo/app:v2", image)
			})
		}
	}
}

func TestReadOnlyUserCannotDelete(t *testing.T) {
	w := newEnv(t)
	image := newImage(t, 1)
	w.push(w.pusher(w.one), "1-1-demo/app:v1", image)
	reader := w.newUser(w.one, accounts.NewUser{Name: "reader", Duration: 1, ReadOnly: true})
	bearer := w.bearer(reader, scope("1-1-demo/app", all))
	for _, path := range []string{"manifests/v1", "manifests/" + digestOf(t, image).String(), "blobs/" + digestsOf(t, image)[0]} {
		got := w.send(http.MethodDelete, "/v2/1-1-demo/app/"+path, "", bearer)
		w.wantStatus("DELETE "+path, got, http.StatusForbidden, "DENIED", "read-only")
	}
	w.wantPulled(reader, "1-1-demo/app:v1", image)
}

// A user who may push must not be able to stop the garbage collection.
func TestAcceptedManifestsDoNotStopGarbageCollection(t *testing.T) {
	const (
		manifest   = "application/vnd.oci.image.manifest.v1+json"
		index      = "application/vnd.oci.image.index.v1+json"
		dockerOne  = "application/vnd.docker.distribution.manifest.v2+json"
		dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
	)
	w := newEnv(t)
	user := w.pusher(w.one)
	config := `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + sum("{}") + `","size":2}`
	taken := 0
	for i, test := range []struct{ mediaType, body string }{
		{index, `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[]}`},
		{index, `{"schemaVersion":2,"manifests":[]}`},
		{index, `{"schemaVersion":2}`},
		{index, `{"schemaVersion":2,"mediaType":"` + index + `"}`},
		{index, `{"schemaVersion":2,"mediaType":"` + index + `","manifests":null}`},
		{index, `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[{}]}`},
		{index, `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[{"digest":"x"}]}`},
		{dockerList, `{"schemaVersion":2,"mediaType":"` + dockerList + `","manifests":[]}`},
		{dockerList, `{"schemaVersion":2,"manifests":[]}`},
		{manifest, `{"schemaVersion":2}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `"}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":{},"layers":[]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":{"digest":""},"layers":[{"digest":""}]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":{"digest":"x"},"layers":[]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":{"digest":"sha256:x"},"layers":[]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":{"digest":"sha256:../../x"},"layers":[]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":` + config + `}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":` + config + `,"layers":null}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":` + config + `,"layers":[],"manifests":[]}`},
		{manifest, `{"schemaVersion":2,"config":` + config + `,"layers":[],"manifests":[]}`},
		{manifest, `{"schemaVersion":2,"config":` + config + `,"layers":[],"subject":{"digest":""}}`},
		{manifest, `{"schemaVersion":2,"config":` + config + `,"layers":[],"subject":{"digest":"x"}}`},
		{manifest, `{"schemaVersion":2,"mediaType":"text/plain","config":` + config + `,"layers":[]}`},
		{manifest, `{"schemaVersion":1,"config":` + config + `,"layers":[]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":` + config + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":""}]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":` + config + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"x","urls":[]}]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","config":` + config + `,"layers":[{"digest":"","urls":["https://x.example/"]}]}`},
		{dockerOne, `{"schemaVersion":2,"mediaType":"` + dockerOne + `","config":` + config + `,"layers":[]}`},
		{dockerOne, `{"schemaVersion":2,"mediaType":"` + dockerOne + `","config":` + config + `,"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"x"}]}`},
		{dockerOne, `{"schemaVersion":2,"config":` + config + `,"layers":[]}`},
		{"", `{"schemaVersion":2,"config":` + config + `,"layers":[]}`},
		{"text/plain", `{"schemaVersion":2}`},
		{"application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"name":"x","tag":"x","fsLayers":[],"history":[]}`},
		{manifest, `{"schemaVersion":2,"mediaType":"` + manifest + `","mediaType":"` + index + `","config":` + config + `,"layers":[],"manifests":[]}`},
		{manifest, `{"schemaVersion":2,"MediaType":"` + index + `","config":` + config + `,"layers":[]}`},
		{manifest, `null`},
		{manifest, ``},
	} {
		repository := "1-1-demo/app" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		bearer := w.bearer(user, scope(repository, all))
		if i%2 == 0 || strings.Contains(test.body, config) {
			got := w.send(http.MethodPut, withDigest(w.begun(repository, bearer), sum("{}")), "{}", bearer)
			w.wantStatus("push a config to "+repository, got, http.StatusCreated, "")
		}
		headers := []string{bearer}
		if test.mediaType != "" {
			headers = append(headers, "Content-Type: "+test.mediaType)
		}
		got, err := w.trySend(http.MethodPut, "/v2/"+repository+"/manifests/v1", test.body, headers...)
		if err != nil { // a panic, as a client sees it
			t.Errorf("PUT of %q as %s: %v", test.body, test.mediaType, err)
		}
		if got.status != http.StatusCreated {
			continue
		}
		taken++
		w.Stop()
		if _, err := collect(t, w.Dir.Images()); err != nil {
			t.Errorf("after %q was taken as %s: %v", test.body, test.mediaType, err)
			if err := os.RemoveAll(filepath.Join(w.Dir.Images(), "docker", "registry", "v2", "repositories", repository)); err != nil {
				t.Fatal(err)
			}
		}
		w.Open()
	}
	if taken < 3 {
		t.Errorf("got %d manifests taken, want some to try", taken)
	}
}
