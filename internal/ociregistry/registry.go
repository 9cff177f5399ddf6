// Package ociregistry is the container registry: the distribution project's
// registry, used as a library, with an access controller that reads the accounts.
//
// Every request reads its user's row in the store: a token says who its holder was
// and what was requested; the row says what the user may do now.
package ociregistry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/distribution/distribution/v3/registry/handlers"
	repositorymiddleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/token"
)

// Options are the options of [Open]. Root, TokenPath, Accounts, Issuer and Logger are required.
type Options struct {
	Root      string // directory of the images
	URL       string // at which clients reach the registry, "https://HOST"; "": from each request
	TokenPath string // of the token service, below URL
	Accounts  *accounts.Service
	Issuer    *token.Issuer
	Logger    *slog.Logger

	// Reserve is the free space in bytes that uploads leave on the file system
	// of Root; below it they are refused with 507. On a file system with a fixed
	// number of inodes, the larger of 1,024 and 2 % of them are reserved, too.
	// 0: nothing is reserved; negative: [DefaultReserve].
	Reserve int64

	// Requests is how many requests of users may be in progress at the same time, at
	// most [MaxRequests]: each may have two files open. A registry has half of them,
	// a user a quarter, but at least 4. 0: MaxRequests.
	Requests int

	// AccountsDiskFull reports whether the disk of the accounts is full. While it is,
	// uploads are refused with 507, whatever Reserve is: the space that is left is
	// for revocations. nil: it is never full.
	AccountsDiskFull func() bool
}

// Registry serves /v2/. Close it after the last request.
type Registry struct {
	http.Handler
	app        *handlers.App
	images     *imageDirectory
	background sync.WaitGroup
	cancel     context.CancelFunc // ends background
}

// Open opens a registry and locks its directory. The time it takes does not depend
// on the number of images. Until the registry is closed or ctx ends, it removes
// abandoned uploads in the background, and verifies blobs that earlier versions
// stored: see verifyBlobs.
func Open(ctx context.Context, o Options) (*Registry, error) {
	o.Logger = o.Logger.With(registryComponent)
	logTo(o.Logger)
	images, err := openImageDirectory(o.Root)
	if err != nil {
		return nil, err
	}
	space := &reserve{root: o.Root, size: o.Reserve, accountsDiskFull: o.AccountsDiskFull, logger: o.Logger}
	store := &files{images: images, logger: o.Logger, reserve: space}
	c := &accessController{
		accounts: o.Accounts, issuer: o.Issuer, url: o.URL, tokenPath: o.TokenPath, routes: v2.RouterWithPrefix(""), files: store,
		limits: limits{maxRequests: min(cmp.Or(int64(o.Requests), MaxRequests), MaxRequests)},
	}
	app, err := newApp(ctx, o, c)
	if err != nil {
		return nil, errors.Join(err, images.close())
	}
	c.next = app
	r := &Registry{Handler: c, app: app, images: images}
	ctx, r.cancel = context.WithCancel(ctx)
	r.background.Go(func() { purgeUploads(ctx, images, o.Logger) })
	r.background.Go(func() { store.verifyBlobs(ctx) })
	return r, nil
}

// Close stops the background work, closes the library and unlocks the directory.
func (r *Registry) Close() error {
	r.cancel()
	r.background.Wait()
	return errors.Join(r.app.Shutdown(), r.images.close())
}

// newApp configures the library, which panics on errors. The configuration does not
// depend on the user's, so only the directory can fail.
func newApp(ctx context.Context, o Options, c *accessController) (app *handlers.App, err error) {
	if err := register(); err != nil {
		return nil, err
	}
	if c.files.StorageDriver, err = filesystem.FromParameters(map[string]any{"rootdirectory": o.Root}); err != nil {
		return nil, fmt.Errorf("image directory %s: %w", o.Root, err)
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			libraryName:   configuration.Parameters{"files": c.files},
			"delete":      configuration.Parameters{"enabled": true},
			"redirect":    configuration.Parameters{"disable": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Auth: configuration.Auth{libraryName: configuration.Parameters{"access": c}},
		Middleware: map[string][]configuration.Middleware{
			"repository": {{Name: libraryName, Options: configuration.Parameters{"access": c}}},
		},
	}
	config.HTTP.Secret = string(o.Accounts.DeriveKey("registry upload state")) // so that uploads survive a restart
	config.HTTP.Host = o.URL
	config.HTTP.RelativeURLs = o.URL == ""
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("the registry cannot be configured: %v", value)
		}
	}()
	return handlers.NewApp(ctx, config), nil
}

// libraryName is the name of this package's access controller, storage driver and
// repository middleware in the library. The options of each have its value.
const libraryName = "registryusers"

var register = sync.OnceValue(func() error {
	factory.Register(libraryName, filesFactory{})
	return errors.Join(
		auth.Register(libraryName, func(options map[string]any) (auth.AccessController, error) {
			return options["access"].(*accessController), nil
		}),
		repositorymiddleware.Register(libraryName, func(_ context.Context, inner distribution.Repository, options map[string]any) (distribution.Repository, error) {
			return &repository{inner, options["access"].(*accessController)}, nil
		}))
})

type filesFactory struct{}

// Create implements [factory.StorageDriverFactory].
func (filesFactory) Create(_ context.Context, parameters map[string]any) (driver.StorageDriver, error) {
	return parameters["files"].(*files), nil
}
