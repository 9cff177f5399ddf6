// Package images opens the token service and the registry of a server. It is not
// part of package app, so that a server without images does not link the
// distribution project's library.
package images

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/app"
	"github.com/registryusers/registryusers/internal/ociregistry"
	"github.com/registryusers/registryusers/internal/token"
)

// Options are the options of [New].
type Options struct {
	Keys    token.Keys       // sign and verify tokens. Required
	Service string           // issuer and audience of the tokens. Required
	X5C     bool             // put the certificate into the tokens' header
	Now     func() time.Time // the clock; nil: [time.Now]
	Logger  *slog.Logger     // required

	// Outside means that another registry stores the images: only the token service
	// is opened, and the options below are ignored.
	Outside bool

	Root         string      // directory of the images; "": they are kept in memory
	URL          string      // see [ociregistry.Options]
	Reserve      int64       // see [ociregistry.Options]
	Requests     int         // see [ociregistry.Options]
	AccountsFull func() bool // see [ociregistry.Options]
}

// New returns the constructor of the token service and the registry for
// [app.Config.Images].
func New(o Options) func(context.Context, *accounts.Service) (app.Images, error) {
	return func(ctx context.Context, a *accounts.Service) (app.Images, error) {
		now := o.Now
		if now == nil {
			now = time.Now
		}
		issuer := &token.Issuer{Keys: o.Keys, Service: o.Service, Now: now, Certified: o.X5C}
		tokens := &token.Handler{Accounts: a, Issuer: issuer}
		images := app.Images{Token: tokens, JWKS: http.HandlerFunc(tokens.JWKS)}
		if o.Outside {
			return images, nil
		}
		registry, err := ociregistry.Open(ctx, ociregistry.Options{
			Root:         o.Root,
			URL:          o.URL,
			Accounts:     a,
			Issuer:       issuer,
			Logger:       o.Logger,
			Reserve:      o.Reserve,
			Requests:     o.Requests,
			AccountsFull: o.AccountsFull,
		})
		if err != nil {
			return app.Images{}, err
		}
		images.Registry, images.Close = registry, registry.Close
		return images, nil
	}
}
