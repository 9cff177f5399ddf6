package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
)

// A failure before the request's header was written has a known outcome: no
// server can have received the request.
func TestUnsentRequestIsNoUnknownOutcome(t *testing.T) {
	plain := newServer(t, func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") })
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }))
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	proxy := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) })
	gone := newServer(t, nil)
	gone.Close()
	through := func(address string) *http.Client {
		to, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(to)}}
	}
	silent := listen(t, func(net.Conn) { <-t.Context().Done() }) // accepts, and sends nothing
	breaking := listen(t, func(net.Conn) {})                     // breaks off during the TLS handshake
	oldTLS := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}}

	noProxy := &http.Client{Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("no proxy is known") }}}

	for _, test := range []struct {
		name, url string
		http      *http.Client
		timeout   time.Duration
	}{
		{"a proxy that cannot be found", plain.URL, noProxy, 0},
		{"no server", gone.URL, nil, 0},
		{"https to an http port", "https" + plain.URL[len("http"):], nil, 0},
		{"a certificate that is not trusted", secure.URL, nil, 0},
		{"no TLS version in common", secure.URL, oldTLS, 0},
		{"a TLS handshake that breaks off", "https://" + breaking, nil, 0},
		{"a TLS handshake that does not end", "https://" + silent, nil, 50 * time.Millisecond},
		{"a proxy that is down", "https://registry.example", through(gone.URL), 0},
		{"a proxy that is down, for plain HTTP", "http://registry.example", through(gone.URL), 0},
		{"a proxy that refuses", "https://registry.example", through(proxy.URL), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := t.Context()
			if test.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.timeout)
				defer cancel()
			}
			options := []client.Option{client.WithInsecureHTTP()}
			if test.http != nil {
				options = append(options, client.WithHTTPClient(test.http))
			}
			_, err := newClient(t, test.url, options...).CreateUser(ctx, 1, client.NewUser{Name: "u"})
			if err == nil || errors.Is(err, client.ErrOutcomeUnknown) {
				t.Errorf("got %v; want an error that is not ErrOutcomeUnknown: nothing was sent", err)
			}
			if test.timeout > 0 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v; want one that is %v", err, context.DeadlineExceeded)
			}
		})
	}
}

// A call's context may end after the client has looked at it and before the
// transport does: net/http reads the cookies in between.
func TestNothingSentOnceTheContextHasEnded(t *testing.T) {
	plain := newServer(t, func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") })
	for name, transport := range map[string]http.RoundTripper{"the default transport": nil, "another": &http.Transport{}} {
		ctx, cancel := context.WithCancel(t.Context())
		httpClient := &http.Client{Transport: transport, Jar: jar(cancel)}
		_, err := newClient(t, plain.URL, client.WithHTTPClient(httpClient)).CreateUser(ctx, 1, client.NewUser{Name: "u"})
		if !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("%s: got %v; want %v that is not ErrOutcomeUnknown: nothing was sent", name, err, context.Canceled)
		}
	}
}

// jar is an empty cookie jar that calls a function when it is read.
type jar func()

func (j jar) Cookies(*url.URL) []*http.Cookie     { j(); return nil }
func (j jar) SetCookies(*url.URL, []*http.Cookie) {}

// A connection that breaks after the request was sent has an unknown outcome.
func TestSentWithoutAResponseIsAnUnknownOutcome(t *testing.T) {
	dropping := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<10))
	})
	_, err := newClient(t, "http://"+dropping).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
	if !errors.Is(err, client.ErrOutcomeUnknown) || !errors.Is(err, registryusers.ErrOutcomeUnknown) {
		t.Errorf("got %v; want ErrOutcomeUnknown, which has one name", err)
	}
}

// listen calls handle with each connection to a port, whose address it
// returns, and closes the connection after that.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}
