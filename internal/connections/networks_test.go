package connections

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"testing"
	"time"
)

// from is a connection from an address.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.address), Port: 1} }

// arrive accepts a connection from an address, with a request in progress. It reports
// whether there was room.
func arrive(t *testing.T, l *listener, address string) (hasRoom bool) {
	t.Helper()
	conn, other := net.Pipe()
	t.Cleanup(func() { _, _ = conn.Close(), other.Close() })
	c := newConnection(l, from{conn, address})
	replaced, ok := l.admit(c)
	if replaced != nil {
		_ = replaced.Conn.Close()
	}
	if ok {
		l.connState(c, http.StateNew)
		l.connState(c, http.StateActive)
	}
	return ok
}

// A client with many IPv6 networks cannot open all connections.
func TestConnectionsOfEachNetworkAreLimited(t *testing.T) {
	limits := Limits{Total: 120, PerAddress: 30}
	for _, test := range []struct {
		what    string
		address func(i int) string
		most    int
	}{
		{"IPv4", func(int) string { return "192.0.2.1" }, 30},
		{"a /64", func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }, 30},
		{"a /56", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, 40},
		{"a /48", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i<<8) }, 60},
		{"many /48", func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i) }, 120},
	} {
		l := Limit(nil, new(http.Server), limits, slog.New(slog.DiscardHandler)).(*listener)
		open := 0
		for i := range 200 {
			if ok := arrive(t, l, test.address(i)); ok {
				open++
			}
		}
		if open != test.most {
			t.Errorf("%s has %d of %d connections; want %d", test.what, open, limits.Total, test.most)
		}
		if ok := arrive(t, l, "198.51.100.1"); ok != (test.most < limits.Total) {
			t.Errorf("%s has its most connections: another address has one: %t; want %t", test.what, ok, test.most < limits.Total)
		}
	}
}

func TestLimitOfAWideNetworkIsNoLessThanOfAnAddress(t *testing.T) {
	l := Limit(nil, new(http.Server), Limits{Total: 10, PerAddress: 10}, slog.New(slog.DiscardHandler)).(*listener)
	for i := range 10 {
		if ok := arrive(t, l, "2001:db8::1"); !ok {
			t.Fatalf("connection %d of 10 that an address may have was refused", i)
		}
	}
}

// A proxy's connections take nothing from other hosts of its network.
func TestConnectionsOfProxiesCountForNoNetwork(t *testing.T) {
	limits := Limits{Total: 120, PerAddress: 30, Exempt: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/128")}}
	l := Limit(nil, new(http.Server), limits, slog.New(slog.DiscardHandler)).(*listener)
	for range 60 { // as many as the /48 may have
		arrive(t, l, "2001:db8::1")
	}
	for i := range limits.PerAddress {
		if ok := arrive(t, l, "2001:db8::2"); !ok {
			t.Fatalf("connection %d of 30 from another host of the proxy's network was refused", i)
		}
	}
}

// A connection without its first request makes room after a few seconds, before one that
// is idle after a request.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", secure), func(t *testing.T) {
			clock, idle := time.Now(), make(chan struct{}, 10)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			l := Limit(server.Listener, server.Config, Limits{Total: 2, PerAddress: 2}, slog.New(slog.DiscardHandler)).(*listener)
			accepted := make(chan struct{}, 10)
			server.Listener = l
			note := server.Config.ConnState
			server.Config.ConnState = func(c net.Conn, state http.ConnState) {
				note(c, state)
				switch state {
				case http.StateNew:
					accepted <- struct{}{}
				case http.StateIdle:
					idle <- struct{}{}
				}
			}
			times := make(chan time.Time, 1)
			times <- clock
			l.now = func() time.Time { now := <-times; times <- now; return now }
			if secure {
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			get := func() error {
				response, err := server.Client().Get(server.URL)
				if err != nil {
					return err
				}
				<-idle
				return response.Body.Close()
			}
			if err := get(); err != nil { // its connection stays open
				t.Fatal(err)
			}
			<-accepted
			dial := func() net.Conn {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				return c
			}
			wantAccepted := func(what string) {
				t.Helper()
				select {
				case <-accepted:
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: not accepted; want room for it", what)
				}
			}
			wantClosed := func(what string, c net.Conn) {
				t.Helper()
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("%s: got %v; want it closed", what, err)
				}
			}
			silent := dial()
			wantAccepted("the second connection")
			<-times
			times <- clock.Add(silentTime)
			dial()
			wantAccepted("a third connection")
			wantClosed("the silent connection", silent)
			if err := get(); err != nil || len(accepted) != 0 {
				t.Errorf("the idle connection, when a silent one made room: %v; want it to serve", err)
			}
			// The third one is silent, but not for long: the idle one makes room.
			dial()
			wantAccepted("a fourth connection")
			wantClosed("a fifth connection, beside two that are silent, but not for long", dial())
		})
	}
}
