package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/web"
)

// Each path of the table has a row that says whether its handler asks who calls.
func TestPathsThatNeedCredentials(t *testing.T) {
	needs := map[string]bool{
		"/healthz": false, "/readyz": false, "/.well-known/jwks.json": false,
		web.APIPrefix: true, web.TokenPath: true, "/v2/": true,
	}
	var paths []string
	env := apptest.New(t, apptest.Options{Images: true, Handlers: func(h *web.Handlers) { paths = h.Paths() }})
	if len(paths) != len(needs) {
		t.Errorf("got the paths %q, want a row for each of them, and %d", paths, len(needs))
	}
	for _, path := range paths {
		want, ok := needs[path]
		if !ok {
			t.Errorf("path %s has no row", path)
		}
		target := path
		if path == web.APIPrefix {
			target += "1/1/1/users"
		}
		response, err := env.Client().Get(env.URL + target)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		challenge := response.Header.Get("WWW-Authenticate")
		if got := response.StatusCode == http.StatusUnauthorized && challenge != ""; got != want {
			t.Errorf("GET %s without credentials: %s, WWW-Authenticate %q; want 401 with it: %t", target, response.Status, challenge, want)
		}
	}
}

func TestTheAPIPrefixIsTheDocuments(t *testing.T) {
	document, err := apiserver.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	if document.Paths.Len() == 0 {
		t.Fatal("the document has no paths")
	}
	for path := range document.Paths.Map() {
		if !strings.HasPrefix(path, web.APIPrefix) {
			t.Errorf("the document has the path %s, want all of its paths below %s", path, web.APIPrefix)
		}
	}
}
