package ociregistry_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
)

func TestLoginPushListPullDelete(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	_, options := w.as(user)

	host, err := name.NewRegistry(w.host())
	if err != nil {
		t.Fatal(err)
	}
	challenge, err := transport.Ping(t.Context(), host, w.Client().Transport)
	if err != nil || challenge.Scheme != "bearer" || challenge.Parameters["service"] != service {
		t.Fatalf("ping: got %+v, %v; want a challenge of the service %s", challenge, err, service)
	}
	auth := &authn.Basic{Username: user.Name, Password: user.secret}
	if _, err := transport.NewWithContext(t.Context(), host, auth, w.Client().Transport, nil); err != nil {
		t.Fatalf("login: %v", err)
	}

	first, second := newImage(t, 5), newImage(t, 1)
	w.push(user, "1-1-demo/deep/er/app:v1", first)
	w.push(user, "1-1-demo/deep/er/app:v2", second)
	w.push(user, "1-1-demo/deep/er/app:v1-again", first)
	w.wantPulled(user, "1-1-demo/deep/er/app:v1", first)
	w.wantPulled(user, "1-1-demo/deep/er/app:v2", second)
	w.wantPulled(user, "1-1-demo/deep/er/app@"+digestOf(t, first).String(), first)

	repository := w.ref("1-1-demo/deep/er/app").Context()
	wantTags := func(when string, want ...string) {
		t.Helper()
		got, err := remote.List(repository, options...)
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("tags %s: got %q, %v; want %q", when, got, err, want)
		}
	}
	wantTags("after three pushes", "v1", "v1-again", "v2")

	if err := remote.Delete(repository.Tag("v1-again"), options...); err != nil {
		t.Errorf("delete a tag: %v", err)
	}
	wantTags("without v1-again", "v1", "v2")
	w.wantPulled(user, "1-1-demo/deep/er/app:v1", first)
	if err := remote.Delete(repository.Digest(digestOf(t, first).String()), options...); err != nil {
		t.Errorf("delete a manifest: %v", err)
	}
	_, err = remote.Image(repository.Tag("v1"), options...)
	wantRefused(t, "pull what was deleted", err, http.StatusNotFound, transport.ManifestUnknownErrorCode)
	w.wantPulled(user, "1-1-demo/deep/er/app:v2", second)
}

func TestMultiPlatformIndex(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	_, options := w.as(user)
	platforms := []v1.Platform{
		{OS: "linux", Architecture: "amd64"},
		{OS: "linux", Architecture: "arm64", Variant: "v8"},
		{OS: "windows", Architecture: "amd64", OSVersion: "10.0.20348"},
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	images := make([]v1.Image, len(platforms))
	for i := range platforms {
		images[i] = newImage(t, 2)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[i], Descriptor: v1.Descriptor{Platform: &platforms[i]}})
	}
	ref := w.ref("1-1-demo/app:multi")
	if err := remote.WriteIndex(ref, index, options...); err != nil {
		t.Fatalf("push: %v", err)
	}
	got, err := remote.Index(ref, options...)
	if err != nil {
		t.Fatalf("pull: %v", err)
	}
	if got, want := digestOf(t, got), digestOf(t, index); got != want {
		t.Errorf("the index: got %v, want %v", got, want)
	}
	for i, platform := range platforms {
		got, err := remote.Image(ref, append(options, remote.WithPlatform(platform))...)
		if err != nil {
			t.Errorf("pull for %v: %v", platform, err)
			continue
		}
		wantSame(t, platform.String(), got, images[i])
	}
}

func TestMountWithinARegistry(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	image := newImage(t, 3)
	w.push(user, "1-1-demo/source:v1", image)

	sent, options := w.as(user)
	source, err := remote.Image(w.ref("1-1-demo/source:v1"), options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(w.ref("1-1-demo/target:v1"), source, options...); err != nil {
		t.Fatal(err)
	}
	if got := sent.count(http.MethodPost, http.StatusCreated, true); got != 4 {
		t.Errorf("got %d mounts, want 4, of three layers and the config:\n%s", got, sent)
	}
	if got := sent.count(http.MethodPatch, http.StatusAccepted, false); got != 0 {
		t.Errorf("got %d uploads, want none:\n%s", got, sent)
	}
	w.wantPulled(user, "1-1-demo/target:v1", image)
}

// A client that may not pull from the mount's source pushes the content instead.
func TestClientPushesBlobsItMayNotMount(t *testing.T) {
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	image := newImage(t, 2)
	w.push(other, "2-1-demo/source:v1", image)

	_, options := w.as(other)
	source, err := remote.Image(w.ref("2-1-demo/source:v1"), options...)
	if err != nil {
		t.Fatal(err)
	}
	sent, options := w.as(user)
	if err := remote.Write(w.ref("1-1-demo/target:v1"), source, options...); err != nil {
		t.Fatalf("push: %v\n%s", err, sent)
	}
	if got := sent.count(http.MethodPost, http.StatusCreated, true); got != 0 {
		t.Errorf("got %d mounts from another registry, want none:\n%s", got, sent)
	}
	if got := sent.count(http.MethodPost, http.StatusAccepted, true); got != 3 {
		t.Errorf("got %d mounts that became uploads, want 3, of two layers and the config:\n%s", got, sent)
	}
	w.wantPulled(user, "1-1-demo/target:v1", image)
}

func TestReadOnlyUserCanPullAndNotPush(t *testing.T) {
	w := newEnv(t)
	image := newImage(t, 2)
	w.push(w.pusher(w.one), "1-1-demo/app:v1", image)
	reader := w.newUser(w.one, accounts.NewUser{Name: "reader", Duration: 1, ReadOnly: true})
	w.wantPulled(reader, "1-1-demo/app:v1", image)

	_, options := w.as(reader)
	err := remote.Write(w.ref("1-1-demo/app:v2"), newImage(t, 2), options...)
	wantRefused(t, "push", err, http.StatusForbidden, transport.DeniedErrorCode, "1-1-demo+reader", "read-only")
	err = remote.Tag(w.ref("1-1-demo/app").Context().Tag("v2"), image, options...)
	wantRefused(t, "tag", err, http.StatusForbidden, transport.DeniedErrorCode, "1-1-demo+reader", "read-only")
	err = remote.Delete(w.ref("1-1-demo/app@"+digestOf(t, image).String()), options...)
	wantRefused(t, "delete", err, http.StatusForbidden, transport.DeniedErrorCode, "1-1-demo+reader", "read-only")
	w.wantPulled(reader, "1-1-demo/app:v1", image)
}

func TestAnotherRegistrysRepositoryIsDenied(t *testing.T) {
	w := newEnv(t)
	image := newImage(t, 1)
	w.push(w.pusher(w.two), "2-1-demo/app:v1", image)
	user := w.pusher(w.one)
	_, options := w.as(user)
	words := []string{"1-1-demo+pusher", "1-1-demo/"}
	for _, repository := range []string{"2-1-demo/app", "1-1-demo", "1-1-demos/app", "app", "3-1-none/app"} {
		_, err := remote.Image(w.ref(repository+":v1"), options...)
		wantRefused(t, "pull "+repository, err, http.StatusForbidden, transport.DeniedErrorCode, words...)
		_, err = remote.List(w.ref(repository).Context(), options...)
		wantRefused(t, "list "+repository, err, http.StatusForbidden, transport.DeniedErrorCode, words...)
		err = remote.Tag(w.ref(repository).Context().Tag("v2"), image, options...)
		wantRefused(t, "tag "+repository, err, http.StatusForbidden, transport.DeniedErrorCode, words...)
		var refused *transport.Error // by the response to a HEAD, which has no text
		if err := remote.Write(w.ref(repository+":v2"), newImage(t, 1), options...); !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden {
			t.Errorf("push %s: got %v, want status 403", repository, err)
		}
		got := w.send(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", w.bearer(user, scope(repository, all)))
		w.wantStatus("upload to "+repository, got, http.StatusForbidden, "DENIED", words...)
		err = remote.Delete(w.ref(repository+"@"+digestOf(t, image).String()), options...)
		wantRefused(t, "delete "+repository, err, http.StatusForbidden, transport.DeniedErrorCode, words...)
	}
}

func TestCatalogIsDenied(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	_, options := w.as(user)
	repositories, err := remote.Catalog(t.Context(), w.ref("1-1-demo/app").Context().Registry, options...)
	if len(repositories) > 0 {
		t.Errorf("catalog: got %q, want nothing", repositories)
	}
	wantRefused(t, "catalog", err, http.StatusForbidden, transport.DeniedErrorCode, "catalog")
	got := w.send(http.MethodGet, "/v2/_catalog", "")
	w.wantStatus("the catalog, unauthenticated", got, http.StatusUnauthorized, "UNAUTHORIZED")
}

// Registries of the same name exist in several projects.
func TestRepositoriesOfOneBasenameAreSeparate(t *testing.T) {
	w := newEnv(t)
	users := map[string]login{"1-1-demo": w.pusher(w.one), "2-1-demo": w.pusher(w.two)}
	images := map[string]v1.Image{"1-1-demo": newImage(t, 2), "2-1-demo": newImage(t, 2)}
	for namespace, user := range users {
		w.push(user, namespace+"/app:v1", images[namespace])
		w.push(user, namespace+"/app:only-"+namespace, images[namespace])
	}
	for namespace, user := range users {
		w.wantPulled(user, namespace+"/app:v1", images[namespace])
		_, options := w.as(user)
		got, err := remote.List(w.ref(namespace+"/app").Context(), options...)
		if want := []string{"only-" + namespace, "v1"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("tags of %s/app: got %q, %v; want %q", namespace, got, err, want)
		}
	}
}

func TestExpiredUserCannotLogIn(t *testing.T) {
	for _, now := range []func() time.Time{nil, time.Now} {
		w := newEnvWith(t, apptest.Options{Now: now})
		w.push(w.pusher(w.one), "1-1-demo/app:v1", newImage(t, 1))
		user := w.newUser(w.one, accounts.NewUser{Name: "brief", Duration: 0})
		_, options := w.as(user)
		_, err := remote.Image(w.ref("1-1-demo/app:v1"), options...)
		wantRefused(t, "pull, with a duration of 0", err, http.StatusUnauthorized, transport.UnauthorizedErrorCode, "expired")
	}
}
