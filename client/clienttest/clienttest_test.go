package clienttest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/client/clienttest"
)

const day = 24 * time.Hour

// create creates a user, and fails the test if that fails.
func create(t *testing.T, srv *clienttest.Server, user client.NewUser, options ...client.Option) client.CreatedUser {
	t.Helper()
	created, err := srv.Client(options...).CreateUser(t.Context(), srv.RegistryID, user)
	if err != nil {
		t.Fatalf("CreateUser(%+v): %v", user, err)
	}
	return created
}

func wantIs(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

func TestExamples(tt *testing.T) {
	for name, example := range map[string]func(){
		"NewServer":          ExampleNewServer,
		"Server_environment": ExampleServer_environment,
		"Server_Fail":        ExampleServer_Fail,
		"Failure":            ExampleFailure,
	} {
		tt.Run(name, func(tt *testing.T) {
			t = tt
			example()
		})
	}
}

func TestServersAreSeparate(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			srv, other := clienttest.NewServer(t), clienttest.NewServer(t)
			srv.Advance(time.Duration(i+1) * time.Hour)
			srv.Fail(clienttest.Status(http.StatusForbidden))
			user := create(t, other, client.NewUser{Name: "ci", Days: 30})
			if !user.CreatedAt.Equal(other.Now()) {
				t.Errorf("the other server's user is of %v; want %v", user.CreatedAt, other.Now())
			}
			if users, requests := srv.Users(), srv.Requests(); len(users) != 0 || requests != 0 {
				t.Errorf("the server has %d users and %d requests; want none", len(users), requests)
			}
			wantIs(t, "login with the other server's user", srv.Login(user.Name, user.Secret), registryusers.ErrUnauthenticated)
			_, err := srv.Client(client.WithAPIKey(other.APIKey.Reveal())).CreateUser(t.Context(), srv.RegistryID, client.NewUser{})
			wantIs(t, "the failure set by Fail", err, registryusers.ErrForbidden)
			_, err = srv.Client(client.WithAPIKey(other.APIKey.Reveal())).CreateUser(t.Context(), srv.RegistryID, client.NewUser{})
			wantIs(t, "a create with the other server's key", err, registryusers.ErrUnauthenticated)
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	c := srv.Client()
	const calls = 32
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			user, err := c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: fmt.Sprint("u", i), Days: -1})
			if err != nil {
				t.Errorf("CreateUser %d: %v", i, err)
				return
			}
			if err := srv.Login(user.Name, user.Secret); err != nil {
				t.Errorf("login %d: %v", i, err)
			}
			srv.Advance(time.Second)
			srv.SetLatency(time.Microsecond)
			srv.Fail()
			_ = srv.Now()
		})
	}
	wg.Wait()
	if users, requests := srv.Users(), srv.Requests(); len(users) != calls || requests != calls {
		t.Errorf("%d users of %d requests; want %d", len(users), requests, calls)
	}
}

func TestTheRulesAreTheServers(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	if srv.ProjectID == srv.RegionID || srv.RegionID == srv.RegistryID || srv.RegistryID == srv.ProjectID {
		t.Errorf("project %d, region %d, registry %d; want three numbers", srv.ProjectID, srv.RegionID, srv.RegistryID)
	}
	c := srv.Client()
	created := create(t, srv, client.NewUser{Name: "ci", Days: 30, ReadOnly: true})
	custom := create(t, srv, client.NewUser{Name: "me", Days: -1, Secret: registryusers.NewSecret("my own words")})
	want := []client.User{created.User, custom.User}
	if diff := cmp.Diff(want, srv.Users()); diff != "" {
		t.Errorf("Users() differs from the created users (-want +got):\n%s", diff)
	}
	for _, user := range []client.CreatedUser{created, custom} {
		if err := srv.Login(user.Name, user.Secret); err != nil {
			t.Errorf("login of %s: %v", user.Name, err)
		}
	}
	for range 12 { // more failures than the limit
		wantIs(t, "login with a wrong secret", srv.Login("me", registryusers.NewSecret("guess")), registryusers.ErrUnauthenticated)
	}
	wantIs(t, "login of no user", srv.Login("you", created.Secret), registryusers.ErrUnauthenticated)

	_, err := c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "ci", Days: 30})
	wantIs(t, "the name again", err, registryusers.ErrUserExists)
	_, err = c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "Not Valid", Days: 1000})
	wantIs(t, "a bad request", err, registryusers.ErrInvalid)
	var response *client.Error
	if !errors.As(err, &response) || !slices.Equal(slices.Sorted(maps.Keys(response.InvalidFields)), []string{"duration", "name"}) {
		t.Errorf("a bad request: %v; want the fields duration and name in it", err)
	}
	_, err = c.CreateUser(t.Context(), srv.RegistryID+1, client.NewUser{})
	wantIs(t, "another registry", err, registryusers.ErrRegistryNotFound)
	_, err = c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{}, client.WithRegion(srv.RegionID+1))
	wantIs(t, "another region", err, registryusers.ErrRegistryNotFound)
	_, err = c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{}, client.WithProject(srv.ProjectID+1))
	wantIs(t, "another project", err, registryusers.ErrForbidden)
}

func TestTheEnvironmentDoesNotMatter(t *testing.T) {
	for name, value := range map[string]string{
		"GCORE_BASE_URL":         "https://registry.invalid",
		"GCORE_API_KEY":          "9$another",
		"GCORE_CLOUD_PROJECT_ID": "none",
		"GCORE_CLOUD_REGION_ID":  "99",
	} {
		t.Setenv(name, value)
	}
	create(t, clienttest.NewServer(t), client.NewUser{Name: "ci", Days: 30}, client.WithoutRetry())
}

func TestTimeStandsStill(t *testing.T) {
	t.Parallel()
	before := time.Now().Truncate(time.Microsecond)
	srv := clienttest.NewServer(t)
	now := srv.Now()
	if now.Before(before) || now.After(time.Now()) || now.Location() != time.UTC {
		t.Errorf("Now() = %v; want the time in UTC, %v", now, before)
	}
	user := create(t, srv, client.NewUser{Name: "a", Days: 1})
	if !user.CreatedAt.Equal(now) || !user.ExpiresAt.Equal(now.Add(day)) {
		t.Errorf("a user from %v to %v; want %v and a day more", user.CreatedAt, user.ExpiresAt, now)
	}
	srv.Advance(day - time.Microsecond)
	if err := srv.Login("a", user.Secret); err != nil {
		t.Errorf("login in its last microsecond: %v", err)
	}
	srv.Advance(time.Microsecond)
	wantIs(t, "login at its end", srv.Login("a", user.Secret), registryusers.ErrUnauthenticated)
	if got, want := srv.Now(), now.Add(day); !got.Equal(want) {
		t.Errorf("Now() = %v; want %v", got, want)
	}
	if later := create(t, srv, client.NewUser{Name: "b", Days: 0}); !later.CreatedAt.Equal(srv.Now()) {
		t.Errorf("a later user is of %v; want %v", later.CreatedAt, srv.Now())
	}
}

func TestIdempotencyKeysExpireAfter24Hours(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	c, user, key := srv.Client(), client.NewUser{Name: "ci", Days: 30}, client.WithIdempotencyKey("k")
	first, err := c.CreateUser(t.Context(), srv.RegistryID, user, key)
	if err != nil {
		t.Fatal(err)
	}
	srv.Advance(day - time.Microsecond)
	again, err := c.CreateUser(t.Context(), srv.RegistryID, user, key)
	if err != nil || !cmp.Equal(again, first) {
		t.Errorf("a repeat within 24 hours: %v, %v; want %v with the same secret", again, err, first)
	}
	srv.Advance(time.Microsecond)
	_, err = c.CreateUser(t.Context(), srv.RegistryID, user, key)
	wantIs(t, "a repeat after 24 hours", err, registryusers.ErrUserExists)
}

func proxyPage(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	http.Error(w, "<h1>Service unavailable</h1>", http.StatusServiceUnavailable)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		failure clienttest.Failure
		again   bool // whether the client repeats the call
		done    bool // whether the request is carried out
		status  int  // of the client's Error, 0: no response
		is      error
		unknown bool
	}{
		{"DropRequest", clienttest.DropRequest, true, false, 0, client.ErrOutcomeUnknown, true},
		{"DropResponse", clienttest.DropResponse, true, true, 0, client.ErrOutcomeUnknown, true},
		{"BreakResponse", clienttest.BreakResponse, true, true, 201, client.ErrOutcomeUnknown, true},
		{"RetryAfter 503", clienttest.RetryAfter(503, 0), true, false, 503, registryusers.ErrUnavailable, false},
		{"RetryAfter 429", clienttest.RetryAfter(429, 0), true, false, 429, registryusers.ErrTooManyRequests, false},
		{"a proxy's page", proxyPage, true, false, 503, registryusers.ErrUnavailable, true},
		{"Status 400", clienttest.Status(400), false, false, 400, registryusers.ErrInvalid, false},
		{"Status 401", clienttest.Status(401), false, false, 401, registryusers.ErrUnauthenticated, false},
		{"Status 403", clienttest.Status(403), false, false, 403, registryusers.ErrForbidden, false},
		{"Status 404", clienttest.Status(404), false, false, 404, registryusers.ErrRegistryNotFound, false},
		{"Status 409", clienttest.Status(409), false, false, 409, registryusers.ErrUserExists, false},
		{"Status 429", clienttest.Status(429), true, false, 429, registryusers.ErrTooManyRequests, false},
		{"Status 500", clienttest.Status(500), true, false, 500, registryusers.ErrInternal, true},
		{"Status 502", clienttest.Status(502), true, false, 502, registryusers.ErrUnavailable, true},
		{"Status 503", clienttest.Status(503), true, false, 503, registryusers.ErrUnavailable, false},
		{"Status 504", clienttest.Status(504), true, false, 504, registryusers.ErrUnavailable, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := clienttest.NewServer(t)
			create(t, srv, client.NewUser{Name: "first", Days: 30}) // so that the others find a connection

			// Without retry, the call fails.
			srv.Fail(test.failure)
			_, err := srv.Client(client.WithoutRetry()).CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "once", Days: 30})
			wantIs(t, "a call without retry", err, test.is)
			if got := errors.Is(err, client.ErrOutcomeUnknown); got != test.unknown {
				t.Errorf("a call without retry: %v; its outcome is unknown: %t, want %t", err, got, test.unknown)
			}
			var response *client.Error
			if got := errors.As(err, &response); got != (test.status != 0) || got && response.Status != test.status {
				t.Errorf("a call without retry: %#v; want an Error of the status %d (0: none)", err, test.status)
			}
			if users := srv.Users()[1:]; (len(users) == 1) != test.done || srv.Requests() != 2 {
				t.Errorf("more users after %d requests: %v; want one: %t", srv.Requests(), users, test.done)
			}

			// By default, the call is repeated, and there is one user.
			before := len(srv.Users())
			srv.Fail(test.failure)
			user, err := srv.Client().CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "again", Days: 30})
			created, requests := len(srv.Users())-before, srv.Requests()-2
			if !test.again {
				wantIs(t, "a call", err, test.is)
				if created != 0 || requests != 1 {
					t.Errorf("%d users of %d requests; want none of 1", created, requests)
				}
				return
			}
			if err != nil {
				t.Fatalf("a call with retries: %v", err)
			}
			if created != 1 || requests != 2 {
				t.Errorf("%d users of %d requests; want 1 of 2", created, requests)
			}
			if err := srv.Login("again", user.Secret); err != nil {
				t.Errorf("login with the secret of the second response: %v", err)
			}
		})
	}
}

func TestFailuresComeInOrder(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	srv.Fail(clienttest.Status(500), nil, clienttest.Status(418))
	srv.Fail(clienttest.DropResponse)
	var got []int
	for range 5 {
		response, err := post(t, srv, `{}`)
		if err != nil {
			got = append(got, 0)
			continue
		}
		response.Body.Close()
		got = append(got, response.StatusCode)
	}
	if want := []int{500, 400, 418, 0, 400}; !slices.Equal(got, want) || srv.Requests() != 5 {
		t.Errorf("statuses %d of %d requests (0: no response); want %d of 5", got, srv.Requests(), want)
	}
}

// post sends a create without the client.
func post(t *testing.T, srv *clienttest.Server, body string) (*http.Response, error) {
	t.Helper()
	path := fmt.Sprintf("/cloud/v1/registries/%d/%d/%d/users", srv.ProjectID, srv.RegionID, srv.RegistryID)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "apikey "+srv.APIKey.Reveal())
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DisableKeepAlives: true}
	return transport.RoundTrip(r)
}

// An error set by Fail has the form of the server's own errors.
func TestFailuresHaveTheDocumentsForm(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	srv.Fail(nil, clienttest.Status(400), clienttest.RetryAfter(503, 1500*time.Millisecond), clienttest.RetryAfter(429, -1), clienttest.Status(401), clienttest.Status(409), clienttest.Status(599), clienttest.RetryAfter(503, math.MaxInt64))
	type response struct {
		status int
		header http.Header
		body   map[string]any
	}
	var responses []response
	for range 8 {
		raw, err := post(t, srv, `{"name":1,"duration":1}`)
		if err != nil {
			t.Fatal(err)
		}
		a := response{status: raw.StatusCode, header: raw.Header}
		if err := json.NewDecoder(raw.Body).Decode(&a.body); err != nil {
			t.Errorf("status %d: the body: %v", a.status, err)
		}
		raw.Body.Close()
		for _, key := range []string{"exception_class", "message", "request_id"} {
			if text, _ := a.body[key].(string); text == "" {
				t.Errorf("status %d: the body is %v; want %s in it", a.status, a.body, key)
			}
		}
		if id := a.header.Get("X-Request-Id"); id == "" || id != a.body["request_id"] {
			t.Errorf("status %d: X-Request-Id %q, body %v; want the same id", a.status, id, a.body)
		}
		responses = append(responses, a)
	}
	if own, failed := responses[0], responses[1]; own.status != 400 || own.body["exception_class"] != failed.body["exception_class"] ||
		own.header.Get("Content-Type") != failed.header.Get("Content-Type") || own.header.Get("X-Request-Id") == failed.header.Get("X-Request-Id") {
		t.Errorf("a failure's response is %v; want it like the server's own, %v", failed, own)
	}
	for _, a := range responses[:2] {
		for _, name := range []string{"Date", "Content-Length", "X-Request-Id"} {
			a.header.Del(name)
		}
	}
	if own, failed := responses[0].header, responses[1].header; !reflect.DeepEqual(failed, own) {
		t.Errorf("a failure's headers are %v; want those of the server's own error, %v", failed, own)
	}
	for i, want := range map[int][2]string{
		2: {"Retry-After", "2"}, 3: {"Retry-After", "0"}, 4: {"WWW-Authenticate", "apikey"}, 5: {"x-should-retry", "false"}, 6: {"Retry-After", ""}, 7: {"Retry-After", "9223372037"},
	} {
		if got := responses[i].header.Get(want[0]); got != want[1] {
			t.Errorf("status %d: %s %q; want %q", responses[i].status, want[0], got, want[1])
		}
	}
}

func TestStatusIsOfAnError(t *testing.T) {
	t.Parallel()
	for _, code := range []int{-1, 0, 100, 201, 302, 399, 600} {
		for name, failure := range map[string]func(){
			"Status":     func() { clienttest.Status(code) },
			"RetryAfter": func() { clienttest.RetryAfter(code, 0) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s(%d) did not panic", name, code)
					}
				}()
				failure()
			}()
		}
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	const latency = 50 * time.Millisecond
	srv.SetLatency(latency)
	start := time.Now()
	create(t, srv, client.NewUser{Name: "slow", Days: 1})
	if took := time.Since(start); took < latency {
		t.Errorf("the response took %v; want %v or more", took, latency)
	}
	srv.SetLatency(0)
	create(t, srv, client.NewUser{Name: "quick", Days: 1})
}

// A caller that stops waiting does not stop the create.
func TestLatencyEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]clienttest.Failure{"carried out": nil, "failed": clienttest.Status(500)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			srv := clienttest.NewServer(t)
			srv.SetLatency(time.Hour)
			srv.Fail(func(w http.ResponseWriter, r *http.Request, server http.Handler) {
				defer close(ended)
				if failure != nil {
					failure(w, r, server)
					return
				}
				server.ServeHTTP(w, r)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := srv.Client().CreateUser(ctx, srv.RegistryID, client.NewUser{Name: "ci", Days: 30})
			wantIs(t, "CreateUser", err, context.DeadlineExceeded)
			wantIs(t, "CreateUser", err, client.ErrOutcomeUnknown)
			<-ended
			if users := srv.Users(); (len(users) == 1) != (failure == nil) || srv.Requests() != 1 {
				t.Errorf("%d users of %d requests; want one user: %t", len(users), srv.Requests(), failure == nil)
			}
		})
	}
}

// fatal is a test that notices Fatal, which ends the goroutine that calls it: on
// another than the test's, the test would go on, or never end.
type fatal struct {
	testing.TB
	mu     sync.Mutex
	errors []string
	fatals int
}

func (f *fatal) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fatals++
}

// A Failure and a goroutine of the test's may call every method of a Server.
func TestMethodsFailWithoutFatal(t *testing.T) {
	tb := &started{TB: &fatal{TB: t}}
	srv := clienttest.NewServer(tb)
	tb.end() // so that the store fails
	if users := srv.Users(); len(users) != 0 {
		t.Errorf("Users() of a closed store = %v; want none", users)
	}
	if _, err := srv.Client(client.WithBaseURL("nonsense")).CreateUser(t.Context(), srv.RegistryID, client.NewUser{}); err == nil {
		t.Error("a call of a client whose option is not valid succeeded")
	}
	f := tb.TB.(*fatal)
	if f.fatals > 0 || len(f.errors) != 2 || !strings.Contains(f.errors[1], "base URL") {
		t.Errorf("%d calls of Fatalf, errors %q; want two errors and no Fatalf", f.fatals, f.errors)
	}
}

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	address, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	at, err := netip.ParseAddrPort(address.Host)
	if err != nil || !at.Addr().IsLoopback() || address.Scheme != "http" || address.Path != "" {
		t.Errorf("URL = %q, %v; want http://127.0.0.1:PORT", srv.URL, err)
	}
}

func TestServerIsClosedAfterTheTest(t *testing.T) {
	before := runtime.NumGoroutine()
	var srv *clienttest.Server
	abandoned := make(chan error, 1)
	t.Run("inner", func(t *testing.T) {
		srv = clienttest.NewServer(t)
		create(t, srv, client.NewUser{Name: "ci", Days: 30})
		response, err := http.Get(srv.URL) // leaves a connection in http.DefaultTransport
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()

		// A call in progress does not keep the test from ending.
		srv.SetLatency(time.Hour)
		c := srv.Client(client.WithoutRetry())
		go func() {
			_, err := c.CreateUser(context.Background(), srv.RegistryID, client.NewUser{Name: "late", Days: 30})
			abandoned <- err
		}()
		for srv.Requests() < 3 {
			runtime.Gosched()
		}
	})
	wantIs(t, "the call that was under way", <-abandoned, client.ErrOutcomeUnknown)
	http.DefaultClient.CloseIdleConnections()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines; want the %d of before\n%s", after, before, stacks[:runtime.Stack(stacks, true)])
	}
	if _, err := http.Get(srv.URL); err == nil {
		t.Error("the server still responds")
	}
}

// started is a running test that ends on request.
type started struct {
	testing.TB
	cleanups []func()
}

func (s *started) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *started) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// BenchmarkNewServer measures starting and closing a server.
func BenchmarkNewServer(b *testing.B) {
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			t := &started{TB: b}
			clienttest.NewServer(t)
			b.StopTimer()
			t.end()
			b.StartTimer()
		}
	})
	b.Run("start and end", func(b *testing.B) {
		for b.Loop() {
			t := &started{TB: b}
			clienttest.NewServer(t)
			t.end()
		}
	})
}

func TestThereAreNoImages(t *testing.T) {
	t.Parallel()
	srv := clienttest.NewServer(t)
	for _, path := range []string{"/token", "/.well-known/jwks.json", "/v2/"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Errorf("GET %s: %v", path, err)
			continue
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s; want 404", path, response.Status)
		}
	}
}
