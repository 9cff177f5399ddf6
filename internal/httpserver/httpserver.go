// Package httpserver puts the API, the token service and the registry on one
// port, and bounds what a client can take of it.
package httpserver

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Handlers are what is served.
type Handlers struct {
	API      http.Handler
	Token    http.Handler
	JWKS     http.Handler
	Registry http.Handler // nil: there is none
}

// The limits. Images take their time, so at /v2/ a client must only keep
// sending or receiving; elsewhere a request must be over in time.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 60 * time.Second
	stallTimeout   = 60 * time.Second // between two reads, or writes, at /v2/
	idleTimeout    = 2 * time.Minute  // between two requests
	maxHeaderBytes = 32 << 10
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
	path := r.URL.Path
	if h.Registry != nil && (path == "/v2" || strings.HasPrefix(path, "/v2/")) {
		deadlines := http.NewResponseController(w)
		_ = deadlines.SetWriteDeadline(time.Time{}) // of the connection's last request
		r.Body = &steadyBody{r.Body, deadlines}
		h.Registry.ServeHTTP(&steadyWriter{w, deadlines}, r)
		return
	}
	end := time.Now().Add(requestTimeout)
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(end) // fails on no real connection
	_ = deadlines.SetWriteDeadline(end)
	switch path {
	case "/token":
		h.Token.ServeHTTP(w, r)
	case "/.well-known/jwks.json":
		h.JWKS.ServeHTTP(w, r)
	default:
		h.API.ServeHTTP(w, r)
	}
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

func (w *steadyWriter) Write(p []byte) (int, error) {
	_ = w.deadlines.SetWriteDeadline(time.Now().Add(stallTimeout)) // fails on no real connection
	return w.ResponseWriter.Write(p)
}
