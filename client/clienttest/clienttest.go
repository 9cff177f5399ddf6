// Package clienttest serves the API inside a test: the binary's handler, with a
// database in memory, on a free loopback port. The test controls the server's
// time, failures and latency.
//
//	func TestDeploy(t *testing.T) {
//		srv := clienttest.NewServer(t)
//		srv.Fail(clienttest.DropResponse) // the first response is lost; the client tries again
//
//		user, err := srv.Client().CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "ci", Days: 30})
//		if err != nil {
//			t.Fatal(err)
//		}
//		if users := srv.Users(); len(users) != 1 {
//			t.Errorf("%d users; want 1", len(users))
//		}
//		if err := srv.Login(user.Name, user.Secret); err != nil {
//			t.Errorf("login: %v", err)
//		}
//		srv.Advance(30 * 24 * time.Hour)
//		if err := srv.Login(user.Name, user.Secret); !errors.Is(err, registryusers.ErrUnauthenticated) {
//			t.Errorf("login of an expired user: %v; want %v", err, registryusers.ErrUnauthenticated)
//		}
//	}
//
// The server has no images and issues no tokens: [Server.Login] checks a login in
// place of the registry. Programs in other languages, and code that makes its own
// client, use [Server.URL] and the other fields of a [Server].
package clienttest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/app"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/store"
	"github.com/registryusers/registryusers/internal/web"
)

// Server serves the API, with one registry and one API key. Its methods are safe
// for concurrent use; its fields must not be changed.
type Server struct {
	URL    string               // http://127.0.0.1:PORT, the client's base URL
	APIKey registryusers.Secret // valid for ProjectID only: other projects get 403

	// The ids of the registry and of its project and region. They differ, so that
	// a test notices if a program swaps them.
	ProjectID, RegionID, RegistryID int64

	t        testing.TB
	http     *httptest.Server
	handler  http.Handler
	accounts *accounts.Service

	mu       sync.Mutex // guards what follows
	now      time.Time
	latency  time.Duration
	failures []Failure
	requests int
	logins   int
}

// NewServer starts a server for the test t, and closes it with all of its
// connections when t and its subtests have ended. Servers share nothing, so tests
// may run in parallel. The server checks every response against the API's document
// and writes its errors (500) to t's log. If the server cannot start, t fails.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{ProjectID: 2, RegionID: 3, t: t, now: time.Now().UTC().Truncate(time.Microsecond)}
	if err := s.start(t.Context()); err != nil {
		t.Fatalf("clienttest: the server cannot start: %v", err)
	}
	return s
}

func (s *Server) start(ctx context.Context) error {
	database, err := store.Open(ctx, "sqlite::memory:")
	if err != nil {
		return err
	}
	s.t.Cleanup(func() {
		if err := database.Close(); err != nil {
			s.t.Errorf("clienttest: %v", err)
		}
	})
	var key [32]byte
	_, _ = rand.Read(key[:]) // crypto/rand never fails
	a, err := app.Open(ctx, database, accounts.NewServerKey("clienttest", key), app.Config{
		Now:               s.Now,
		Logger:            slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		BareNames:         true, // unambiguous, with one registry; Login uses them
		ValidateResponses: true,
	})
	if err != nil {
		return err
	}
	s.accounts, s.handler = a.Accounts, a.Server(web.Options{}).Handler
	registry, err := s.accounts.CreateRegistry(ctx, accounts.Administrator, s.ProjectID, s.RegionID, "test")
	if err != nil {
		return err
	}
	s.RegistryID = registry.ID
	if _, s.APIKey, err = s.accounts.CreateAPIKey(ctx, s.ProjectID); err != nil {
		return err
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = s.http.URL
	s.t.Cleanup(func() { // runs before the store is closed
		s.http.CloseClientConnections() // ends waiting requests
		s.http.Close()
	})
	return nil
}

// Client returns a client of the server. The server's URL, API key, project and
// region override the environment; options override these. Other settings are
// those of [client.New], so the client repeats failed calls by default. If an option
// is not valid, the test fails, and so do the client's calls.
func (s *Server) Client(options ...client.Option) *client.Client {
	s.t.Helper()
	c, err := client.New(append([]client.Option{
		client.WithBaseURL(s.URL),
		client.WithAPIKey(s.APIKey.Reveal()),
		client.WithProject(s.ProjectID),
		client.WithRegion(s.RegionID),
		// Without a proxy; the server closes its idle connections.
		client.WithHTTPClient(&http.Client{Transport: s.http.Client().Transport, Timeout: client.DefaultTimeout}),
	}, options...)...)
	if err != nil {
		s.t.Errorf("clienttest: %v", err) // not Fatalf, which works on the test's goroutine only
		return new(client.Client)
	}
	return c
}

// Now returns the server's time, in UTC and whole microseconds. It is the real
// time of the server's start, and changes only by [Server.Advance]. A user that is
// created now has it as CreatedAt.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Advance moves the server's time forward by d. Users and Idempotency-Keys expire
// by the server's time; latency and the client's waits take real time.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// SetLatency makes the server, from the next request on, wait for d (real time)
// between carrying out a request and sending the response. The wait ends early if
// the client disconnects. The default is 0.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Fail makes the next requests fail, one Failure for each request in the order of
// arrival. A nil Failure lets its request succeed. Failures of earlier calls to
// Fail come first. A client's repeat counts as a request.
func (s *Server) Fail(failures ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failures...)
}

// Requests returns the number of requests that have arrived, including failed ones.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Users returns the registry's users in the order of their creation, including
// expired ones.
func (s *Server) Users() []client.User {
	s.t.Helper()
	users, err := s.accounts.Users(context.Background(), accounts.Administrator, accounts.RegistryRef{ProjectID: s.ProjectID, RegionID: s.RegionID, RegistryID: s.RegistryID})
	if err != nil {
		s.t.Errorf("clienttest: %v", err) // not Fatalf: a Failure may call this on the server's goroutine
	}
	all := make([]client.User, len(users))
	for i, u := range users {
		all[i] = client.User{ID: u.ID, Name: u.Name, ReadOnly: u.ReadOnly, Days: u.Duration, CreatedAt: u.CreatedAt, ExpiresAt: u.ExpiresAt}
	}
	return all
}

// Login checks a user's name and secret as docker login would, at the server's
// time. It returns nil, or [registryusers.ErrUnauthenticated] if the registry has no
// such user, the secret is wrong, or the user has expired. The name is enough,
// without the registry, as on a server with --bare-names. The number of failed
// logins is not limited. A login is not a request: neither [Server.Fail] nor
// latency applies.
func (s *Server) Login(name string, secret registryusers.Secret) error {
	s.mu.Lock()
	s.logins++
	from := strconv.Itoa(s.logins) // a new address each time: the login throttle counts failures by address
	s.mu.Unlock()
	_, err := s.accounts.Login(context.Background(), accounts.LoginAttempt{Account: name, Secret: secret, From: from})
	return err
}

// serve handles a request, or applies the next Failure to it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	var failure Failure
	if len(s.failures) > 0 {
		failure, s.failures = s.failures[0], s.failures[1:]
	}
	if latency := s.latency; latency > 0 {
		slow := &observe.Writer{ResponseWriter: w}
		slow.BeforeWrite(sync.OnceFunc(func() {
			_, _ = io.Copy(io.Discard, r.Body) // net/http notices that the client has disconnected only after the body
			select {
			case <-time.After(latency):
			case <-r.Context().Done():
			}
		}))
		w = slow
	}
	s.mu.Unlock()

	if failure != nil {
		failure(w, r, s.handler)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// A Failure makes a request fail: [DropRequest], [DropResponse], [BreakResponse],
// a result of [Status] or [RetryAfter], or a function of the test. It handles the
// request in place of server, and may call server to carry it out. To close the
// connection, it panics with [http.ErrAbortHandler].
type Failure func(w http.ResponseWriter, r *http.Request, server http.Handler)

// DropRequest is a [Failure] that closes the connection without carrying out the
// request.
func DropRequest(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// DropResponse is a [Failure] that carries out the request and closes the
// connection without a response.
func DropResponse(_ http.ResponseWriter, r *http.Request, server http.Handler) {
	server.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// BreakResponse is a [Failure] that carries out the request and closes the
// connection after the response's header and half of its body.
func BreakResponse(w http.ResponseWriter, r *http.Request, server http.Handler) {
	response := httptest.NewRecorder()
	server.ServeHTTP(response, r)
	body := response.Body.Bytes()
	maps.Copy(w.Header(), response.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(response.Code)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Status returns a [Failure] that does not carry out the request, and responds
// with the status code and an error in the document's form, without a Retry-After.
// It panics if code is not from 400 to 599.
func Status(code int) Failure { return failWith(code, nil) }

// RetryAfter returns a [Failure] like [Status], with a Retry-After of wait, rounded
// up to whole seconds, for use with 429 and 503. A client that repeats the request
// waits for that time, in real time.
func RetryAfter(code int, wait time.Duration) Failure {
	seconds := max(0, wait) / time.Second
	if wait > seconds*time.Second {
		seconds++
	}
	return failWith(code, []string{strconv.FormatInt(int64(seconds), 10)})
}

func failWith(code int, retryAfter []string) Failure {
	if code < 400 || code > 599 {
		panic(fmt.Sprintf("clienttest: %d is not an error status: use 400 to 599", code))
	}
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header()["Retry-After"] = retryAfter
		apierror.Write(w, code, apierror.Body{RequestID: rand.Text()})
	}
}
