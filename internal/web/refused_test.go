package web_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/web"
)

// The line of a refused request says why, with the same attributes for all handlers. The
// attribute error has only what the response does not say.
func TestRefusedRequestsAreLoggedWithTheirReason(t *testing.T) {
	env := apptest.New(t, apptest.Options{Images: true, Handlers: func(h *web.Handlers) {
		h.Ready = func(context.Context) error { return os.ErrClosed }
	}})
	type line struct {
		Status         int
		ExceptionClass string `json:"exception_class"`
		Code           string
		Message        string
		Error          string
	}
	const users = "/cloud/v1/registries/1/1/1/users"
	const otherMethod = "this path does not have this method; the header Allow lists its methods"
	apiKey := "apikey " + env.APIToken.Reveal()
	tests := []struct {
		method, path, authorization, body string
		want                              line
	}{
		{"GET", "/", "", "", line{404, "NotFoundError", "", "no such path", ""}},
		{"POST", "/healthz", "", "", line{405, "HTTPError", "", otherMethod, ""}},
		{"GET", "/readyz", "", "", line{503, "ServiceUnavailable", "", "service unavailable; the server's log has details under this request_id", "file already closed"}},
		{"PUT", users, apiKey, "", line{405, "HTTPError", "", otherMethod, ""}},
		{"POST", users, apiKey, `{"name":"ci","duration":1}`, line{Status: 201}},
		{"POST", users, apiKey, `{"name":"ci","duration":1}`, line{409, "ConflictError", "", "user already exists", ""}},
		{"GET", "/token", "", "", line{401, "", "UNAUTHORIZED", "log in with the name and the secret of a registry user", ""}},
		{"DELETE", "/token", "", "", line{405, "", "UNSUPPORTED", otherMethod, ""}},
		{"GET", "/v2/", "", "", line{401, "", "UNAUTHORIZED", "the request has no token", ""}},
		{"HEAD", "/v2/", "", "", line{401, "", "UNAUTHORIZED", "the request has no token", ""}},
		{"GET", "/v2/", "Bearer x", "", line{401, "", "UNAUTHORIZED", "the token is not valid", ""}},
		{"GET", "/v2/a/b/c", "", "", line{404, "", "UNSUPPORTED", "the registry has nothing at this path", ""}},
	}
	ids := make([]string, len(tests))
	for i, test := range tests {
		r, err := http.NewRequestWithContext(t.Context(), test.method, env.URL+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if test.authorization != "" {
			r.Header.Set("Authorization", test.authorization)
		}
		response, err := env.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		ids[i] = response.Header.Get("X-Request-Id")
	}
	env.Close() // waits for the log
	lines := make(map[string]line)
	for text := range strings.Lines(env.Log.String()) {
		var entry struct {
			line
			Msg string
			ID  string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(text), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == "request" {
			lines[entry.ID] = entry.line
		}
	}
	for i, test := range tests {
		if got := lines[ids[i]]; got != test.want {
			t.Errorf("%s %s: got the line %+v, want %+v", test.method, test.path, got, test.want)
		}
	}
}
