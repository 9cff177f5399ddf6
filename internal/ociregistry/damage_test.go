package ociregistry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
)

func (w *env) file(path ...string) string {
	return filepath.Join(append([]string{w.Dir.Images(), "docker", "registry", "v2"}, path...)...)
}

func (w *env) data(d v1.Hash) string {
	return w.file("blobs", d.Algorithm, d.Hex[:2], d.Hex, "data")
}

// overwrite replaces the content of a file, which must exist.
func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantNamed checks that the log has an error with the path, relative to the images.
func (w *env) wantNamed(path string) {
	w.t.Helper()
	name, err := filepath.Rel(w.Dir.Images(), path)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(w.Log.String()) {
		var entry struct{ Level, Path string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "ERROR" && entry.Path == filepath.ToSlash(name) {
			return
		}
	}
	w.t.Errorf("got no error in the log with the path %s", name)
}

// Damaged content gets 404, never 500 and never 200 with other bytes, until it is pushed
// again.
func TestDamagedContentIsNotFoundUntilPushedAgain(t *testing.T) {
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
	compressed, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(compressed)
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
		"a layer that was cut":          {blob(layer), string(content[:len(content)/2]), "blobs/" + layer.String()},
		"a layer without its last byte": {blob(layer), string(content[:len(content)-1]), "blobs/" + layer.String()},
		"a layer that became larger":    {blob(layer), string(content) + "\x00", "blobs/" + layer.String()},
		"an empty config":               {blob(config), "", "blobs/" + config.String()},
		"an empty manifest":             {blob(manifest), "", "manifests/" + manifest.String()},
		"a manifest that was cut":       {blob(manifest), string(body[:len(body)/2]), "manifests/v1"},
		"a manifest with another byte":  {blob(manifest), string(otherByte), "manifests/v1"},
		"a manifest that became larger": {blob(manifest), string(body) + " ", "manifests/v1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t)
			user := w.pusher(w.one)
			w.push(user, "1-1-demo/app:v1", image)
			w.wantPulled(user, "1-1-demo/app:v1", image)
			overwrite(t, w.file(test.file...), test.content)
			bearer := w.bearer(user, scope("1-1-demo/app", all))
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				got := w.send(method, "/v2/1-1-demo/app/"+test.ask, "", bearer, "Accept: application/vnd.docker.distribution.manifest.v2+json")
				if got.status != http.StatusNotFound {
					t.Errorf("%s of %s: got status %d, want 404", method, test.ask, got.status)
				}
			}
			if test.content != elsewhere {
				w.wantNamed(w.file(test.file...))
			}
			w.push(user, "1-1-demo/app:again", image) // this client pushes no blobs for a tag that is there
			w.push(user, "1-1-demo/app:v1", image)
			w.wantPulled(user, "1-1-demo/app:v1", image)
			w.Stop()
			if _, err := collect(t, w.Dir.Images()); err != nil {
				t.Error(err)
			}
			w.Open()
			w.wantPulled(user, "1-1-demo/app:v1", image)
		})
	}
}

// A client that checks for a blob first finds it, whatever its content is. A client that
// pushes without a check replaces the content.
func TestPushingABlobReplacesItsContent(t *testing.T) {
	const content = "the content of a blob"
	for _, damage := range []string{"", "the", "the content of a blot", content + content} {
		w := newEnv(t)
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

// A blob of another size than the one that was pushed is not mounted either: the
// client uploads it, which repairs it in every repository.
func TestMountOfADamagedBlobIsAnUpload(t *testing.T) {
	const content = "the content of a blob"
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all), scope("1-1-demo/other", all))
	got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
	w.wantStatus("push", got, http.StatusCreated, "")
	data := w.data(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(sum(content), "sha256:")})
	overwrite(t, data, content[:4])
	got = w.send(http.MethodPost, "/v2/1-1-demo/other/blobs/uploads/?from=1-1-demo/app&mount="+sum(content), "", bearer)
	w.wantStatus("mount", got, http.StatusAccepted, "")
	w.wantNamed(data)
	got = w.send(http.MethodPut, withDigest(got.header.Get("Location"), sum(content)), content, bearer)
	w.wantStatus("upload", got, http.StatusCreated, "")
	for _, repository := range []string{"1-1-demo/app", "1-1-demo/other"} {
		got := w.send(http.MethodGet, "/v2/"+repository+"/blobs/"+sum(content), "", bearer)
		if got.status != http.StatusOK || got.body != content {
			t.Errorf("%s: got %v, want what was pushed", repository, got)
		}
	}
}

// A blob is served without a size file, as earlier versions left it, and with a
// damaged one; pushing it again writes the file.
func TestSizeFiles(t *testing.T) {
	const content = "the content of a blob"
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	push := func() {
		t.Helper()
		got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
		w.wantStatus("push", got, http.StatusCreated, "")
	}
	push()
	size := filepath.Join(filepath.Dir(w.data(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(sum(content), "sha256:")})), "size")
	want := strconv.Itoa(len(content))
	for name, damage := range map[string]string{"an empty one": "", "garbage": "garbage", "a negative one": "-1", "a sign": "+" + want, "a long one": strings.Repeat("1", 5000), "none": "none"} {
		if damage == "none" {
			if err := os.Remove(size); err != nil {
				t.Fatal(err)
			}
		} else {
			overwrite(t, size, damage)
		}
		got := w.send(http.MethodGet, "/v2/1-1-demo/app/blobs/"+sum(content), "", bearer)
		if got.status != http.StatusOK || got.body != content {
			t.Errorf("%s: got %v, want what was pushed", name, got)
		}
		if damage != "none" {
			w.wantNamed(size)
		}
		push()
		if got, err := os.ReadFile(size); string(got) != want {
			t.Errorf("pushed again over %s: got the size %q, %v; want %s", name, got, err, want)
		}
	}
}

// A crash after a size file was written leaves a blob that is missing until it
// is pushed, and that the garbage collection removes.
func TestSizeFileWithoutABlob(t *testing.T) {
	const content = "the content of a blob"
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	push := func() {
		t.Helper()
		got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
		w.wantStatus("push", got, http.StatusCreated, "")
	}
	push()
	data := w.data(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(sum(content), "sha256:")})
	for range 2 {
		if err := os.Remove(data); err != nil {
			t.Fatal(err)
		}
		got := w.send(http.MethodHead, "/v2/1-1-demo/app/blobs/"+sum(content), "", bearer)
		w.wantStatus("HEAD", got, http.StatusNotFound, "")
		push()
	}
	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	w.age(48 * time.Hour)
	w.Stop()
	w.collectNow()
	if _, err := os.Stat(filepath.Dir(data)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of the blob: got %v, want it removed", err)
	}
	w.Open()
}

// The plain registry program lists, serves and removes the blobs of the
// directory as if there were no size files.
func TestTheLibraryIgnoresSizeFiles(t *testing.T) {
	w := newEnv(t)
	image := newImage(t, 2)
	w.push(w.pusher(w.one), "1-1-demo/app:v1", image)
	driver, err := filesystem.FromParameters(map[string]any{"rootdirectory": w.Dir.Images()})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := storage.NewRegistry(t.Context(), driver)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = plain.Blobs().Enumerate(t.Context(), func(d digest.Digest) error {
		got = append(got, d.String())
		desc, err := plain.BlobStatter().Stat(t.Context(), d)
		if err != nil || desc.Size == 0 {
			t.Errorf("the blob %s: got %+v, %v; want its size", d, desc, err)
		}
		return err
	})
	slices.Sort(got)
	if want := digestsOf(t, image); err != nil || !slices.Equal(got, want) {
		t.Errorf("got the blobs %q, %v; want %q", got, err, want)
	}
	for _, d := range got {
		if err := storage.NewVacuum(t.Context(), driver).RemoveBlob(d); err != nil {
			t.Error(err)
		}
	}
	if left := w.directories(); slices.ContainsFunc(left, func(name string) bool { return strings.Count(name, "/") == 3 && strings.HasPrefix(name, "blobs/") }) {
		t.Errorf("got the directories %q, want none of a blob", left)
	}
}

func TestEmptyBlob(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	for range 2 {
		got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum("")), "", bearer)
		w.wantStatus("push", got, http.StatusCreated, "")
		got = w.send(http.MethodGet, "/v2/1-1-demo/app/blobs/"+sum(""), "", bearer)
		if got.status != http.StatusOK || got.body != "" || got.header.Get("Content-Length") != "0" {
			t.Errorf("got %v, want status 200 and nothing", got)
		}
	}
}

// An upload whose start is not a time is not found.
func TestDamagedUploadIsUnknown(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	location := w.begun("1-1-demo/app", bearer)
	files, err := filepath.Glob(w.file("repositories", "1-1-demo", "app", "_uploads", "*", "startedat"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got the uploads %q, %v; want one", files, err)
	}
	overwrite(t, files[0], "")
	w.wantStatus("continue the upload", w.send(http.MethodPatch, location, "some", bearer), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	w.wantNamed(files[0])
}

// The response to a failure in the library has no path of a file.
func TestFailuresDoNotNameFiles(t *testing.T) {
	w := newEnv(t)
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
	if strings.Contains(got.body, w.Dir.Path) || strings.Contains(got.body, "_manifests") {
		t.Errorf("got the body %s, want no path in it", got.body)
	}
	if length := got.header.Get("Content-Length"); length != "" && length != fmt.Sprint(len(got.body)) {
		t.Errorf("got the length %s of %d bytes", length, len(got.body))
	}
	w.Close() // waits for the log
	if n := strings.Count(w.Log.String(), `"level":"ERROR"`); n != 1 {
		t.Errorf("got %d errors in the log\n%s\nwant only the line of the request", n, w.Log)
	}
	line := w.logLine(`"request_id":"` + got.header.Get("X-Request-Id"))
	if !strings.Contains(line, `is a directory"`) || strings.Contains(line, w.Dir.Path) {
		t.Errorf("got the line %swant the cause in it, without the path", line)
	}
}
