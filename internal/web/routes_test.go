package web_test

import (
	"net/http"
	"testing"

	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/web"
)

// The table says which paths ask who calls, and its handlers do what it says.
func TestAuthenticatedPathsNeedCredentials(t *testing.T) {
	var routes map[string]bool
	env := apptest.New(t, apptest.Options{Images: true, Handlers: func(h *web.Handlers) { routes = h.Routes() }})
	if len(routes) != 6 {
		t.Fatalf("routes: %v; want six", routes)
	}
	for path, authenticated := range routes {
		if path == "/cloud/v1/registries/" {
			path += "1/1/1/users"
		}
		response, err := env.Client().Get(env.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		challenge := response.Header.Get("WWW-Authenticate")
		if asks := response.StatusCode == http.StatusUnauthorized && challenge != ""; asks != authenticated {
			t.Errorf("GET %s without credentials: %s, WWW-Authenticate %q; want 401 with it: %t", path, response.Status, challenge, authenticated)
		}
	}
}
