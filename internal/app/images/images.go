// Package images opens a server over a data directory, with its token service and
// registry. It is not part of package app, so that a server without images does not
// link the distribution project's library.
package images

import (
	"context"
	"net/http"

	"github.com/registryusers/registryusers/internal/app"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/ociregistry"
	"github.com/registryusers/registryusers/internal/token"
)

// Options are the options of [Open].
type Options struct {
	app.Config // Store and ServerKey may be nil: they are the directory's; Open sets Images

	Service          string // issuer and audience of the tokens. Required
	TokenCertificate bool   // put the certificate into the tokens' header

	// Registry are options of the registry: Open sets Accounts, Issuer, Logger and
	// AccountsDiskFull. nil: another registry stores the images, and there is only the
	// token service.
	Registry *ociregistry.Options
}

// Open wires a server over a data directory, which the caller closes after the App.
func Open(ctx context.Context, dir *datadir.Dir, o Options) (*app.App, error) {
	if o.Store == nil {
		o.Store = dir.Store
	}
	o.ServerKey = dir.ServerKey()
	o.Images = func(ctx context.Context, a *app.App) (func() error, error) {
		keys, err := dir.Keys.TokenKeys(a.Logger)
		if err != nil {
			return nil, err
		}
		issuer := &token.Issuer{Keys: keys, Service: o.Service, Now: a.Now, PutsCertificate: o.TokenCertificate}
		tokens := &token.Handler{Accounts: a.Accounts, Issuer: issuer}
		a.Handlers.Token, a.Handlers.JWKS = tokens, http.HandlerFunc(tokens.JWKS)
		if o.Registry == nil {
			return nil, nil
		}
		registry := *o.Registry
		registry.Accounts, registry.Issuer, registry.Logger, registry.AccountsDiskFull = a.Accounts, issuer, a.Logger, dir.Store.DiskFull
		r, err := ociregistry.Open(ctx, registry)
		if err != nil {
			return nil, err
		}
		a.Handlers.Registry = r
		return r.Close, nil
	}
	return app.Open(ctx, o.Config)
}
