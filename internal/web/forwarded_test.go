package web_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/web"
)

func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		name       string
		connection string
		forwarded  []string
		want       string
	}{
		{"no proxy", "192.0.2.1:5", nil, "192.0.2.1:5"},
		{"only proxies are trusted", "192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1:5"},
		{"a proxy without the header", "10.0.0.1:5", nil, "10.0.0.1:5"},
		{"a proxy's client", "10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1:5"},
		{"what the client sent itself is not believed", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1:5"},
		{"two proxies", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1, 10.0.0.2"}, "198.51.100.1:5"},
		{"several header lines", "10.0.0.1:5", []string{"203.0.113.9", "198.51.100.1", "10.0.0.2"}, "198.51.100.1:5"},
		{"only proxies", "10.0.0.1:5", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3:5"},
		{"with a port", "10.0.0.1:5", []string{"198.51.100.1:1234"}, "198.51.100.1:5"},
		{"IPv6", "10.0.0.1:5", []string{"2001:db8::1"}, "[2001:db8::1]:5"},
		{"IPv6 in brackets", "10.0.0.1:5", []string{"[2001:db8::1]"}, "[2001:db8::1]:5"},
		{"IPv6 with a port", "10.0.0.1:5", []string{"[2001:db8::1]:1234"}, "[2001:db8::1]:5"},
		{"IPv6 with a zone", "10.0.0.1:5", []string{"fe80::1%eth0"}, "[fe80::1]:5"},
		{"an IPv6 proxy", "[fd00::1]:5", []string{"198.51.100.1, fd00::2"}, "198.51.100.1:5"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:5", []string{"198.51.100.1"}, "198.51.100.1:5"},
		{"unknown", "10.0.0.1:5", []string{"198.51.100.1, unknown"}, "10.0.0.1:5"},
		{"unknown before another proxy", "10.0.0.1:5", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2:5"},
		{"empty", "10.0.0.1:5", []string{""}, "10.0.0.1:5"},
		{"empty elements", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1,, 10.0.0.2, ", ","}, "198.51.100.1:5"},
		{"an open bracket", "10.0.0.1:5", []string{"[2001:db8::1"}, "10.0.0.1:5"},
		{"no connection's address", "@", []string{"198.51.100.1"}, "@"},
	} {
		for _, path := range []string{"/v2/", "/token", "/cloud/v1/registries/1/1/1/users"} {
			var got string
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr })
			handlers := web.Handlers{API: handler, Token: handler, JWKS: handler, Registry: handler}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.RemoteAddr = test.connection
			r.Header["X-Forwarded-For"] = test.forwarded
			web.New(handlers, web.Options{Logger: slog.New(slog.DiscardHandler), Proxies: proxies}).Handler.ServeHTTP(httptest.NewRecorder(), r)
			if got != test.want {
				t.Errorf("%s: %s from %s, X-Forwarded-For %q: got %s, want %s", test.name, path, test.connection, test.forwarded, got, test.want)
			}
		}
	}
}

func TestSchemeThatTheClientUsed(t *testing.T) {
	for _, test := range []struct {
		connection, forwarded, sent string
		want                        bool // https
	}{
		{"10.0.0.1:5", "", "", false},
		{"10.0.0.1:5", "", "https", true},
		{"10.0.0.1:5", "198.51.100.1", " HTTPS ", true},
		{"10.0.0.1:5", "", "gopher", false},
		{"10.0.0.1:5", "", " , ", false},
		{"192.0.2.1:5", "198.51.100.1", "https", false},
		// A proxy that appends, and a client that sent both headers itself.
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.1", "https, http", false},
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.1", "http, https", true},
		// Two proxies that append, and the scheme between them.
		{"10.0.0.1:5", "198.51.100.1, 10.0.0.2", "https, http", true},
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.1, 10.0.0.2", "http, https, http", true},
		{"10.0.0.1:5", "198.51.100.1,, 10.0.0.2", "https, , http", true},
		{"10.0.0.1:5", "10.0.0.3, 10.0.0.2", "https, http", true},
		{"10.0.0.1:5", "203.0.113.9, unknown, 10.0.0.2", "http, https, http", true},
		// A proxy that appends the scheme alone, or replaces one header.
		{"10.0.0.1:5", "198.51.100.1", "https, http", false},
		{"10.0.0.1:5", "", "https, http", false},
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.1, 10.0.0.2", "http", false},
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.1, 10.0.0.2", "http, https", true},
	} {
		var record *observe.Record
		handlers := web.Handlers{
			Registry: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { record = observe.From(r.Context()) }),
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/", nil)
		r.RemoteAddr = test.connection
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if test.sent != "" {
			r.Header.Set("X-Forwarded-Proto", test.sent)
		}
		proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		web.New(handlers, web.Options{Logger: slog.New(slog.DiscardHandler), Proxies: proxies}).Handler.ServeHTTP(httptest.NewRecorder(), r)
		if record.HTTPS != test.want {
			t.Errorf("X-Forwarded-Proto %q, X-Forwarded-For %q from %s: got https %t, want %t", test.sent, test.forwarded, test.connection, record.HTTPS, test.want)
		}
	}
}
