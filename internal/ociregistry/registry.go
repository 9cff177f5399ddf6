// Package ociregistry is the container registry: the distribution project's,
// as a library, behind the accounts.
//
// Every request reads its user's row: a token says who its holder was and what
// was asked for; the row says what they may do now.
package ociregistry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // a driver
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"   // another, for tests
	"github.com/gofrs/flock"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/token"
)

// Options are what a registry is made of. All but Root are required.
type Options struct {
	Root     string // directory of the images; "": they are kept in memory
	URL      string // under which clients reach it, "https://HOST"; "": what each request says
	Accounts *accounts.Service
	Issuer   *token.Issuer
	Logger   *slog.Logger
}

// Registry serves /v2/. Close it after the last request.
type Registry struct {
	app    *handlers.App
	door   *door
	unlock func() error
}

// Open opens a registry. It takes the lock of its directory, and sweeps away
// the blobs that no image has.
func Open(ctx context.Context, o Options) (r *Registry, err error) {
	logTo(o.Logger)
	unlock := func() error { return nil }
	if o.Root != "" {
		if unlock, err = lock(o.Root); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, unlock())
			}
		}()
		if err := sweep(ctx, o.Root); err != nil { // no reason not to serve
			o.Logger.LogAttrs(ctx, slog.LevelError, "registry: blobs are not swept", slog.String("error", err.Error()))
		}
	}
	d := &door{accounts: o.Accounts, issuer: o.Issuer, url: o.URL, logger: o.Logger, routes: v2.RouterWithPrefix("")}
	app, err := newApp(ctx, o, d)
	if err != nil {
		return nil, err
	}
	d.next = app
	return &Registry{app, d, unlock}, nil
}

// ServeHTTP implements [http.Handler].
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.door.ServeHTTP(w, request)
}

// Close releases what the registry holds.
func (r *Registry) Close() error { return errors.Join(r.app.Shutdown(), r.unlock()) }

// Sweep removes the blobs that no image has, while no server runs.
func Sweep(ctx context.Context, root string, logger *slog.Logger) error {
	logTo(logger)
	unlock, err := lock(root)
	if err != nil {
		return err
	}
	return errors.Join(sweep(ctx, root), unlock())
}

// lock makes sure that one process alone has the images: sweeping beside a
// push corrupts them.
func lock(root string) (unlock func() error, err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("image directory %s cannot be made: %w", root, err)
	}
	file := flock.New(filepath.Join(root, ".lock"), flock.SetPermissions(0o600))
	ok, err := file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("image directory %s cannot be locked: %w", root, err)
	}
	if !ok {
		return nil, fmt.Errorf("image directory %s is in use by another process: stop that server first", root)
	}
	return file.Close, nil
}

func sweep(ctx context.Context, root string) error {
	files, err := factory.Create(ctx, "filesystem", map[string]any{"rootdirectory": root})
	if err != nil {
		return fmt.Errorf("image directory %s: %w", root, err)
	}
	namespace, err := storage.NewRegistry(ctx, files, storage.EnableDelete)
	if err != nil {
		return fmt.Errorf("image directory %s: %w", root, err)
	}
	// An upload cannot go on in another process: its state is signed by a key
	// of the one that began it.
	storage.PurgeUploads(ctx, files, time.Now().AddDate(10, 0, 0), true) // those too that have no date
	if err := addLayerDirs(root); err != nil {
		return fmt.Errorf("sweeping %s: %w", root, err)
	}
	for _, path := range []string{"/docker/registry/v2/repositories", "/docker/registry/v2/blobs"} {
		var missing driver.PathNotFoundError
		if _, err := files.Stat(ctx, path); errors.As(err, &missing) {
			return nil // nothing was pushed yet
		}
	}
	if err := storage.MarkAndSweep(ctx, files, namespace, storage.GCOpts{Quiet: true}); err != nil {
		return fmt.Errorf("sweeping %s: %w", root, err)
	}
	return nil
}

// addLayerDirs gives every repository the directory of its layers, without
// which the library's sweep stops: an index of no images makes none.
func addLayerDirs(root string) error {
	repositories := filepath.Join(root, "docker", "registry", "v2", "repositories")
	return filepath.WalkDir(repositories, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || !entry.IsDir():
			return err
		case entry.Name() == "_manifests":
			if err := os.MkdirAll(filepath.Join(filepath.Dir(path), "_layers"), 0o750); err != nil {
				return err
			}
			return fs.SkipDir
		case strings.HasPrefix(entry.Name(), "_"):
			return fs.SkipDir
		}
		return nil
	})
}

// newApp configures the library. Its own errors are panics; the configuration
// is ours alone, so what can still fail is the directory.
func newApp(ctx context.Context, o Options, d *door) (app *handlers.App, err error) {
	registerOnce.Do(func() {
		err = auth.Register(controllerName, func(options map[string]any) (auth.AccessController, error) {
			return options["door"].(*door), nil
		})
	})
	if err != nil {
		return nil, err
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"delete":      configuration.Parameters{"enabled": true},
			"redirect":    configuration.Parameters{"disable": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Auth: configuration.Auth{controllerName: configuration.Parameters{"door": d}},
	}
	if o.Root == "" {
		config.Storage["inmemory"] = configuration.Parameters{}
	} else {
		config.Storage["filesystem"] = configuration.Parameters{"rootdirectory": o.Root}
	}
	config.HTTP.Host = o.URL
	config.HTTP.RelativeURLs = o.URL == ""
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("the registry cannot be configured: %v", value)
		}
	}()
	return handlers.NewApp(ctx, config), nil
}

const controllerName = "registryusers"

var registerOnce sync.Once
