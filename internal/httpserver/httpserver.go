// Package httpserver puts the API, the token service and the registry on one
// port, and bounds what a client can take of it.
package httpserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Handlers are what is served.
type Handlers struct {
	API      http.Handler
	Token    http.Handler
	JWKS     http.Handler
	Registry http.Handler // nil: there is none

	// Ready reports why the server cannot serve, or nil; see [Probes].
	Ready func(context.Context) error

	// Proxies are who may say, in X-Forwarded-For and X-Forwarded-Proto, where a
	// request comes from.
	Proxies []netip.Prefix
}

// The limits. Images take long, so at /v2/ a client may pause and go on, within
// hours; elsewhere a request must be over in time.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 60 * time.Second
	stallTimeout   = 5 * time.Minute  // for each read and each write at /v2/
	imageTimeout   = 6 * time.Hour    // for a whole request at /v2/
	unreadTimeout  = 5 * time.Second  // for a body that no handler has asked for
	formTimeout    = 10 * time.Second // for the body at /token, which strangers may send
	responseTime   = 5 * time.Second  // of requestTimeout, to send the response
	idleTimeout    = 2 * time.Minute  // between two requests
	maxHeaderBytes = 64 << 10
	maxStreams     = 16 // requests at a time on one HTTP/2 connection
)

const tokenPath = "/token"

// New returns a server of the handlers. config is for TLS, or nil.
func New(h Handlers, config *tls.Config, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// ServeHTTP implements [http.Handler].
func (h Handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if h.Registry != nil && (path == "/v2" || strings.HasPrefix(path, "/v2/")) {
		// net/http looks at the body of its own request, for instance for
		// "Expect: 100-continue", so the handler gets another one.
		r = r.WithContext(r.Context())
		h.resolveForwarded(r)
		h.Registry.ServeHTTP(steady(w, r))
		return
	}
	end := time.Now().Add(requestTimeout)
	ctx, cancel := context.WithDeadline(r.Context(), end.Add(-responseTime))
	defer cancel()
	r = r.WithContext(ctx)
	h.resolveForwarded(r)
	bodyEnd := end
	if path == tokenPath {
		bodyEnd = time.Now().Add(formTimeout)
	}
	limitTo(bodyEnd, end, w, r)
	switch path {
	case healthPath, readyPath:
		probe(w, r, h.Ready)
	case tokenPath:
		h.Token.ServeHTTP(w, r)
	case "/.well-known/jwks.json":
		h.JWKS.ServeHTTP(w, r)
	default:
		h.API.ServeHTTP(w, r)
	}
}
