package ociregistry_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/token"
	"github.com/registryusers/registryusers/internal/web"
)

const service = apptest.Service

var start = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// env is a registry server with registries in two projects. When its test has
// ended, it checks the log.
type env struct {
	*apptest.Env
	t        *testing.T
	issuer   *token.Issuer // the server's
	registry http.Handler  // without package web, and not counted

	requests struct{ registry, token atomic.Int64 } // received
	mu       sync.Mutex
	hidden   []string // what no log line may contain
	one, two registry // both are named demo
}

// registry is a registry with the namespace of its repositories.
type registry struct {
	accounts.RegistryRef
	namespace string
}

// newEnv starts a server.
func newEnv(t *testing.T) *env {
	t.Helper()
	return newEnvWith(t, apptest.Options{})
}

func newEnvWith(t *testing.T, o apptest.Options) *env {
	t.Helper()
	w := &env{t: t}
	o.Images = true
	o.Start = start
	o.Handlers = func(h *web.Handlers) {
		w.registry, w.issuer = h.Registry, h.Token.(*token.Handler).Issuer
		h.Token, h.Registry = counted(&w.requests.token, h.Token), counted(&w.requests.registry, h.Registry)
	}
	t.Cleanup(w.checkLog) // after everything is closed
	w.Env = apptest.New(t, o)
	w.one = registry{w.Registry, "1-1-demo"}
	w.two = registry{w.NewRegistry(2, 1, "demo"), "2-1-demo"}
	return w
}

func counted(n *atomic.Int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		next.ServeHTTP(w, r)
	})
}

// checkLog checks that the log is JSON and contains no secret and no token.
func (w *env) checkLog() {
	if w.Env == nil { // the server did not start
		return
	}
	text := w.Log.String()
	counts := make(map[string]int64)
	for line := range strings.Lines(text) {
		var entry struct {
			Level, Msg, Route string
			Status            int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			w.t.Errorf("got the log line %q, want only JSON", line)
			continue
		}
		if strings.HasPrefix(entry.Msg, "http") {
			w.t.Errorf("got the log line %q, want none of net/http", line)
		}
		if entry.Msg == "request" {
			counts[entry.Route]++
			if entry.Status < 200 || entry.Status > 599 {
				w.t.Errorf("got the log line %q, want the status of the response in it", line)
			}
		}
	}
	for route, n := range map[string]int64{"registry": w.requests.registry.Load(), "token": w.requests.token.Load()} {
		if counts[route] != n {
			w.t.Errorf("got %d log lines of %q for %d requests, want one for each", counts[route], route, n)
		}
	}
	for _, hidden := range w.hidden {
		if strings.Contains(text, hidden) {
			w.t.Errorf("the log contains a secret or a token:\n%s", text)
		}
	}
}

// hide makes checkLog refuse log lines with the text.
func (w *env) hide(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(text) > 8 {
		w.hidden = append(w.hidden, text)
	}
}

// login is a user with its secret.
type login struct {
	accounts.User
	registry
	secret string
}

// newUser creates a user, which never expires unless n has a duration.
func (w *env) newUser(at registry, n accounts.NewUser) login {
	w.t.Helper()
	u, err := w.Accounts.CreateUser(w.t.Context(), accounts.APIKey{}, at.RegistryRef, "", n)
	if err != nil {
		w.t.Fatal(err)
	}
	w.hide(u.Secret.Reveal())
	return login{u.User, at, u.Secret.Reveal()}
}

func (w *env) pusher(at registry) login {
	w.t.Helper()
	return w.newUser(at, accounts.NewUser{Name: "pusher", Duration: -1})
}

// account returns the user's account as it is now.
func (w *env) account(l login) accounts.Account {
	w.t.Helper()
	account, err := w.Accounts.Current(w.t.Context(), l.ID, l.Incarnation)
	if err != nil {
		w.t.Fatal(err)
	}
	return account
}

// otherProcess opens the data directory once more, as an admin's command does.
func (w *env) otherProcess() *accounts.Service {
	w.t.Helper()
	dir, err := datadir.Open(w.t.Context(), w.Dir.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return accounts.New(dir.Store, dir.ServerKey(), w.AppOptions.Now)
}

// bearer logs in and returns the header of a token for the scopes.
func (w *env) bearer(l login, scopes ...string) string {
	w.t.Helper()
	query := url.Values{"service": {service}, "scope": scopes}
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.URL+"/token?"+query.Encode(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	request.SetBasicAuth(l.Name, l.secret)
	response, err := w.Client().Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatalf("log in as %s for %q: got status %d, %v; want 200", l.Name, scopes, response.StatusCode, err)
	}
	w.hide(body.Token)
	return "Authorization: Bearer " + body.Token
}

// signed returns the header of a token with the account and the access.
func (w *env) signed(account accounts.Account, access ...oci.Access) string {
	w.t.Helper()
	text, _, _, err := w.issuer.Sign(account, access)
	if err != nil {
		w.t.Fatal(err)
	}
	w.hide(text)
	return "Authorization: Bearer " + text
}

func scope(repository, actions string) string { return "repository:" + repository + ":" + actions }

const all = "pull,push,delete"

// httpResponse is a response of the server.
type httpResponse struct {
	status int
	header http.Header
	body   string
	errors []struct{ Code, Message string }
}

func (a httpResponse) String() string { return fmt.Sprintf("status %d, %q", a.status, a.body) }

// code returns the first error's code and its text.
func (a httpResponse) code() (string, string) {
	if len(a.errors) == 0 {
		return "", ""
	}
	return a.errors[0].Code, a.errors[0].Message
}

// send sends a request with the headers ("Name: value") as it is, and follows
// no redirect. The target is a path, or a Location.
func (w *env) send(method, target, body string, headers ...string) httpResponse {
	w.t.Helper()
	a, err := w.trySend(method, target, body, headers...)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func (w *env) trySend(method, target, body string, headers ...string) (httpResponse, error) {
	w.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = w.URL + target
	}
	request, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, header := range headers {
		key, value, _ := strings.Cut(header, ": ")
		if key == "Host" {
			request.Host = value
		}
		request.Header.Add(key, value)
	}
	response, err := w.Client().Transport.RoundTrip(request)
	if err != nil {
		return httpResponse{}, err
	}
	return w.read(method+" "+target, response), nil
}

func (w *env) read(what string, response *http.Response) httpResponse {
	w.t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	a := httpResponse{status: response.StatusCode, header: response.Header, body: string(text)}
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(text, &body) == nil {
		a.errors = body.Errors
	}
	return a
}

// sendRaw sends a request line that no client would send, over a connection of its own.
func (w *env) sendRaw(method, target string, headers ...string) httpResponse {
	w.t.Helper()
	conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", w.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	text := method + " " + target + " HTTP/1.1\r\nHost: " + w.host() + "\r\nConnection: close\r\nContent-Length: 0\r\n"
	for _, header := range headers {
		text += header + "\r\n"
	}
	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		w.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%s %q: %v", method, target, err)
	}
	return w.read(fmt.Sprintf("%s %q", method, target), response)
}

func (w *env) host() string { return w.Listener.Addr().String() }

// wantStatus checks the status of a response, its code, and words of its text.
func (w *env) wantStatus(what string, got httpResponse, status int, code string, words ...string) {
	w.t.Helper()
	gotCode, text := got.code()
	if got.status != status || gotCode != code {
		w.t.Errorf("%s: got %v, want status %d, code %q", what, got, status, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			w.t.Errorf("%s: got the text %q, want %q in it", what, text, word)
		}
	}
}

// ref returns a reference to a tag or a digest ("demo/app:v1") on the server.
func (w *env) ref(text string) name.Reference {
	w.t.Helper()
	ref, err := name.ParseReference(w.host() + "/" + text)
	if err != nil {
		w.t.Fatal(err)
	}
	return ref
}

// as returns the settings of a real client that logs in as the user, and
// its exchanges.
func (w *env) as(l login) (*exchanges, []remote.Option) {
	e := &exchanges{next: w.Client().Transport}
	return e, []remote.Option{
		remote.WithContext(w.t.Context()),
		remote.WithTransport(e),
		remote.WithAuth(&authn.Basic{Username: l.Name, Password: l.secret}),
		remote.WithJobs(2),
	}
}

// exchanges records a client's requests and their responses.
type exchanges struct {
	next http.RoundTripper
	mu   sync.Mutex
	list []exchange
}

type exchange struct {
	method string
	url    *url.URL
	status int
}

func (e *exchanges) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := e.next.RoundTrip(r)
	if err == nil {
		e.mu.Lock()
		e.list = append(e.list, exchange{r.Method, r.URL, response.StatusCode})
		e.mu.Unlock()
	}
	return response, err
}

// count returns how many exchanges are of the method, and mount or do not.
func (e *exchanges) count(method string, status int, mounts bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, one := range e.list {
		if one.method == method && one.status == status && one.url.Query().Has("mount") == mounts {
			n++
		}
	}
	return n
}

func (e *exchanges) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var text strings.Builder
	for _, one := range e.list {
		fmt.Fprintln(&text, one.method, one.url.Path, one.status)
	}
	return text.String()
}

// wantRefused checks the error of a real client: the status, the code, words of the text.
func wantRefused(t *testing.T, what string, err error, status int, code transport.ErrorCode, words ...string) {
	t.Helper()
	var refused *transport.Error
	if !errors.As(err, &refused) || refused.StatusCode != status || len(refused.Errors) != 1 || refused.Errors[0].Code != code {
		t.Errorf("%s: got %v, want status %d, code %s", what, err, status, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: got %q, want %q in it", what, err, word)
		}
	}
}

func newImage(t *testing.T, layers int64) v1.Image {
	t.Helper()
	image, err := random.Image(4<<10, layers)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digestOf(t *testing.T, of interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	digest, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// push pushes an image. It must succeed.
func (w *env) push(l login, to string, image v1.Image) {
	w.t.Helper()
	_, options := w.as(l)
	if err := remote.Write(w.ref(to), image, options...); err != nil {
		w.t.Fatalf("push %s: %v", to, err)
	}
}

// wantPulled pulls a complete image, which must be the one that was pushed.
func (w *env) wantPulled(l login, from string, want v1.Image) {
	w.t.Helper()
	_, options := w.as(l)
	got, err := remote.Image(w.ref(from), options...)
	if err != nil {
		w.t.Errorf("pull %s: %v", from, err)
		return
	}
	wantSame(w.t, from, got, want)
}

func wantSame(t *testing.T, what string, got, want v1.Image) {
	t.Helper()
	if got, want := digestOf(t, got), digestOf(t, want); got != want {
		t.Errorf("%s: got the image %v, want %v", what, got, want)
	}
	layers, err := got.Layers()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	wanted, err := want.Layers()
	if err != nil || len(layers) != len(wanted) {
		t.Fatalf("%s: got %d layers, %v; want %d", what, len(layers), err, len(wanted))
	}
	for i, layer := range layers {
		if got, want := digestOf(t, layer), digestOf(t, wanted[i]); got != want {
			t.Errorf("%s: layer %d: got %v, want %v", what, i, got, want)
		}
		content, err := layer.Compressed() // verifies as it reads
		if err == nil {
			_, err = io.Copy(io.Discard, content)
		}
		if err != nil {
			t.Errorf("%s: layer %d: %v", what, i, err)
		}
	}
}
