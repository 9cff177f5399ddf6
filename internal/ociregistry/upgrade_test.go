package ociregistry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
)

// kept describes a data directory in testdata/datadir that an earlier
// version created.
type kept struct {
	Key1    string `json:"api_key_of_project_1"`
	KeyAll  string `json:"api_key_of_all_projects"`
	Image   string `json:"image"`
	Digest  string `json:"manifest"`
	Created []struct {
		created
		IdempotencyKey string `json:"idempotency_key"`
		NewSecret      string `json:"new_secret"`
		Removed        bool   `json:"removed"`
	} `json:"created"`
}

// created is the response to a create.
type created struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	ReadOnly  bool      `json:"read_only"`
	Duration  int64     `json:"duration"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Secret    string    `json:"secret"`
}

// TestDataDirectoriesOfEarlierVersions opens a copy of every data directory that
// an earlier version left, an hour after it was created: its users log in, its
// image is pulled and another one pushed, and its creates can be repeated.
func TestDataDirectoriesOfEarlierVersions(t *testing.T) {
	versions, err := filepath.Glob("../../testdata/datadir/*/expected.json")
	if err != nil || len(versions) == 0 {
		t.Fatalf("got the data directories %v, %v; want at least one", versions, err)
	}
	for _, path := range versions {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want kept
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(data, os.DirFS(filepath.Join(filepath.Dir(path), "data"))); err != nil {
				t.Fatal(err)
			}
			now := want.Created[0].CreatedAt.Add(time.Hour)
			serveKept(t, apptest.New(t, apptest.Options{Data: data, Images: true, Start: now}), want)
		})
	}
}

func serveKept(t *testing.T, server *apptest.Env, want kept) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", server.Log)
		}
	})
	host := strings.TrimPrefix(server.URL, "http://")
	reference, err := name.ParseReference(host + "/" + want.Image)
	if err != nil {
		t.Fatal(err)
	}
	namespace, _, _ := strings.Cut(want.Image, "/")
	pulls := func(what, login, secret string, works bool) {
		t.Helper()
		image, err := remote.Image(reference, remote.WithAuth(&authn.Basic{Username: login, Password: secret}))
		if err == nil {
			var digest fmt.Stringer
			if digest, err = image.Digest(); err == nil && digest.String() != want.Digest {
				t.Errorf("%s: pulled %s, want %s", what, digest, want.Digest)
			}
			if layers, e := image.Layers(); e != nil || len(layers) == 0 {
				t.Errorf("%s: got the layers %v, %v", what, layers, e)
			} else if _, e := layers[0].Compressed(); e != nil {
				t.Errorf("%s: pull a layer: %v", what, e)
			}
		}
		if (err == nil) != works {
			t.Errorf("%s: pull as %s: got %v, want that it works: %t", what, login, err, works)
		}
	}
	for _, u := range want.Created {
		what := fmt.Sprintf("user %q", u.Name)
		isExpired := u.Duration == 0
		pulls(what+", long form", namespace+"+"+u.Name, u.Secret, !isExpired && !u.Removed && u.NewSecret == "")
		if u.Name != "" {
			pulls(what, u.Name, u.Secret, !isExpired && !u.Removed && u.NewSecret == "")
		}
		if u.NewSecret != "" {
			pulls(what+", new secret", u.Name, u.NewSecret, true)
		}
		if u.IdempotencyKey == "" {
			continue
		}
		body := fmt.Sprintf(`{"name":%q,"duration":%d,"read_only":%t}`, u.Name, u.Duration, u.ReadOnly)
		if u.Name == "custom" {
			body = fmt.Sprintf(`{"name":%q,"duration":%d,"secret":%q}`, u.Name, u.Duration, u.Secret)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/cloud/v1/registries/1/1/1/users", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "apikey "+want.Key1)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", u.IdempotencyKey)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var got created
		_ = json.NewDecoder(response.Body).Decode(&got)
		response.Body.Close()
		if u.NewSecret != "" {
			if response.StatusCode != http.StatusConflict {
				t.Errorf("%s, repeated after a new secret: got %d, want 409", what, response.StatusCode)
			}
			continue
		}
		expected := u.created
		if u.Duration == -1 { // "never" had another date then
			expected.ExpiresAt = got.ExpiresAt
		}
		if response.StatusCode != http.StatusCreated || response.Header.Get("Idempotent-Replayed") != "true" || got != expected {
			t.Errorf("%s, repeated: got %d %+v, want 201 %+v", what, response.StatusCode, got, expected)
		}
	}
	if image, err := remote.Image(reference, remote.WithAuth(&authn.Basic{Username: "generated", Password: want.Created[0].Secret})); err != nil {
		t.Error(err)
	} else if err := remote.Write(reference.Context().Tag("copy"), image, remote.WithAuth(&authn.Basic{Username: "generated", Password: want.Created[0].Secret})); err != nil {
		t.Errorf("push: %v", err)
	}
	for _, key := range []string{want.Key1, want.KeyAll} {
		if _, err := server.Accounts.Authenticate(t.Context(), registryusers.NewSecret(key)); err != nil {
			t.Errorf("an API key: %v", err)
		}
	}
	if users, err := server.Accounts.Users(t.Context(), accounts.Administrator, accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}); err != nil || len(users) != len(want.Created)-1 {
		t.Errorf("got %d users, %v; want %d", len(users), err, len(want.Created)-1)
	}
}

// Blobs of earlier versions have no size files. The server verifies them while it
// serves. A damaged one is not found then, and repaired by a client that checks first.
func TestBlobsOfEarlierVersionsAreVerified(t *testing.T) {
	const version = "../../testdata/datadir/first"
	text, err := os.ReadFile(version + "/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want kept
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(data, os.DirFS(version+"/data")); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(data + "/images/docker/registry/v2/blobs/sha256/*/*/data")
	if err != nil || len(blobs) != 3 {
		t.Fatalf("got the blobs %q, %v; want three", blobs, err)
	}
	_, manifest, _ := strings.Cut(want.Digest, ":")
	blobs = slices.DeleteFunc(blobs, func(path string) bool { return strings.Contains(path, manifest) })
	content, err := os.ReadFile(blobs[0])
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, blobs[0], string(content[:len(content)-1]))
	server := apptest.New(t, apptest.Options{Data: data, Images: true, Start: want.Created[0].CreatedAt.Add(time.Hour)})
	w := &env{Env: server, t: t}
	repository, _, _ := strings.Cut(want.Image, ":")
	bearer := w.bearer(login{User: accounts.User{Name: want.Created[0].Name}, secret: want.Created[0].Secret}, scope(repository, all))
	blob := "/v2/" + repository + "/blobs/sha256:" + filepath.Base(filepath.Dir(blobs[0]))
	for end := time.Now().Add(time.Minute); w.send(http.MethodHead, blob, "", bearer).status != http.StatusNotFound; {
		if time.Now().After(end) {
			t.Fatal("a blob that was cut is still served")
		}
	}
	w.wantNamed(blobs[0])
	got := w.send(http.MethodPut, withDigest(w.begun(repository, bearer), sum(string(content))), string(content), bearer)
	w.wantStatus("push", got, http.StatusCreated, "")
	if got := w.send(http.MethodGet, blob, "", bearer); got.status != http.StatusOK || got.body != string(content) {
		t.Errorf("after the push: got %v, want the content", got)
	}
	for end := time.Now().Add(time.Minute); ; {
		if _, err := os.Stat(data + "/images/docker/registry/v2/sizes-complete"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not all blobs were verified")
		}
		runtime.Gosched()
	}
	sizes, err := filepath.Glob(data + "/images/docker/registry/v2/blobs/sha256/*/*/size")
	if err != nil || len(sizes) != 3 {
		t.Errorf("got the size files %q, %v; want three", sizes, err)
	}
	for _, path := range sizes {
		size, err := os.ReadFile(path)
		info, failure := os.Stat(filepath.Join(filepath.Dir(path), "data"))
		if err != nil || failure != nil || string(size) != strconv.FormatInt(info.Size(), 10) {
			t.Errorf("%s: got %q, %v, %v; want the size of the content", path, size, err, failure)
		}
	}
}
