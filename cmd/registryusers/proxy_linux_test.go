package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrustedProxy sends requests from a proxy's address and from another one,
// with all that a caller may put into the headers.
func TestTrustedProxy(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte("trusted-proxy:\n  - 10.0.0.0/8\n  - 127.0.0.2/32\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := serve(t, "--dev", "--data", filepath.Join(dir, "data"), "--config", config)
	tests := []struct{ from, want, scheme string }{
		{"127.0.0.2", "198.51.100.1", "https"},
		{"127.0.0.1", "127.0.0.1", "http"},
	}
	for i, test := range tests {
		client := http.Client{Transport: &http.Transport{
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(test.from)}}).DialContext,
		}}
		// The path identifies the log line.
		r, err := http.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("%s/v2/1-1-demo/app%d/tags/list", server.url, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header["X-Forwarded-For"] = []string{"203.0.113.9", "198.51.100.1, 10.0.0.7"}
		r.Header["X-Forwarded-Proto"] = []string{"http", "https,http"} // the first is what the client sent itself
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		client.CloseIdleConnections()
		if got, want := response.Header.Get("WWW-Authenticate"), `Bearer realm="`+test.scheme+`://`; !strings.HasPrefix(got, want) {
			t.Errorf("from %s: got the challenge %s, want %s…", test.from, got, want)
		}
	}
	server.stop(os.Interrupt) // the log is complete then
	for i, test := range tests {
		server.wantLog(fmt.Sprintf("repository=1-1-demo/app%d", i), "client_address="+test.want+":")
	}
}

// wantLog wants the text in the first log line that has the mark.
func (p *process) wantLog(mark, want string) {
	p.t.Helper()
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, mark) {
			if !strings.Contains(line, want) {
				p.t.Errorf("got the log line %q, want %q in it", line, want)
			}
			return
		}
	}
	p.t.Errorf("got no log line with %q", mark)
}

// TestProxiesHoldAsManyConnectionsAsTheyNeed allows one connection for an
// address, and more for a trusted proxy.
func TestProxiesHoldAsManyConnectionsAsTheyNeed(t *testing.T) {
	server := serve(t, "--data", t.TempDir(), "--images", "off", "--max-connections-per-address", "1", "--trusted-proxy", "127.0.0.2/32")
	for _, test := range []struct {
		from   string
		served bool
	}{{"127.0.0.2", true}, {"127.0.0.3", false}} {
		client := http.Client{Transport: &http.Transport{
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(test.from)}}).DialContext,
		}}
		busy, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(test.from)}}).DialContext(t.Context(), "tcp", server.host())
		if err != nil {
			t.Fatal(err)
		}
		defer busy.Close()
		if _, err := busy.Write([]byte("GET /healthz HTTP/1.1\r\n")); err != nil { // it continues to send its header
			t.Fatal(err)
		}
		response, err := client.Get(server.url + "/healthz")
		if err == nil {
			response.Body.Close()
		}
		if (err == nil) != test.served {
			t.Errorf("a second connection from %s: got %v, want it served: %t", test.from, err, test.served)
		}
		client.CloseIdleConnections()
	}
}
