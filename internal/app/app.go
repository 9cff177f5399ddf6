// Package app wires a server of the API over its accounts. The binary, clienttest and
// this module's tests all use it.
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
	Now    func() time.Time // the clock; nil: [time.Now]
	Logger *slog.Logger     // nil: [slog.Default]

	BareNames           bool // see [accounts.Service.AllowBareNames]
	ValidateResponses   bool // see [server.Options]
	RefuseUnknownFields bool // see [server.Options]
}

// App is a wired server; [App.Server] returns its HTTP server.
type App struct {
	Accounts *accounts.Service
	Handlers web.Handlers
	Now      func() time.Time
	Logger   *slog.Logger
}

// Open wires a server of the API. The caller closes the store when it has served the
// last request. Package images adds the token service and the registry; a program
// that does not import it does not link the registry.
func Open(ctx context.Context, store accounts.Store, key accounts.ServerKey, c Config) (*App, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &App{Accounts: accounts.New(store, key, c.Now), Now: c.Now, Logger: cmp.Or(c.Logger, slog.Default())}
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
	return a, nil
}

// Server returns an HTTP server for the app. It replaces the options' Logger by the
// app's.
func (a *App) Server(o web.Options) *http.Server {
	o.Logger = a.Logger
	return web.New(a.Handlers, o)
}
