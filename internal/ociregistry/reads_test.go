package ociregistry_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/registryusers/registryusers/internal/store/storetest"
)

// A request to the registry reads one account from the store, once.
func TestARequestReadsOneAccount(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	bearer := w.bearer(user, scope("1-1-demo/app", all))

	w.Stop()
	counting := &storetest.Counting{Store: w.AppOptions.Store}
	w.AppOptions.Store = counting
	w.Open()
	for _, path := range []string{"/v2/", "/v2/1-1-demo/app/tags/list"} {
		w.wantStatus(path, w.send(http.MethodGet, path, "", bearer), http.StatusOK, "")
		if asked, want := counting.Take(), []string{"Account"}; !slices.Equal(asked, want) {
			t.Errorf("GET %s read %q from the store, want %q", path, asked, want)
		}
	}
}
