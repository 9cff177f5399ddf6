package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryusers/registryusers/internal/connections"
	"github.com/registryusers/registryusers/internal/web"
)

// inRefusal runs test in a bubble of fake time, with a server that responds 401
// to everything and reads no body.
func inRefusal(t *testing.T, test func(c *client)) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		e := &env{t: t, conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		e.conns <- there
		refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
		server := web.New(web.Handlers{API: refuse, Token: refuse, JWKS: refuse, Registry: refuse}, web.Options{Logger: slog.New(slog.DiscardHandler)})
		served := make(chan error, 1)
		go func() { served <- server.Serve(e) }()
		test(&client{t: t, Conn: here, reader: bufio.NewReaderSize(here, 16)})
		_ = here.Close()
		_ = server.Close()
		<-served
	})
}

var allPaths = []string{"/v2/", "/v2/1-1-demo/app/blobs/uploads/", "/cloud/v1/registries/1/1/1/users", "/token", "/.well-known/jwks.json", "/healthz", "/readyz"}

func TestConnectionOfAnUnreadBodyIsClosedSoon(t *testing.T) {
	for _, path := range allPaths {
		for _, length := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
			inRefusal(t, func(c *client) {
				start := time.Now()
				c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n" + length + "\r\n\r\n")
				c.wantCut(path+", "+length, start, 5*time.Second)
			})
		}
	}
}

// A client that waits for "100 Continue" sends no body to a server that refuses
// the request: client and server must not wait for each other.
func TestRefusalComesBeforeABodyThatWaitsForIt(t *testing.T) {
	for _, path := range allPaths {
		inRefusal(t, func(c *client) {
			start := time.Now()
			c.send("PUT " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
			response, err := c.receive(http.MethodPut)
			if err != nil || response.StatusCode < 400 || time.Since(start) != 0 {
				t.Errorf("%s: got %v, %v after %v; want the refusal at once", path, response, err, time.Since(start))
			}
		})
	}
}

func TestFilesAreSentThroughTheWritersOfTheRegistry(t *testing.T) {
	const size = 3<<20 + 7
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, []byte(strings.Repeat("0123456", size/7+1)[:size]), 0o600); err != nil {
		t.Fatal(err)
	}
	var isReaderFrom bool
	handlers := web.Handlers{Registry: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, isReaderFrom = w.(io.ReaderFrom)
		file, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, file)
	})}
	server := httptest.NewUnstartedServer(handlerOf(handlers))
	server.Listener = connections.Limit(server.Listener, server.Config,
		connections.Limits{Total: 10, PerAddress: 10}, slog.New(slog.DiscardHandler))
	server.Start()
	defer server.Close()
	for _, test := range []struct {
		header     string
		status     int
		start, end int
	}{
		{"", 200, 0, size},
		{"bytes=5-", 206, 5, size},
		{fmt.Sprintf("bytes=%d-%d", 256<<10-1, 1<<20), 206, 256<<10 - 1, 1<<20 + 1},
		{"bytes=-3", 206, size - 3, size},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v2/blob", nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.header != "" {
			r.Header.Set("Range", test.header)
		}
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		want, _ := os.ReadFile(path)
		if err != nil || response.StatusCode != test.status || string(body) != string(want[test.start:test.end]) {
			t.Errorf("range %q: got status %d and %d bytes, %v; want %d and bytes %d to %d", test.header, response.StatusCode, len(body), err, test.status, test.start, test.end)
		}
	}
	if !isReaderFrom {
		t.Error("the writer of a registry's response is no io.ReaderFrom, so files are copied through memory")
	}
}

func TestProbes(t *testing.T) {
	ready := error(nil)
	check := func(context.Context) error { return ready }
	main := web.Handlers{API: named("api"), Token: named("token"), JWKS: named("jwks"), Ready: check}
	for name, handler := range map[string]http.Handler{"main": handlerOf(main), "admin": web.New(web.Handlers{Ready: check}, web.Options{Logger: slog.New(slog.DiscardHandler)}).Handler} {
		for _, test := range []struct {
			method, path string
			ready        error
			status       int
			body         string
		}{
			{"GET", "/healthz", nil, 200, "ok\n"},
			{"HEAD", "/healthz", nil, 200, "ok\n"}, // net/http leaves the body out
			{"GET", "/healthz", os.ErrClosed, 200, "ok\n"},
			{"GET", "/readyz", nil, 200, "ok\n"},
			{"GET", "/readyz", os.ErrClosed, 503, `"exception_class":"ServiceUnavailable","message":"service unavailable;`},
		} {
			ready = test.ready
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil))
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) || (w.Header().Get("Retry-After") != "") != (test.status == 503) {
				t.Errorf("%s, %s %s, ready: %v: got %d %q, want %d %q", name, test.method, test.path, test.ready, w.Code, w.Body, test.status, test.body)
			}
		}
	}
	w := httptest.NewRecorder()
	web.New(web.Handlers{}, web.Options{Logger: slog.New(slog.DiscardHandler)}).Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v2/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("admin, GET /v2/: got %d, want 404", w.Code)
	}
}
