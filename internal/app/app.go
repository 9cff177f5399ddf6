// Package app wires a server: the accounts, the API, and the token service and
// registry for images. The binary, clienttest and this module's tests all use it.
package app

import (
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

	BareNames         bool // see [accounts.Service.AllowBareNames]
	ValidateResponses bool // see [server.Options]

	// Images opens the token service and the registry; nil: only the API is served.
	// Package images has the constructor; a program that does not import it does not
	// link the registry.
	Images func(ctx context.Context, a *accounts.Service) (Images, error)
}

// Images are the handlers that [Config.Images] returns.
type Images struct {
	Token, JWKS http.Handler
	Registry    http.Handler // nil: another registry stores the images
	Close       func() error // nil: nothing has to be closed
}

// App is a wired server; [App.Server] returns its HTTP server.
type App struct {
	Accounts *accounts.Service
	Handlers web.Handlers

	logger *slog.Logger
	close  func() error
}

// Open wires a server.
func Open(ctx context.Context, c Config) (*App, error) {
	a := &App{Accounts: accounts.New(c.Store, c.ServerKey, c.Now), logger: c.Logger}
	if a.logger == nil {
		a.logger = slog.Default()
	}
	if c.BareNames {
		if err := a.Accounts.AllowBareNames(ctx); err != nil {
			return nil, err
		}
	}
	implementation := api.New(a.Accounts)
	handler, err := server.New(implementation, server.Options{
		Authenticator:     implementation,
		Logger:            a.logger,
		ValidateResponses: c.ValidateResponses,
	})
	if err != nil {
		return nil, err
	}
	a.Handlers = web.Handlers{API: handler, Ready: a.Accounts.Ready}
	if c.Images == nil {
		return a, nil
	}
	images, err := c.Images(ctx, a.Accounts)
	if err != nil {
		return nil, err
	}
	a.Handlers.Token, a.Handlers.JWKS, a.Handlers.Registry = images.Token, images.JWKS, images.Registry
	a.close = images.Close
	return a, nil
}

// Server returns an HTTP server for the app. It replaces the options' Logger by the
// app's.
func (a *App) Server(o web.Options) *http.Server {
	o.Logger = a.logger
	return web.New(a.Handlers, o)
}

// Close closes the token service and the registry. Call it after the last request.
func (a *App) Close() error {
	if a.close == nil {
		return nil
	}
	return a.close()
}
