package ociregistry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func (w *env) file(path ...string) string {
	return filepath.Join(append([]string{w.dir.Images(), "docker", "registry", "v2"}, path...)...)
}

func (w *env) data(d v1.Hash) string {
	return w.file("blobs", d.Algorithm, d.Hex[:2], d.Hex, "data")
}

// overwrite writes what must be there already.
func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantNamed wants the log to have an error with the path, relative to the images.
func (w *env) wantNamed(path string) {
	w.t.Helper()
	name, err := filepath.Rel(w.dir.Images(), path)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(w.log.String()) {
		var entry struct{ Level, Path string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "ERROR" && entry.Path == filepath.ToSlash(name) {
			return
		}
	}
	w.t.Errorf("got no error in the log with the path %s", name)
}

// What is damaged is not there: it is answered 404, never 500 and never 200
// with other bytes; and it is there again once it was pushed again.
func TestDamageIsMissingUntilPushedAgain(t *testing.T) {
	image := newImage(t, 1)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, manifest := digestOf(t, layers[0]), digestOf(t, image)
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	body, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	otherByte := []byte(string(body))
	otherByte[len(otherByte)/2] ^= 1
	const elsewhere = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	layerLink := []string{"repositories", "1-1-demo", "app", "_layers", "sha256", layer.Hex, "link"}
	revision := []string{"repositories", "1-1-demo", "app", "_manifests", "revisions", "sha256", manifest.Hex, "link"}
	tag := []string{"repositories", "1-1-demo", "app", "_manifests", "tags", "v1", "current", "link"}
	blob := func(d v1.Hash) []string { return []string{"blobs", "sha256", d.Hex[:2], d.Hex, "data"} }
	for name, test := range map[string]struct {
		file    []string
		content string
		ask     string
	}{
		"an empty layer link":           {layerLink, "", "blobs/" + layer.String()},
		"a layer link of garbage":       {layerLink, "garbage", "blobs/" + layer.String()},
		"a layer link to another":       {layerLink, config.String(), "blobs/" + layer.String()},
		"a layer link to a sha512":      {layerLink, "sha512:" + strings.Repeat("0", 128), "blobs/" + layer.String()},
		"an empty revision link":        {revision, "", "manifests/" + manifest.String()},
		"a revision link to another":    {revision, config.String(), "manifests/" + manifest.String()},
		"an empty tag link":             {tag, "", "manifests/v1"},
		"a tag link to nothing":         {tag, elsewhere, "manifests/v1"},
		"an empty layer":                {blob(layer), "", "blobs/" + layer.String()},
		"an empty config":               {blob(config), "", "blobs/" + config.String()},
		"an empty manifest":             {blob(manifest), "", "manifests/" + manifest.String()},
		"a manifest that was cut":       {blob(manifest), string(body[:len(body)/2]), "manifests/v1"},
		"a manifest with another byte":  {blob(manifest), string(otherByte), "manifests/v1"},
		"a manifest that became larger": {blob(manifest), string(body) + " ", "manifests/v1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, settings{onDisk: true})
			user := w.pusher(w.one)
			w.push(user, "1-1-demo/app:v1", image)
			w.wantPulled(user, "1-1-demo/app:v1", image)
			overwrite(t, w.file(test.file...), test.content)
			bearer := w.bearer(user, scope("1-1-demo/app", all))
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				got := w.send(method, "/v2/1-1-demo/app/"+test.ask, "", bearer, "Accept: application/vnd.docker.distribution.manifest.v2+json")
				if got.status != http.StatusNotFound {
					t.Errorf("%s of %s: got %v, want 404", method, test.ask, got)
				}
			}
			if test.content != elsewhere {
				w.wantNamed(w.file(test.file...))
			}
			w.push(user, "1-1-demo/app:again", image) // this client pushes no blobs for a tag that is there
			w.push(user, "1-1-demo/app:v1", image)
			w.wantPulled(user, "1-1-demo/app:v1", image)
			w.close()
			if _, err := collect(t, w.dir.Images()); err != nil {
				t.Error(err)
			}
			w.open()
			w.wantPulled(user, "1-1-demo/app:v1", image)
		})
	}
}

// A client that asks first learns that a blob is there, whatever is in it. One
// that pushes all the same replaces it, whatever is in it.
func TestPushingABlobReplacesItsContent(t *testing.T) {
	const content = "the content of a blob"
	for _, damage := range []string{"", "the", "the content of a blot", content + content} {
		w := newEnv(t, settings{onDisk: true})
		bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
		for _, damaged := range []bool{true, false} {
			got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
			w.wantStatus("push", got, http.StatusCreated, "")
			if damaged {
				overwrite(t, w.data(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(sum(content), "sha256:")}), damage)
			}
		}
		got := w.send(http.MethodGet, "/v2/1-1-demo/app/blobs/"+sum(content), "", bearer)
		if got.status != http.StatusOK || got.body != content {
			t.Errorf("over %q: got %v, want what was pushed", damage, got)
		}
	}
}

func TestTheBlobOfNothing(t *testing.T) {
	for _, onDisk := range []bool{true, false} {
		w := newEnv(t, settings{onDisk: onDisk})
		bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
		for range 2 {
			got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum("")), "", bearer)
			w.wantStatus("push", got, http.StatusCreated, "")
			got = w.send(http.MethodGet, "/v2/1-1-demo/app/blobs/"+sum(""), "", bearer)
			if got.status != http.StatusOK || got.body != "" || got.header.Get("Content-Length") != "0" {
				t.Errorf("on disk %v: got %v, want status 200 and nothing", onDisk, got)
			}
		}
	}
}

// The start of an upload that is not a time is an upload that is not there.
func TestDamagedUploadIsUnknown(t *testing.T) {
	w := newEnv(t, settings{onDisk: true})
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	location := w.begun("1-1-demo/app", bearer)
	files, err := filepath.Glob(w.file("repositories", "1-1-demo", "app", "_uploads", "*", "startedat"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got the uploads %q, %v; want one", files, err)
	}
	overwrite(t, files[0], "")
	w.wantStatus("go on", w.send(http.MethodPatch, location, "some", bearer), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	w.wantNamed(files[0])
}

// What fails in the library is answered without the paths of files.
func TestFailuresDoNotNameFiles(t *testing.T) {
	w := newEnv(t, settings{onDisk: true})
	user, image := w.pusher(w.one), newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	link := w.file("repositories", "1-1-demo", "app", "_manifests", "tags", "v1", "current", "link")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(link, 0o700); err != nil {
		t.Fatal(err)
	}
	got := w.send(http.MethodGet, manifests, "", bearer)
	w.wantStatus("GET of a link that is a directory", got, http.StatusInternalServerError, "UNKNOWN")
	if strings.Contains(got.body, w.path) || strings.Contains(got.body, "_manifests") {
		t.Errorf("got the body %s, want no path in it", got.body)
	}
	if length := got.header.Get("Content-Length"); length != "" && length != fmt.Sprint(len(got.body)) {
		t.Errorf("got the length %s of %d bytes", length, len(got.body))
	}
}
