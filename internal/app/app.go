// Package app wires a server: the accounts, the API over them, and what keeps
// images. The binary, the servers of callers' tests and our own tests are made
// here and nowhere else.
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

// Config is what a server is made of.
type Config struct {
	Store     accounts.Store     // required; whoever opened it closes it, after the App
	ServerKey accounts.ServerKey // required
	Now       func() time.Time   // the clock; nil: [time.Now]
	Logger    *slog.Logger       // nil: [slog.Default]

	BareNames         bool // see [accounts.Service.AllowBareNames]
	ValidateResponses bool // see [server.Options]

	// Images opens what keeps images and gives out tokens for them; nil: the API
	// is all that is served. A program that needs no images does not link the
	// registry: see package images.
	Images func(ctx context.Context, a *accounts.Service) (Images, error)
}

// Images are the handlers that [Config.Images] returns.
type Images struct {
	Token, JWKS http.Handler
	Registry    http.Handler // nil: an outside registry keeps the images
	Close       func() error // nil: there is nothing to close
}

// App is a server that is ready to be served.
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
		Statuses:          api.Statuses,
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

// Server returns the HTTP server of the app. The options' Logger is the app's.
func (a *App) Server(o web.Options) *http.Server {
	o.Logger = a.logger
	return web.New(a.Handlers, o)
}

// Close closes what [Config.Images] has opened. Call it after the last request.
func (a *App) Close() error {
	if a.close == nil {
		return nil
	}
	return a.close()
}
