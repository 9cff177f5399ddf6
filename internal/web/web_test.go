package web_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/web"
)

func handlerOf(handlers web.Handlers) http.Handler {
	return web.New(handlers, web.Options{Logger: slog.New(slog.DiscardHandler)}).Handler
}

// named responds with its name.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
}

func TestEachPathHasOneHandler(t *testing.T) {
	all := web.Handlers{API: named("api"), Token: named("token"), JWKS: named("jwks"), Registry: named("registry")}
	without := all
	without.Registry = nil
	for _, test := range []struct{ path, want string }{
		{"/v2", "registry"},
		{"/v2/", "registry"},
		{"/v2/_catalog", "registry"},
		{"/v2/1-1-demo/app/manifests/latest", "registry"},
		{"/v2//", "registry"},
		{"/v2/../token", "registry"}, // paths are not cleaned
		{"/v2/%2e%2e/token", "registry"},
		{"/%76%32/", "registry"},
		{"/v2x", ""},
		{"/v2x/", ""},
		{"/V2/", ""},
		{"//v2/", ""},
		{"/v1/", ""},
		{"/x/v2/", ""},
		{"/token", "token"},
		{"/token?service=s&scope=/v2/", "token"},
		{"/token/", ""},
		{"/tokens", ""},
		{"/.well-known/jwks.json", "jwks"},
		{"/.well-known/jwks.json/", ""},
		{"/.well-known/", ""},
		{"/", ""},
		{"/cloud/v1/registries", "api"},
		{"/cloud/v1/registries/1/1/1/users", "api"},
		{"/cloud/v1/registriesx", ""},
		{"/cloud/v1/", ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, handlers := range []web.Handlers{all, without} {
				want := test.want
				if want == "jwks" && method != http.MethodGet {
					continue // see TestPublicPathsAreRead
				}
				if want == "registry" && handlers.Registry == nil {
					want = ""
				}
				w := httptest.NewRecorder()
				handlerOf(handlers).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, test.path, nil))
				if want == "" && w.Code == http.StatusNotFound && w.Header().Get("X-Request-Id") != "" && w.Header().Get("WWW-Authenticate") == "" {
					continue
				}
				if got := w.Body.String(); want == "" || got != want {
					t.Errorf("%s %s, registry %t: got %d %q; want the handler %q, or 404 without asking for a key", method, test.path, handlers.Registry != nil, w.Code, got, want)
				}
			}
		}
	}
}

// Paths without authentication accept only GET and HEAD.
func TestPublicPathsAreRead(t *testing.T) {
	handler := handlerOf(web.Handlers{API: named("api"), Token: named("token"), JWKS: named("jwks"), Registry: named("registry")})
	for _, path := range []string{"/healthz", "/readyz", "/.well-known/jwks.json"} {
		for method, status := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
			if w.Code != status || status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: got %d, Allow %q; want %d", method, path, w.Code, w.Header().Get("Allow"), status)
			}
		}
	}
}

// The table's prefix of the API is that of every path in the document.
func TestTheAPIHasTheDocumentsPrefix(t *testing.T) {
	document, err := apiserver.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	handler := handlerOf(web.Handlers{API: named("api")})
	for path := range document.Paths.Map() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if got := w.Body.String(); got != "api" {
			t.Errorf("%s: got the handler %q, want the API's", path, got)
		}
	}
}

// env is a server in a bubble of fake time, so that its limits are tested
// in full length and take no real time.
type env struct {
	t      *testing.T
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	errs   chan error // the results of a handler's reading or writing
	drips  sync.WaitGroup
}

func (e *env) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

func (e *env) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

func (e *env) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// newEnv runs test in a bubble, with a server whose handlers read the complete
// body, and then respond: to GET with 100 pieces, to others without a body.
func newEnv(t *testing.T, test func(t *testing.T, e *env)) {
	synctest.Test(t, func(t *testing.T) {
		e := &env{t: t, conns: make(chan net.Conn), closed: make(chan struct{}), errs: make(chan error, 100)}
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			if r.Method != http.MethodGet {
				w.WriteHeader(http.StatusAccepted)
			}
			for i := 0; i < pieces && r.Method == http.MethodGet && err == nil; i++ {
				_, err = w.Write(make([]byte, pieceSize))
			}
			e.errs <- err
		})
		handlers := web.Handlers{API: handler, Token: handler, JWKS: handler, Registry: handler}
		server := web.New(handlers, web.Options{Logger: slog.New(slog.DiscardHandler)})
		served := make(chan error, 1)
		go func() { served <- server.Serve(e) }()
		test(t, e)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		e.drips.Wait()
		pass(time.Second) // net/http waits half of it before it hangs up on a bad request
	})
}

const (
	pieces    = 100
	pieceSize = 8 << 10
)

// drip sends a byte after each interval, n times or until the server hangs up.
func (e *env) drip(c *client, n int, interval time.Duration) {
	e.drips.Go(func() {
		for range n {
			pass(interval)
			if _, err := io.WriteString(c.Conn, "x"); err != nil {
				return
			}
		}
	})
}

// dial connects to the server.
func (e *env) dial() *client {
	here, there := net.Pipe()
	e.conns <- there
	c := &client{t: e.t, Conn: here, reader: bufio.NewReaderSize(here, 16)}
	e.t.Cleanup(func() { _ = here.Close() })
	return c
}

type client struct {
	t *testing.T
	net.Conn
	reader *bufio.Reader
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send %q: %v", text, err)
	}
}

// receive reads the response to a request of the method, up to its body.
func (c *client) receive(method string) (*http.Response, error) {
	return http.ReadResponse(c.reader, &http.Request{Method: method})
}

// want reads a response, and all of its body.
func (c *client) want(method string, status int) {
	c.t.Helper()
	response, err := c.receive(method)
	if err != nil {
		c.t.Fatalf("%s: got %v, want status %d", method, err, status)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != status {
		c.t.Fatalf("%s: got status %d, %v; want %d", method, response.StatusCode, err, status)
	}
}

// pass lets fake time pass.
func pass(d time.Duration) { <-time.After(d) }

// wantCut waits until the server hangs up, and checks after which time.
func (c *client) wantCut(what string, since time.Time, want time.Duration) {
	c.t.Helper()
	_, _ = io.Copy(io.Discard, c.reader)
	if got := time.Since(since); got < want || got > want+time.Second {
		c.t.Errorf("%s: got cut off after %v, want %v", what, got, want)
	}
}

func TestClientThatStallsInItsHeadersIsCutOff(t *testing.T) {
	for _, text := range []string{"", "G", "GET /token HTTP/1.1\r\n", "GET /v2/ HTTP/1.1\r\nHost: h\r\nX: "} {
		newEnv(t, func(_ *testing.T, e *env) {
			c, start := e.dial(), time.Now()
			c.send(text)
			c.wantCut(fmt.Sprintf("headers begin with %q", text), start, 10*time.Second)
		})
	}
}

func TestClientThatSendsItsHeadersSlowlyIsCutOff(t *testing.T) {
	newEnv(t, func(_ *testing.T, e *env) {
		c, start := e.dial(), time.Now()
		c.send("GET /v2/ HTTP/1.1\r\nX: ")
		e.drip(c, 60, time.Second)
		c.wantCut("a byte of a header each second", start, 10*time.Second)
	})
}

func TestClientThatStallsInItsBodyIsCutOff(t *testing.T) {
	for path, ends := range map[string]time.Duration{
		"/cloud/v1/registries/1/1/1/users": time.Minute,
		"/token":                           10 * time.Second,
		"/v2/1-1-demo/app/blobs/uploads/x": 5 * time.Minute,
	} {
		newEnv(t, func(t *testing.T, e *env) {
			c, start := e.dial(), time.Now()
			c.send("POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nsome")
			c.wantCut(path, start, ends)
			if err := <-e.errs; err == nil {
				t.Errorf("%s: the handler read the complete body, want an error", path)
			}
		})
	}
}

func TestOnlyTheRegistryTakesSlowUploads(t *testing.T) {
	for path, ends := range map[string]time.Duration{
		"/cloud/v1/registries/1/1/1/users": time.Minute,
		"/token":                           10 * time.Second,
		"/v2/1-1-demo/app/blobs/uploads/x": 0, // not at all
	} {
		newEnv(t, func(t *testing.T, e *env) {
			c, start := e.dial(), time.Now()
			c.send("PATCH " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n")
			interval := 30 * time.Second
			if ends == 0 {
				interval = 5*time.Minute - time.Second
			}
			e.drip(c, 20, interval)
			if ends > 0 {
				c.wantCut(path, start, ends)
				return
			}
			c.want(http.MethodPatch, http.StatusAccepted)
			if got, want := time.Since(start), 20*interval; got != want {
				t.Errorf("%s: got the response after %v, want it after %v", path, got, want)
			}
		})
	}
}

// A connection is reused: the time allowed for an earlier response
// has passed by the end of a long upload, which must still get its response.
func TestLongUploadGetsAResponseWhateverTheConnectionServedBefore(t *testing.T) {
	for _, first := range []string{"/token", "/v2/"} {
		for _, head := range []string{"", "Expect: 100-continue\r\n"} {
			newEnv(t, func(t *testing.T, e *env) {
				c := e.dial()
				c.send("GET " + first + " HTTP/1.1\r\nHost: h\r\n\r\n")
				c.want(http.MethodGet, http.StatusOK)
				if head != "" {
					pass(90 * time.Second) // idle
				}
				c.send("PATCH /v2/1-1-demo/app/blobs/uploads/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n" + head + "\r\n")
				if head != "" {
					c.want(http.MethodPatch, http.StatusContinue)
				}
				for range 4 {
					pass(30 * time.Second)
					c.send("x")
				}
				response, err := c.receive(http.MethodPatch)
				if err != nil || response.StatusCode != http.StatusAccepted {
					t.Errorf("GET %s, then an upload of two minutes, %q: got %v, %v; want status 202", first, head, response, err)
				}
			})
		}
	}
}

// Verifying a large layer takes the registry some time. No client stalls then, so
// the request must not be cut off.
func TestRegistryMayWorkLongOnceTheBodyHasCome(t *testing.T) {
	for _, body := range []string{"", "all of it"} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			e := &env{t: t, conns: make(chan net.Conn, 1), closed: make(chan struct{}), errs: make(chan error, 1)}
			e.conns <- there
			server := web.New(web.Handlers{Registry: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				pass(2 * time.Minute)
				e.errs <- r.Context().Err()
				w.WriteHeader(http.StatusCreated)
			})}, web.Options{Logger: slog.New(slog.DiscardHandler)})
			served := make(chan error, 1)
			go func() { served <- server.Serve(e) }()
			c := &client{t: t, Conn: here, reader: bufio.NewReaderSize(here, 16)}
			c.send(fmt.Sprintf("PUT /v2/1-1-demo/app/blobs/uploads/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			response, err := c.receive(http.MethodPut)
			if err != nil || response.StatusCode != http.StatusCreated {
				t.Errorf("a body of %d bytes: got %v, %v; want status 201", len(body), response, err)
			}
			if err := <-e.errs; err != nil {
				t.Errorf("a body of %d bytes, after two minutes of work: got the context's %v, want none", len(body), err)
			}
			_ = here.Close()
			_ = server.Close()
			<-served
			synctest.Wait()
		})
	}
}

func TestOnlyTheRegistryTakesSlowDownloads(t *testing.T) {
	for path, ends := range map[string]time.Duration{
		"/cloud/v1/registries/1/1/1/users": time.Minute,
		"/v2/1-1-demo/app/blobs/x":         0, // not at all
	} {
		newEnv(t, func(t *testing.T, e *env) {
			c, start := e.dial(), time.Now()
			c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
			response, err := c.receive(http.MethodGet)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(0)
			for err == nil {
				pass(2 * time.Minute)
				var more int64
				more, err = io.CopyN(io.Discard, response.Body, pieceSize)
				n += more
			}
			synctest.Wait()
			served := <-e.errs
			if ends > 0 {
				if served == nil || err == io.EOF {
					t.Errorf("%s: got %d bytes in %v, %v, and the handler %v; want it cut off after %v", path, n, time.Since(start), err, served, ends)
				}
				return
			}
			if n != pieces*pieceSize || served != nil {
				t.Errorf("%s: got %d bytes in %v, %v, and the handler %v; want %d", path, n, time.Since(start), err, served, pieces*pieceSize)
			}
		})
	}
}

// A client that sends or receives steadily is cut off after six hours, too.
func TestImageRequestsEndAfterSixHours(t *testing.T) {
	const path = "/v2/1-1-demo/app/blobs/uploads/x"
	newEnv(t, func(_ *testing.T, e *env) {
		c, start := e.dial(), time.Now()
		c.send("PATCH " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\n")
		e.drip(c, 200, 4*time.Minute)
		c.wantCut("a byte every four minutes", start, 6*time.Hour)
	})
	newEnv(t, func(t *testing.T, e *env) {
		c, start := e.dial(), time.Now()
		c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		response, err := c.receive(http.MethodGet)
		for err == nil {
			pass(4 * time.Minute)
			_, err = io.CopyN(io.Discard, response.Body, pieceSize)
		}
		if served := <-e.errs; served == nil {
			t.Error("a client that took 8 KiB every four minutes was served completely, want it cut off")
		}
		if got := time.Since(start); got < 6*time.Hour || got > 7*time.Hour { // buffered data is sent later
			t.Errorf("a client that took 8 KiB every four minutes: got cut off after %v, want 6h", got)
		}
	})
}

func TestClientThatDoesNotReadTheResponseIsCutOff(t *testing.T) {
	for path, want := range map[string]time.Duration{
		"/cloud/v1/registries/1/1/1/users": time.Minute, "/token": time.Minute, "/v2/1-1-demo/app/blobs/x": 5 * time.Minute,
	} {
		newEnv(t, func(t *testing.T, e *env) {
			c, start := e.dial(), time.Now()
			c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
			if err := <-e.errs; err == nil {
				t.Errorf("%s: the handler wrote all, want an error", path)
			}
			if got := time.Since(start); got != want {
				t.Errorf("%s: got the handler's end after %v, want it after %v", path, got, want)
			}
		})
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	newEnv(t, func(_ *testing.T, e *env) {
		c := e.dial()
		c.send("GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want(http.MethodGet, http.StatusOK)
		c.wantCut("idle", time.Now(), 2*time.Minute)
	})
}

func TestHeadersTooLargeAre431(t *testing.T) {
	for _, size := range []int{1 << 10, 16 << 10, 80 << 10, 1 << 20} {
		newEnv(t, func(t *testing.T, e *env) {
			c := e.dial()
			e.drips.Go(func() { // the server may hang up before the end
				_, _ = io.WriteString(c.Conn, "GET /token HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", size)+"\r\n\r\n")
			})
			want := http.StatusOK
			if size > 36<<10 { // net/http allows 4 KiB more
				want = http.StatusRequestHeaderFieldsTooLarge
			}
			response, err := c.receive(http.MethodGet)
			if err != nil || response.StatusCode != want {
				t.Errorf("a header of %d bytes: got %v, %v; want status %d", size, response, err, want)
			}
		})
	}
}

func TestRecordersWithoutDeadlinesAreServed(t *testing.T) {
	handlers := web.Handlers{API: named("api"), Token: named("token"), JWKS: named("jwks"), Registry: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}
	w := httptest.NewRecorder()
	handlerOf(handlers).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/", strings.NewReader("text")))
	if got := w.Body.String(); got != "text" {
		t.Errorf("a body through the registry's handler: got %q, want %q", got, "text")
	}
}

// The record is the context of the request, and has its deadline: the request is copied
// once. The deadline's end when the handler returns does not hide a failure.
func TestTheRecordHasTheDeadlineOfTheRequest(t *testing.T) {
	var log bytes.Buffer
	server := web.New(web.Handlers{API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record := observe.From(r.Context())
		if record.Request != r {
			t.Error("the handler got another request than the record has")
		}
		if _, ok := record.Deadline(); !ok {
			t.Error("the record has no deadline")
		}
		w.WriteHeader(http.StatusInternalServerError)
	})}, web.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	server.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/cloud/v1/registries/", http.NoBody))
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("log of a failure: got %s, want level ERROR", &log)
	}
}
