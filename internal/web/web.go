// Package web serves the API, the token service and the registry on one port. It has
// the table of all paths, limits the resources that a client can use, finds out each
// client's address, and passes every request through package observe.
package web

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/registryusers/registryusers/internal/observe"
)

// The limits that no handler can change. A route has [deadlines] of its own.
const (
	headerTimeout  = 10 * time.Second
	unreadTimeout  = 5 * time.Second // for a body that no handler reads
	idleTimeout    = 2 * time.Minute // between two requests
	maxHeaderBytes = 64 << 10
	maxStreams     = 16 // concurrent requests on one HTTP/2 connection
)

// Options are the options of [New].
type Options struct {
	TLS    *tls.Config  // nil: plain HTTP
	Logger *slog.Logger // for the access log and for errors in net/http. Required

	// Proxies are the addresses of trusted proxies, whose X-Forwarded-For and
	// X-Forwarded-Proto name the client's address and scheme.
	Proxies []netip.Prefix

	// Begin is called for each request, for metrics and spans: see
	// [observe.Options]. It may be nil.
	Begin func(r *http.Request) (ctx context.Context, end func(*observe.Record))
}

// New returns a server for the handlers. With none but Ready, it serves the probes.
func New(h Handlers, o Options) *http.Server {
	return &http.Server{
		Handler: observe.Handler(
			&router{routes: h.routes(), proxies: o.Proxies},
			observe.Options{Logger: o.Logger, Begin: o.Begin},
		),
		TLSConfig:         o.TLS,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
}
