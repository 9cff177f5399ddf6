// Package httpserver puts the API, the token service and the registry on one
// port, and bounds what a client can take of it.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Handlers are what is served.
type Handlers struct {
	API      http.Handler
	Token    http.Handler
	JWKS     http.Handler
	Registry http.Handler // nil: there is none

	// Proxies are who may say, in X-Forwarded-For, where a request comes from.
	Proxies []netip.Prefix
}

// The limits. Images take their time, so at /v2/ a client must only keep
// sending or receiving; elsewhere a request must be over in time.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 60 * time.Second
	stallTimeout   = 60 * time.Second // between two reads, or writes, at /v2/
	answerTime     = 5 * time.Second  // of it, to send the answer
	idleTimeout    = 2 * time.Minute  // between two requests
	maxHeaderBytes = 64 << 10
)

// New returns a server of the handlers. config is for TLS, or nil.
func New(h Handlers, config *tls.Config, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// ServeHTTP implements [http.Handler].
func (h Handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.RemoteAddr = h.remote(r)
	path := r.URL.Path
	if h.Registry != nil && (path == "/v2" || strings.HasPrefix(path, "/v2/")) {
		deadlines := http.NewResponseController(w)
		r.Body = &steadyBody{r.Body, deadlines}
		h.Registry.ServeHTTP(&steadyWriter{w, deadlines}, r)
		return
	}
	end := time.Now().Add(requestTimeout)
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(end) // fails on no real connection
	_ = deadlines.SetWriteDeadline(end)
	ctx, cancel := context.WithDeadline(r.Context(), end.Add(-answerTime))
	defer cancel()
	r = r.WithContext(ctx)
	switch path {
	case "/token":
		h.Token.ServeHTTP(w, r)
	case "/.well-known/jwks.json":
		h.JWKS.ServeHTTP(w, r)
	default:
		h.API.ServeHTTP(w, r)
	}
}

// remote returns the address that a request comes from: the connection's, or
// the last in X-Forwarded-For that is not a trusted proxy's, if one sent it.
func (h Handlers) remote(r *http.Request) string {
	connection, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !h.trusts(connection.Addr()) {
		return r.RemoteAddr
	}
	address := connection.Addr()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if address = next; !h.trusts(next) {
			break
		}
	}
	return netip.AddrPortFrom(address, connection.Port()).String()
}

func (h Handlers) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(h.Proxies, func(p netip.Prefix) bool { return p.Contains(address.Unmap()) })
}

// steadyBody and steadyWriter give each read and each write its own time.
type steadyBody struct {
	io.ReadCloser
	deadlines *http.ResponseController
}

func (b *steadyBody) Read(p []byte) (int, error) {
	_ = b.deadlines.SetReadDeadline(time.Now().Add(stallTimeout)) // fails on no real connection
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) { // the client need not send more
		_ = b.deadlines.SetReadDeadline(time.Time{})
	}
	return n, err
}

type steadyWriter struct {
	http.ResponseWriter
	deadlines *http.ResponseController
}

func (w *steadyWriter) WriteHeader(status int) {
	_ = w.deadlines.SetWriteDeadline(time.Now().Add(stallTimeout)) // fails on no real connection
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *steadyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *steadyWriter) Write(p []byte) (int, error) {
	_ = w.deadlines.SetWriteDeadline(time.Now().Add(stallTimeout)) // fails on no real connection
	return w.ResponseWriter.Write(p)
}
