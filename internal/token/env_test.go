package token_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/store/sqlite"
	"github.com/registryusers/registryusers/internal/token"
)

// service is what the tokens are for; another name is another's.
const service = "registry.example.com"

var noon = time.Date(2024, 6, 18, 12, 0, 0, 0, time.UTC)

// clock is a clock to turn, for several goroutines.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func (c *clock) add(d time.Duration) { c.set(c.Now().Add(d)) }

// log is a log to read while others write.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns what was logged since it was last called.
func (l *log) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

var quiet = slog.New(slog.DiscardHandler)

// house is a token service over a real store, with two registries.
type env struct {
	*token.Handler
	clock  *clock
	log    *log
	logger *slog.Logger // to log
	store  *sqlite.Store
	keys   string // the directory
	files  *keys.Files
	demo   accounts.RegistryRef
	other  accounts.RegistryRef
}

func newEnv(t testing.TB) *env {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &env{clock: &clock{now: noon}, log: new(log), store: store, keys: t.TempDir()}
	if h.files, err = keys.OpenFiles(h.keys, quiet); err != nil {
		t.Fatal(err)
	}
	rules := accounts.New(store, accounts.NewServerKey("test", [32]byte{1, 2, 3}), h.clock.Now)
	for _, name := range []string{"demo", "other"} {
		r, err := rules.CreateRegistry(t.Context(), 1, 1, name)
		if err != nil {
			t.Fatal(err)
		}
		h.demo, h.other = h.other, accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: r.ID}
	}
	h.logger = slog.New(slog.NewJSONHandler(h.log, nil))
	h.Handler = &token.Handler{
		Accounts: rules,
		Issuer:   &token.Issuer{Keys: h.files, Service: service, Now: h.clock.Now},
	}
	return h
}

// ServeHTTP serves the token endpoint as package web does: observed.
func (h *env) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.observe(h.Handler, w, r) }

// JWKS serves the keys likewise.
func (h *env) JWKS(w http.ResponseWriter, r *http.Request) {
	h.observe(http.HandlerFunc(h.Handler.JWKS), w, r)
}

func (h *env) observe(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	observe.Handler(handler, observe.Options{Logger: h.logger}).ServeHTTP(w, r)
}

// create creates a user that must come to be, and returns its secret.
func (h *env) create(t testing.TB, at accounts.RegistryRef, n accounts.NewUser) (accounts.User, string) {
	t.Helper()
	u, err := h.Accounts.CreateUser(t.Context(), accounts.Key{}, at, "", n)
	if err != nil {
		t.Fatalf("CreateUser(%+v): %v", n, err)
	}
	return u.User, u.Secret.Reveal()
}

func custom(secret string) registryusers.SecretText { return registryusers.NewSecretText(secret) }

// serve serves the token endpoint and the keys over HTTP, and returns the URL.
func (h *env) serve(t testing.TB) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/token", h)
	mux.HandleFunc("/.well-known/jwks.json", h.JWKS)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// answer is what the token endpoint answered.
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

// do sends a request that a server must answer with JSON.
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
func (h *env) call(t testing.TB, r *http.Request, from string) tokenResponse {
	t.Helper()
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
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

// scope makes a query or a form that asks for scopes, each on its own.
func scope(scopes ...string) url.Values { return url.Values{"scope": scopes} }

// granted asks for scopes and returns what the token says, verified.
func (h *env) granted(t testing.TB, a tokenResponse) []oci.Access {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("got %d %s, want 200 and a token", a.status, a.body)
	}
	claims, err := h.Issuer.Verify(a.Token)
	if err != nil {
		t.Fatalf("the token that was given: %v; want it good", err)
	}
	return claims.Access
}
