// Package clienttest serves the API inside a test: the handler that the binary
// serves, with a database in memory, on a loopback port of its own. Time,
// failures and latency are in the test's hands.
//
//	func TestDeploy(t *testing.T) {
//		srv := clienttest.NewServer(t)
//		srv.Fail(clienttest.DropResponse) // the first answer gets lost; the client asks again
//
//		user, err := srv.Client().CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "ci", Duration: 30})
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
//			t.Errorf("login after its days: %v; want %v", err, registryusers.ErrUnauthenticated)
//		}
//	}
//
// There are no images and no tokens for them: [Server.Login] stands in for the
// registry. Programs in other languages, and code that makes its own client,
// need [Server.URL] and the other fields of a [Server].
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
	"github.com/registryusers/registryusers/internal/store"
	"github.com/registryusers/registryusers/internal/web"
)

// Server is the API, with one registry and one API key. Its methods are safe
// for concurrent use; its fields are for reading.
type Server struct {
	URL    string               // http://127.0.0.1:PORT, what the client calls its base URL
	APIKey registryusers.Secret // good for the project alone: another one is answered 403

	// The registry and its place: three different numbers, so that none is
	// taken for another.
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
// connections when t and its subtests are over. It shares nothing with other
// servers: tests may run in parallel. Every answer is checked against the API's
// document; a server's error (500) is told in t's log. If the server cannot
// start, t fails.
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
	_, _ = rand.Read(key[:]) // never fails: crypto/rand
	a, err := app.Open(ctx, app.Config{
		Store:             database,
		ServerKey:         accounts.NewServerKey("clienttest", key),
		Now:               s.Now,
		Logger:            slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		BareNames:         true, // for Login: there is one registry
		ValidateResponses: true,
	})
	if err != nil {
		return err
	}
	s.accounts, s.handler = a.Accounts, a.Server(web.Options{}).Handler
	registry, err := s.accounts.CreateRegistry(ctx, s.ProjectID, s.RegionID, "test")
	if err != nil {
		return err
	}
	s.RegistryID = registry.ID
	if _, s.APIKey, err = s.accounts.CreateKey(ctx, s.ProjectID); err != nil {
		return err
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = s.http.URL
	s.t.Cleanup(func() { // before the store's
		s.http.CloseClientConnections() // ends requests that wait
		s.http.Close()
	})
	return nil
}

// Client returns a client of the server: its URL, API key, project and region
// are set, whatever the environment says, and the options come after. All else
// is as [client.New] has it, so calls are repeated by default. The test fails if
// an option is not valid.
func (s *Server) Client(options ...client.Option) *client.Client {
	s.t.Helper()
	c, err := client.New(append([]client.Option{
		client.WithBaseURL(s.URL),
		client.WithAPIKey(s.APIKey.Reveal()),
		client.WithProject(s.ProjectID),
		client.WithRegion(s.RegionID),
		// Through no proxy, and its idle connections end with the server.
		client.WithHTTPClient(&http.Client{Transport: s.http.Client().Transport, Timeout: client.DefaultTimeout}),
	}, options...)...)
	if err != nil {
		s.t.Fatalf("clienttest: %v", err)
	}
	return c
}

// Now returns the server's time, in UTC. It is the real time at the start, in
// whole microseconds, and stands still but for [Server.Advance]: a user that is
// created now has it as CreatedAt.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Advance sets the server's time d forward. A user's days, and the 24 hours of
// an Idempotency-Key, go by that time; latency, and what a client waits, do not.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// SetLatency has every answer, from the next request on, leave that much (real)
// time after it was decided: by then the request is carried out. Whoever does
// not wait for the answer does not hold the server up. The default is 0.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Fail has the next requests fail, each in its way, in the order in which they
// arrive; nil stands for one that does not fail. They come after those of
// earlier calls. A client's repeat is a request, too.
func (s *Server) Fail(failures ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failures...)
}

// Requests returns how many requests have arrived, failed ones included.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Users returns the registry's users, in the order in which they were created,
// without their secrets, which the server does not keep. Users that have ended
// are among them.
func (s *Server) Users() []client.User {
	s.t.Helper()
	users, err := s.accounts.Users(context.Background(), s.RegistryID)
	if err != nil {
		s.t.Fatalf("clienttest: %v", err)
	}
	all := make([]client.User, len(users))
	for i, u := range users {
		all[i] = client.User{ID: u.ID, Name: u.Name, ReadOnly: u.ReadOnly, Duration: u.Duration, CreatedAt: u.CreatedAt, ExpiresAt: u.ExpiresAt}
	}
	return all
}

// Login tries a user's name and secret as docker login would, at the server's
// time. It returns nil, or [registryusers.ErrUnauthenticated] if there is no such
// name, the secret is not its, or the user has expired. The name alone is enough,
// as on a server with --bare-names. Failures are not limited in number. It is not a
// request: neither [Server.Fail] nor latency applies.
func (s *Server) Login(name string, secret registryusers.Secret) error {
	s.mu.Lock()
	s.logins++
	from := strconv.Itoa(s.logins) // each from an address of its own, as failures are counted by address
	s.mu.Unlock()
	_, err := s.accounts.Login(context.Background(), accounts.LoginAttempt{Account: name, Secret: secret, From: from})
	return err
}

// serve answers a request, or fails it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	var failure Failure
	if len(s.failures) > 0 {
		failure, s.failures = s.failures[0], s.failures[1:]
	}
	if s.latency > 0 {
		w = &slowWriter{ResponseWriter: w, request: r, latency: s.latency}
	}
	s.mu.Unlock()

	if failure != nil {
		failure(w, r, s.handler)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// slowWriter waits before an answer begins.
type slowWriter struct {
	http.ResponseWriter
	request *http.Request
	latency time.Duration
	once    sync.Once
}

func (w *slowWriter) wait() {
	_, _ = io.Copy(io.Discard, w.request.Body) // until then net/http does not notice that the client has gone
	select {
	case <-time.After(w.latency):
	case <-w.request.Context().Done():
	}
}

func (w *slowWriter) WriteHeader(code int) {
	w.once.Do(w.wait)
	w.ResponseWriter.WriteHeader(code)
}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.once.Do(w.wait)
	return w.ResponseWriter.Write(p)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A Failure is a way for a request to fail: [DropRequest], [DropResponse],
// [BreakResponse], what [Status] and [RetryAfter] return, or a function of the
// test's own. It answers the request in the place of server, which carries it
// out if the Failure has it do so, and its panic with [http.ErrAbortHandler]
// closes the connection.
type Failure func(w http.ResponseWriter, r *http.Request, server http.Handler)

// DropRequest is a [Failure]: nothing is done, and the connection is closed
// without an answer.
func DropRequest(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// DropResponse is a [Failure]: the request is carried out, and the connection is
// closed without an answer.
func DropResponse(_ http.ResponseWriter, r *http.Request, server http.Handler) {
	server.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// BreakResponse is a [Failure]: the request is carried out, and the connection is
// closed after the answer's header and half of its body.
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

// Status returns a [Failure]: nothing is done, and the answer has that status
// and is an error in the document's form, without a Retry-After. It panics if
// code is not from 400 to 599.
func Status(code int) Failure { return failWith(code, nil) }

// RetryAfter returns a [Failure] like [Status], with a Retry-After of wait in
// whole seconds, rounded up: made for 429 and 503. A client that repeats the
// request waits for that long, in real time.
func RetryAfter(code int, wait time.Duration) Failure {
	seconds := max(0, wait) / time.Second
	if wait > seconds*time.Second {
		seconds++
	}
	return failWith(code, []string{strconv.FormatInt(int64(seconds), 10)})
}

func failWith(code int, retryAfter []string) Failure {
	if code < 400 || code > 599 {
		panic(fmt.Sprintf("clienttest: %d is not the status of an error", code))
	}
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header()["Retry-After"] = retryAfter
		apierror.Write(w, code, apierror.Body{RequestID: rand.Text()})
	}
}
