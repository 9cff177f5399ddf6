// Package images opens and serves a server over a data directory, with its token
// service and registry. It is not part of package app, so that a server without images
// does not link the distribution project's library.
package images

import (
	"context"
	"net/http"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/app"
	"github.com/registryusers/registryusers/internal/connections"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/ociregistry"
	"github.com/registryusers/registryusers/internal/token"
	"github.com/registryusers/registryusers/internal/web"
)

// Options are the options of [Open].
type Options struct {
	app.Config

	Store accounts.Store // in place of the directory's; nil: the directory's

	Service          string // issuer and audience of the tokens. Required
	TokenCertificate bool   // put the certificate into the tokens' header

	// Images says that the server stores images, in the data directory. Otherwise
	// another registry stores them, and there is only the token service.
	Images  bool
	URL     string // at which clients reach the registry, "https://HOST"; "": from each request
	Reserve int64  // of disk space, see [ociregistry.Options]

	// Connections limits the open connections of [App.Serve]. By default Total is
	// [connections.Max], and PerAddress a quarter of Total. Its Exempt are the trusted
	// proxies, see [web.Options]. Requests for images get the open files that
	// connections leave.
	Connections connections.Limits
}

// App is a wired server over a data directory.
type App struct {
	*app.App
	dir         *datadir.Dir
	connections connections.Limits
	registry    *ociregistry.Registry // nil: another registry stores the images
}

// Open wires a server over a data directory, which the caller closes after the App.
func Open(ctx context.Context, dir *datadir.Dir, o Options) (*App, error) {
	if o.Store == nil {
		o.Store = dir.Store
	}
	api, err := app.Open(ctx, o.Store, dir.ServerKey(), o.Config)
	if err != nil {
		return nil, err
	}
	openFiles := connections.OpenFiles()
	if o.Connections.Total == 0 {
		o.Connections.Total = connections.Max(openFiles)
	}
	if o.Connections.PerAddress == 0 {
		o.Connections.PerAddress = max(1, o.Connections.Total/4)
	}
	a := &App{App: api, dir: dir, connections: o.Connections}
	keys, err := dir.Keys.TokenKeys(a.Logger)
	if err != nil {
		return nil, err
	}
	issuer := &token.Issuer{Keys: keys, Service: o.Service, Now: a.Now, PutsCertificate: o.TokenCertificate}
	tokens := &token.Handler{Accounts: a.Accounts, Issuer: issuer}
	a.Handlers.Token, a.Handlers.JWKS = tokens, http.HandlerFunc(tokens.JWKS)
	if !o.Images {
		return a, nil
	}
	requests := ociregistry.RequestsWith(connections.FilesLeft(openFiles, o.Connections.Total))
	if requests < ociregistry.MaxRequests/4 {
		a.Logger.Warn("the limit of open files allows few pulls and pushes at a time; raise it (ulimit -n), or lower --max-connections",
			"open_files", openFiles, "max_connections", o.Connections.Total, "max_requests", requests)
	}
	a.registry, err = ociregistry.Open(ctx, ociregistry.Options{
		Root:             dir.Images(),
		URL:              o.URL,
		TokenPath:        web.TokenPath,
		Accounts:         a.Accounts,
		Issuer:           issuer,
		Logger:           a.Logger,
		Reserve:          o.Reserve,
		Requests:         requests,
		AccountsDiskFull: dir.Store.DiskFull,
	})
	if err != nil {
		return nil, err
	}
	a.Handlers.Registry = a.registry
	return a, nil
}

// Close closes the registry. Call it after the last request.
func (a *App) Close() error {
	if a.registry == nil {
		return nil
	}
	return a.registry.Close()
}
