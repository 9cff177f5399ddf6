package images

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/connections"
	"github.com/registryusers/registryusers/internal/web"
)

// ServeOptions are the options of [App.Serve].
type ServeOptions struct {
	TLS *tls.Config // nil: plain HTTP

	// Probes, if not nil, serves /healthz and /readyz too, in plain HTTP: even when
	// the other listener has all of its connections open. Serve closes it.
	Probes net.Listener

	AddressFile  string        // file to write the listener's address to; "": none
	DrainTimeout time.Duration // how long requests in progress may take after ctx has ended
}

// Serve serves on the listener, which it closes, and maintains the database, until ctx
// ends. Then it waits for the requests in progress.
func (a *App) Serve(ctx context.Context, listener net.Listener, o ServeOptions) error {
	defer a.maintain(ctx)()
	if o.Probes != nil {
		defer a.serveProbes(o.Probes)()
	}
	server := a.Server(web.Options{TLS: o.TLS, Proxies: a.connections.Exempt})
	start := server.Serve
	if o.TLS != nil {
		start = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if o.AddressFile != "" {
		if err := atomicfile.Write(o.AddressFile, []byte(listener.Addr().String()+"\n"), 0o600); err != nil {
			return errors.Join(fmt.Errorf("the address file cannot be written: %w", err), listener.Close())
		}
	}
	limited := connections.Limit(listener, server, a.connections, a.Logger)
	served := make(chan error, 1)
	go func() { served <- start(limited) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	a.Logger.Info("shutting down")
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.DrainTimeout)
	defer cancel()
	if server.Shutdown(bounded) != nil {
		a.Logger.Warn("requests that were still in progress were cut off", "drain_timeout", o.DrainTimeout)
		return server.Close()
	}
	return nil
}

// maxProbeConnections is the most connections that the listener for probes has open.
const maxProbeConnections = 16

// serveProbes serves the probes until stop is called.
func (a *App) serveProbes(listener net.Listener) (stop func()) {
	server := web.New(web.Handlers{Ready: a.Handlers.Ready}, web.Options{Logger: a.Logger})
	listener = connections.Limit(listener, server, connections.Limits{Total: maxProbeConnections, PerAddress: maxProbeConnections}, a.Logger)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.Logger.Error("the listener for probes (--admin-listen) failed", "error", err)
		}
	}()
	return func() { _ = errors.Join(server.Close(), listener.Close()) } // Serve may not have begun
}
