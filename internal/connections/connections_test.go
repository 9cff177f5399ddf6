package connections_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/connections"
)

// limited is a server whose connections are limited. The response to /wait is
// sent when the test releases it.
type limited struct {
	t       *testing.T
	server  *httptest.Server
	entered chan struct{}
	release chan struct{}
	idle    chan struct{} // gets a value when a connection has become idle
}

func newLimited(t *testing.T, secure bool, limits connections.Limits) *limited {
	l := &limited{t: t, entered: make(chan struct{}), release: make(chan struct{}), idle: make(chan struct{}, 1000)}
	l.server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			l.entered <- struct{}{}
			<-l.release
		}
	}))
	l.server.Listener = connections.Limit(l.server.Listener, l.server.Config, limits, slog.New(slog.DiscardHandler))
	note := l.server.Config.ConnState
	l.server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		note(c, state)
		if state == http.StateIdle {
			l.idle <- struct{}{}
		}
	}
	if secure {
		l.server.StartTLS()
	} else {
		l.server.Start()
	}
	t.Cleanup(l.server.Close)
	return l
}

// dial connects from an address and sends a request, for /wait or for another
// path, whose response it reads.
func (l *limited) dial(from, path string) (net.Conn, error) {
	l.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := dialer.DialContext(l.t.Context(), "tcp", l.server.Listener.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	return c, l.request(c, path)
}

func (l *limited) request(c net.Conn, path string) error {
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return err
	}
	if path == "/wait" {
		<-l.entered
		return nil
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
	}
	if err == nil {
		<-l.idle
	}
	return err
}

// want checks that a new connection from the address is served, or refused.
func (l *limited) want(what, from string, served bool) net.Conn {
	l.t.Helper()
	c, err := l.dial(from, "/")
	if (err == nil) != served {
		l.t.Errorf("%s: a connection from %s got %v, want it served: %t", what, from, err, served)
	}
	return c
}

func (l *limited) wantClosed(what string, c net.Conn) {
	l.t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		l.t.Errorf("%s: got %d bytes, want the connection closed", what, n)
	}
}

func TestTooManyConnectionsOfAnAddressAreRefused(t *testing.T) {
	l := newLimited(t, false, connections.Limits{Total: 10, PerAddress: 2})
	defer close(l.release)
	for range 2 {
		if _, err := l.dial("127.0.0.2", "/wait"); err != nil {
			t.Fatal(err)
		}
	}
	l.want("two of its own are busy", "127.0.0.2", false)
	l.want("another's are busy", "127.0.0.3", true)
	l.release <- struct{}{}
	l.release <- struct{}{}
}

func TestTooManyConnectionsInAllAreRefused(t *testing.T) {
	l := newLimited(t, false, connections.Limits{Total: 3, PerAddress: 2})
	defer close(l.release)
	for _, from := range []string{"127.0.0.2", "127.0.0.2", "127.0.0.3"} {
		if _, err := l.dial(from, "/wait"); err != nil {
			t.Fatal(err)
		}
	}
	l.want("all are busy", "127.0.0.4", false)
}

func TestIdleConnectionsMakeRoom(t *testing.T) {
	l := newLimited(t, false, connections.Limits{Total: 3, PerAddress: 2})
	first := l.want("first", "127.0.0.2", true)
	other := l.want("another address", "127.0.0.3", true)
	second := l.want("second", "127.0.0.2", true)
	if err := l.request(first, "/"); err != nil { // now the second has been idle for longer
		t.Fatal(err)
	}
	l.want("a third of one address", "127.0.0.2", true)
	l.wantClosed("the address's longest idle one", second)
	l.want("a fourth in all", "127.0.0.4", true)
	l.wantClosed("the longest idle one of all", other)
	if err := l.request(first, "/"); err != nil {
		t.Errorf("a connection that was not replaced: got %v, want it served", err)
	}
}

func TestConnectionsThatEndMakeRoom(t *testing.T) {
	l := newLimited(t, false, connections.Limits{Total: 2, PerAddress: 1})
	for range 20 {
		c := l.want("after one has ended", "127.0.0.2", true)
		_ = c.Close() // should the server not have noticed yet, it is idle, and makes room
	}
}

func TestConnectionsOfProxiesCountForTheTotal(t *testing.T) {
	l := newLimited(t, false, connections.Limits{Total: 4, PerAddress: 1, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	defer close(l.release)
	for range 3 {
		if _, err := l.dial("127.0.0.2", "/wait"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.dial("127.0.0.3", "/wait"); err != nil {
		t.Fatal(err)
	}
	l.want("four in all", "127.0.0.2", false)
}

func TestTLSConnectionsAreLimited(t *testing.T) {
	l := newLimited(t, true, connections.Limits{Total: 1, PerAddress: 1})
	response, err := l.server.Client().Get(l.server.URL)
	if err != nil { // its connection stays open, idle
		t.Fatal(err)
	}
	response.Body.Close()
	<-l.idle
	raw, err := net.Dial("tcp", l.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, _ = io.WriteString(raw, "GET / HTTP/1.1\r\n\r\n")
	text, err := io.ReadAll(raw)
	if err != nil || !strings.Contains(string(text), "400") {
		t.Errorf("beside one idle TLS connection: got %q, %v; want a connection that is served", text, err)
	}
}
