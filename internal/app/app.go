// Package app wires a server: the accounts, the API, and the token service and
// registry for images. The binary, clienttest and this module's tests all use it.
package app

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/api"
	"github.com/registryusers/registryusers/internal/web"
	"github.com/registryusers/registryusers/server"
)

// Config is the configuration of [Open].
type Config struct {
	Store     accounts.Store     // required; the caller closes it, after the App
	ServerKey accounts.ServerKey // required
	Now       func() time.Time   // the clock; nil: [time.Now]
	Logger    *slog.Logger       // nil: [slog.Default]

	BareNames           bool // see [accounts.Service.AllowBareNames]
	ValidateResponses   bool // see [server.Options]
	RefuseUnknownFields bool // see [server.Options]

	// Images opens the token service and the registry, and puts their handlers into
	// the App's. nil: only the API is served. The returned close may be nil. Package
	// images has such a function; a program that does not import it does not link
	// the registry.
	Images func(ctx context.Context, a *App) (close func() error, err error)
}

// App is a wired server; [App.Server] returns its HTTP server.
type App struct {
	Accounts *accounts.Service
	Handlers web.Handlers
	Now      func() time.Time
	Logger   *slog.Logger

	close func() error
}

// Open wires a server.
func Open(ctx context.Context, c Config) (*App, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &App{Accounts: accounts.New(c.Store, c.ServerKey, c.Now), Now: c.Now, Logger: cmp.Or(c.Logger, slog.Default())}
	if c.BareNames {
		if err := a.Accounts.AllowBareNames(ctx); err != nil {
			return nil, err
		}
	}
	implementation := api.New(a.Accounts)
	handler, err := server.New(implementation, server.Options{
		Authenticator:       implementation,
		Logger:              a.Logger,
		ValidateResponses:   c.ValidateResponses,
		RefuseUnknownFields: c.RefuseUnknownFields,
	})
	if err != nil {
		return nil, err
	}
	a.Handlers = web.Handlers{API: handler, Ready: a.Accounts.Ready}
	if c.Images != nil {
		if a.close, err = c.Images(ctx, a); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Server returns an HTTP server for the app. It replaces the options' Logger by the
// app's.
func (a *App) Server(o web.Options) *http.Server {
	o.Logger = a.Logger
	return web.New(a.Handlers, o)
}

// Close closes the token service and the registry. Call it after the last request.
func (a *App) Close() error {
	if a.close == nil {
		return nil
	}
	return a.close()
}
