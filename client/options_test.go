package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
)

// mustCreate makes a call for a new registry, which must succeed, and returns the
// request that was sent.
func mustCreate(t *testing.T, s *script, c *client.Client, options ...client.Option) *http.Request {
	t.Helper()
	if _, err := c.CreateUser(t.Context(), int64(len(s.seen)), client.NewUser{Name: "u"}, options...); err != nil {
		t.Fatal(err)
	}
	return s.seen[len(s.seen)-1]
}

func TestHeadersAndQueryOfAClientAndOfACall(t *testing.T) {
	s := &script{tries: []try{done}}
	c := s.client(t, client.WithHeader("x-team", "one"), client.WithHeader("X-Empty", ""), client.WithQuery("trace", "a b"))
	other := []client.Option{client.WithHeader("X-Team", "two"), client.WithHeader("User-Agent", "mine"), client.WithHeader("Accept", "*/*"), client.WithQuery("trace", "c&d"), client.WithQuery("e", "f")}
	for i, test := range []struct {
		options                    []client.Option
		team, agent, accept, query string
	}{
		{nil, "one", "registryusers", "application/json", "trace=a+b"},
		{other, "two", "mine", "*/*", "e=f&trace=c%26d"},
		{nil, "one", "registryusers", "application/json", "trace=a+b"}, // a call's options are the call's
	} {
		r := mustCreate(t, s, c, test.options...)
		for name, want := range map[string]string{"X-Team": test.team, "X-Empty": "", "User-Agent": test.agent, "Accept": test.accept, "Content-Type": "application/json"} {
			if got := r.Header[name]; !slices.Equal(got, []string{want}) {
				t.Errorf("call %d: header %s: got %q, want %q", i, name, got, want)
			}
		}
		if r.URL.RawQuery != test.query || r.URL.Path != fmt.Sprintf("/cloud/v1/registries/3/5/%d/users", i) {
			t.Errorf("call %d: got %s, want the query %s", i, r.URL, test.query)
		}
	}
}

func TestInvalidHeadersAreRefused(t *testing.T) {
	c := newClient(t, "https://registry.example", client.WithHTTPClient(&http.Client{Transport: &script{tries: []try{done}}}))
	for _, test := range []struct{ name, value, want string }{
		{"", "v", "name"}, {"two words", "v", "name"}, {"a:b", "v", "name"}, {"é", "v", "name"}, {"x\n", "v", "name"},
		{"X-A", "hidden\nX-B: 1", "X-A"}, {"X-A", "hidden\x00", "X-A"}, {"X-A", "hidden\x7f", "X-A"},
		{"authorization", "hidden", "Authorization"}, {"Idempotency-Key", "hidden", "Idempotency-Key"}, {"content-type", "hidden", "Content-Type"},
		{"Content-Length", "1", "Content-Length"}, {"host", "hidden", "Host"}, {"Transfer-Encoding", "chunked", "Transfer-Encoding"}, {"Trailer", "X", "Trailer"},
	} {
		option := client.WithHeader(test.name, test.value)
		_, newErr := client.New(client.WithAPIKey(apiKey), option)
		_, callErr := c.CreateUser(t.Context(), 9, client.NewUser{}, option)
		for what, err := range map[string]error{"New": newErr, "a call": callErr} {
			if !errors.Is(err, registryusers.ErrInvalid) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s with the header %q: %q: got %v, want ErrInvalid that names %s and does not show the value", what, test.name, test.value, err, test.want)
			}
		}
	}
}

func TestHeadersOfTheEnvironment(t *testing.T) {
	t.Setenv("GCORE_CUSTOM_HEADERS", "\nX-Team: one\r\n  x-token :a: b\n\nX-Team:two\nX-Empty:\n")
	s := &script{tries: []try{done}}
	for name, want := range map[string]string{"X-Team": "two", "X-Token": "a: b", "X-Empty": ""} {
		if got := mustCreate(t, s, s.client(t)).Header[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}
	if got := mustCreate(t, s, s.client(t, client.WithHeader("X-Team", "three"))).Header.Get("X-Team"); got != "three" {
		t.Errorf("header X-Team: got %q, want the option's", got)
	}
	for value, want := range map[string]string{
		"X-A: 1\nhidden-in-a-line\n": "line 2", "X-A=hidden": "line 1", "\n: hidden": "line 2", "Authorization: apikey hidden": "Authorization", "X-A: hidden\x01": "X-A",
	} {
		t.Setenv("GCORE_CUSTOM_HEADERS", value)
		_, err := client.New(client.WithAPIKey(apiKey))
		if err == nil || !strings.Contains(err.Error(), "GCORE_CUSTOM_HEADERS") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("GCORE_CUSTOM_HEADERS %q: got %v, want an error with the variable and %s, that does not show the value", value, err, want)
		}
	}
}

func TestMiddleware(t *testing.T) {
	var log []string
	middleware := func(name string) client.Option {
		return client.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			log = append(log, "wrap "+name)
			return transport(func(r *http.Request) (*http.Response, error) {
				log = append(log, name)
				r = r.Clone(r.Context())
				r.Header.Add("X-Seen", name)
				return next.RoundTrip(r)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &script{tries: []try{reset, done}}
		c := s.client(t, middleware("a"), middleware("b"))
		for _, call := range []struct {
			options []client.Option
			log     string
		}{
			{nil, "wrap b, wrap a, a, b, a, b"}, // two tries
			{[]client.Option{client.WithProject(4)}, "a, b"},
			{[]client.Option{middleware("c")}, "wrap c, wrap b, wrap a, a, b, c"},
			{nil, "a, b"},
			{[]client.Option{client.WithHTTPClient(&http.Client{Transport: s})}, "wrap b, wrap a, a, b"},
		} {
			r := mustCreate(t, s, c, call.options...)
			if got := strings.Join(log, ", "); got != call.log {
				t.Errorf("got %s, want %s", got, call.log)
			}
			if got := strings.Join(r.Header["X-Seen"], ", "); !strings.HasSuffix(call.log, got) || got == "" {
				t.Errorf("the request has passed %q, want %s", got, call.log)
			}
			log = nil
		}
	})
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{"nil": nil, "one that returns nil": func(http.RoundTripper) http.RoundTripper { return nil }} {
		if _, err := client.New(client.WithAPIKey(apiKey), client.WithMiddleware(wrap)); err == nil || !strings.Contains(err.Error(), "WithMiddleware") {
			t.Errorf("%s: got %v, want an error with WithMiddleware", name, err)
		}
	}
}

// A middleware without an HTTP client wraps the transport that the client uses anyway.
func TestMiddlewareOfTheDefaultClient(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) })
	requests := 0
	c := newClient(t, s.URL, client.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return transport(func(r *http.Request) (*http.Response, error) {
			requests++
			return next.RoundTrip(r)
		})
	}))
	if _, err := c.CreateUser(t.Context(), 9, client.NewUser{}); !errors.Is(err, registryusers.ErrUserExists) || requests != 1 {
		t.Errorf("got %v after %d requests, want the server's response to one", err, requests)
	}
}

func TestTimeoutOfATry(t *testing.T) {
	slow := try{status: 503, takes: time.Hour}
	for _, test := range []struct {
		name    string
		options []client.Option // of the client
		call    []client.Option
		want    time.Duration // of the first try
	}{
		{"an option of the client", []client.Option{client.WithTimeout(3 * time.Second)}, nil, 3 * time.Second},
		{"an option of the call", []client.Option{client.WithTimeout(time.Minute)}, []client.Option{client.WithTimeout(2 * time.Second)}, 2 * time.Second},
		{"the HTTP client's, if it is shorter", []client.Option{client.WithTimeout(3 * time.Second)}, []client.Option{client.WithHTTPClient(&http.Client{Timeout: time.Second})}, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{tries: []try{slow, done}}
				// As middleware, the script is in the HTTP client of the call too.
				c := s.client(t, append(test.options, client.WithMiddleware(func(http.RoundTripper) http.RoundTripper { return s }))...)
				start := time.Now()
				if _, err := c.CreateUser(t.Context(), 9, client.NewUser{}, test.call...); err != nil || len(s.seen) != 2 {
					t.Errorf("got %v after %d tries, want success at the second", err, len(s.seen))
				}
				if got := s.at[1].Sub(start); got < test.want || got > test.want+250*time.Millisecond {
					t.Errorf("the second try began after %v, want %v and a wait", got, test.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // the last try's error
		s := &script{tries: []try{slow}}
		_, err := s.client(t, client.WithTimeout(time.Second), client.WithRetry(2, time.Minute)).CreateUser(t.Context(), 9, client.NewUser{})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrOutcomeUnknown) || len(s.seen) != 2 {
			t.Errorf("got %v after %d tries, want the deadline and ErrOutcomeUnknown after 2", err, len(s.seen))
		}
	})
	for _, d := range []time.Duration{0, -1} {
		if _, err := client.New(client.WithAPIKey(apiKey), client.WithTimeout(d)); !errors.Is(err, registryusers.ErrInvalid) {
			t.Errorf("New with a timeout of %v: got %v, want ErrInvalid", d, err)
		}
	}
}

// The client keeps the URL and the headers of its last call, which must not reach
// another call.
func TestEveryCallHasItsOwnURLAndHeaders(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	c := newClient(t, "https://registry.example/base", client.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		got[r.URL.String()+" "+r.Header.Get("Accept")]++
		mu.Unlock()
		r.URL.Path, r.Host = "/changed", "changed.example" // a transport must not, and some do
		r.Header.Set("Accept", "changed")
		return nil, &net.OpError{Op: "read", Err: errors.New("no network here")}
	})}))
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			project := client.WithProject(int64(4 - i%2))
			for range 3 {
				if i%4 < 2 {
					_, _ = c.CreateUser(t.Context(), int64(i%8), client.NewUser{}, project)
				} else {
					_, _ = c.CreateUser(t.Context(), int64(i%8), client.NewUser{})
				}
			}
		})
	}
	wg.Wait()
	want := map[string]int{}
	for i := range 64 {
		project := 3
		if i%4 < 2 {
			project = 4 - i%2
		}
		want[fmt.Sprintf("https://registry.example/base/cloud/v1/registries/%d/5/%d/users application/json", project, i%8)] += 3
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v, want\n%v", got, want)
	}
}

// net/http sends the header and the body together only for bodies of types that it
// knows: otherwise each call costs a system call and a packet more.
func TestARequestIsOneWrite(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) })
	var writes atomic.Int32
	httpClient := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return countingConn{conn, &writes}, err
	}}}
	if _, err := newClient(t, s.URL, client.WithHTTPClient(httpClient)).CreateUser(t.Context(), 9, client.NewUser{}); !errors.Is(err, registryusers.ErrUserExists) {
		t.Fatal(err)
	}
	if got := writes.Load(); got != 1 {
		t.Errorf("a request took %d writes, want 1", got)
	}
}

type countingConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func TestZeroClientReturnsErrors(t *testing.T) {
	var c client.Client
	for _, options := range [][]client.Option{
		nil,
		{client.WithProject(1), client.WithRegion(1)},
		{client.WithProject(1), client.WithRegion(1), client.WithAPIKey(apiKey), client.WithBaseURL("https://registry.example"), client.WithRetry(1, 0)},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.CreateUser(ctx, 1, client.NewUser{}, options...); err == nil {
			t.Errorf("with %d options: got no error", len(options))
		}
	}
}
