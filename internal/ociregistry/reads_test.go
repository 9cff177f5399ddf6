package ociregistry_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/storetest"
	"github.com/registryusers/registryusers/internal/store/sqlite"
)

// A request to the registry asks the store for one account, once.
func TestARequestReadsOneAccount(t *testing.T) {
	w := newEnv(t, settings{onDisk: true})
	user := w.pusher(w.one)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	bearer := w.bearer(user, scope("1-1-demo/app", all))

	store, err := sqlite.Open(t.Context(), filepath.Join(w.path, "registryusers.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	counting := &storetest.Counting{Store: store}
	w.options.Accounts = accounts.New(counting, accounts.NewServerKey("test", [32]byte{1}), w.now) // a token needs no secret
	w.close()
	w.open()
	for _, path := range []string{"/v2/", "/v2/1-1-demo/app/tags/list"} {
		w.wantStatus(path, w.send(http.MethodGet, path, "", bearer), http.StatusOK, "")
		if asked, want := counting.Take(), []string{"Account"}; !slices.Equal(asked, want) {
			t.Errorf("GET %s asked the store for %q, want %q", path, asked, want)
		}
	}
}
