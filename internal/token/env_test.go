package token_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/token"
	"github.com/registryusers/registryusers/internal/web"
)

// service is what the tokens are for. Any other name is another service's.
const service = apptest.Service

var noon = apptest.Noon

var quiet = slog.New(slog.DiscardHandler)

// env is a server that issues tokens, with two registries.
type env struct {
	*apptest.Env
	issuer      *token.Issuer // the server's
	demo, other accounts.RegistryRef
}

func newEnv(t testing.TB) *env {
	t.Helper()
	e := new(env)
	e.Env = apptest.New(t, apptest.Options{Handlers: func(h *web.Handlers) { e.issuer = h.Token.(*token.Handler).Issuer }})
	e.demo, e.other = e.Registry, e.NewRegistry(1, 1, "other")
	e.Log.Take()
	return e
}

// create creates a user, and returns its secret. It must succeed.
func (e *env) create(t testing.TB, at accounts.RegistryRef, n accounts.NewUser) (accounts.User, string) {
	t.Helper()
	u, err := e.Accounts.CreateUser(t.Context(), accounts.APIKey{}, at, "", n)
	if err != nil {
		t.Fatalf("CreateUser(%+v): %v", n, err)
	}
	return u.User, u.Secret.Reveal()
}

func custom(secret string) registryusers.SecretText { return registryusers.NewSecretText(secret) }

// tokenResponse is a response of the token endpoint.
type tokenResponse struct {
	status int
	header http.Header
	body   string

	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
	Errors       []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
}

// do sends a request. The response must be JSON.
func do(t testing.TB, r *http.Request) tokenResponse {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, response.StatusCode, response.Header, string(body))
}

// call calls the handler without a network, from an address.
func (e *env) call(t testing.TB, r *http.Request, from string) tokenResponse {
	t.Helper()
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	e.Config.Handler.ServeHTTP(w, r)
	return read(t, w.Code, w.Header(), w.Body.String())
}

func read(t testing.TB, status int, header http.Header, body string) tokenResponse {
	t.Helper()
	a := tokenResponse{status: status, header: header, body: body}
	if got, want := header.Get("Content-Type"), "application/json"; got != want {
		t.Errorf("Content-Type of a %d: got %q, want %q", status, got, want)
	}
	if body == "" { // of a HEAD
		return a
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("a %d with the body %q: %v; want JSON", status, body, err)
	}
	return a
}

// get makes a GET with HTTP Basic; the query besides the service.
func get(t testing.TB, base, name, secret string, query url.Values) *http.Request {
	t.Helper()
	values := url.Values{"service": {service}}
	for key, value := range query {
		values[key] = value
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/token?"+values.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(name, secret)
	return r
}

// post makes a POST of a form; the form besides the service.
func post(t testing.TB, base string, form url.Values) *http.Request {
	t.Helper()
	values := url.Values{"service": {service}}
	for key, value := range form {
		values[key] = value
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/token", strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// scope returns a query or a form with scopes, one parameter for each.
func scope(scopes ...string) url.Values { return url.Values{"scope": scopes} }

// granted returns the verified access of a response's token.
func (e *env) granted(t testing.TB, a tokenResponse) []oci.Access {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("got %d %s, want 200 and a token", a.status, a.body)
	}
	claims, err := e.issuer.Verify(a.Token)
	if err != nil {
		t.Fatalf("the issued token: %v; want it valid", err)
	}
	return claims.Access
}
