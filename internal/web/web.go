// Package web puts the API, the token service and the registry on one port: it
// owns every path, bounds what a client can take, says where a request comes from,
// and has every request observed.
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

// The limits that no handler can change. Those of a route are in its [limits].
const (
	headerTimeout  = 10 * time.Second
	unreadTimeout  = 5 * time.Second // for a body that no handler has asked for
	idleTimeout    = 2 * time.Minute // between two requests
	maxHeaderBytes = 64 << 10
	maxStreams     = 16 // requests at a time on one HTTP/2 connection
)

// Options are what [New] needs besides the handlers.
type Options struct {
	TLS    *tls.Config  // nil: plain HTTP
	Logger *slog.Logger // of the requests, and of what fails in net/http. Required

	// Proxies are who may say, in X-Forwarded-For and X-Forwarded-Proto, where a
	// request comes from.
	Proxies []netip.Prefix

	// Begin is called for each request, for metrics and spans: see
	// [observe.Options]. nil: nothing is called.
	Begin func(r *http.Request) (ctx context.Context, end func(*observe.Record))
}

// New returns a server of the handlers.
func New(h Handlers, o Options) *http.Server { return newServer(h.routes(), o) }

// NewAdmin returns a server of the probes alone, for a listener of its own, which
// answers when all connections of the main one are taken.
func NewAdmin(ready func(context.Context) error, logger *slog.Logger) *http.Server {
	return newServer(probeRoutes(ready), Options{Logger: logger})
}

func newServer(routes []route, o Options) *http.Server {
	return &http.Server{
		Handler: observe.Handler(
			&router{routes: routes, proxies: o.Proxies},
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
