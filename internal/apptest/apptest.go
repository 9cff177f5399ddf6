// Package apptest runs a complete server for a test: a data directory, what
// [images.Open] wires over it, and its HTTP server on a loopback port.
//
//	env := apptest.New(t, apptest.Options{Images: true})
//	user, err := env.Accounts.CreateUser(t.Context(), accounts.APIKey{}, env.Registry, "", accounts.NewUser{Name: "ci", Duration: 1})
//	response, err := env.Client().Get(env.URL + "/v2/")
//	env.Clock.Advance(24 * time.Hour)
package apptest

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/app"
	"github.com/registryusers/registryusers/internal/app/images"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/testkit"
	"github.com/registryusers/registryusers/internal/web"
)

// Service is the name of the service in tokens.
const Service = "registry.example.com"

// Noon is the clock's first time by default.
var Noon = time.Date(2024, 6, 18, 12, 0, 0, 0, time.UTC)

// Options of the zero value make an API and a token service, without a registry.
type Options struct {
	Images bool   // serve the images in the data directory; false: another registry stores them, and there is no /v2/
	Data   string // an existing data directory, whose registries and keys stay as they are; "": a new one

	ProjectID, RegionID int64 // of the registry and the API key; 0: 1

	Start time.Time        // the clock's first time; zero: Noon
	Now   func() time.Time // the server's time; nil: the clock's

	URL string // where clients reach the registry; "": the Host of each request
	TLS bool

	// Handlers replaces or wraps handlers. It is called at each Open.
	Handlers func(*web.Handlers)
}

// Env is a running server. Every response of its API is checked against the
// document. When the test ends, the server, what Open opened and the data
// directory are closed, in this order.
type Env struct {
	*httptest.Server
	Accounts *accounts.Service // a new one after each Open
	Dir      *datadir.Dir
	Keys     *keys.TokenKeys // of the tokens
	Clock    *testkit.Clock
	Log      *testkit.Log // JSON, one record a line, of all levels
	Logger   *slog.Logger // writes to Log

	// Registry is named "demo". APIKey is valid for its project alone. Where
	// Options.Data is set, both are empty.
	Registry accounts.RegistryRef
	APIKey   accounts.APIKey
	APIToken registryusers.Secret

	// AppOptions is what Open uses. A test may change it while the server is stopped.
	AppOptions images.Options

	t       testing.TB
	options Options
	app     *images.App
	handler atomic.Pointer[http.Handler] // nil: stopped
}

// New starts a server.
func New(t testing.TB, o Options) *Env {
	t.Helper()
	if o.Start.IsZero() {
		o.Start = Noon
	}
	e := &Env{t: t, options: o, Clock: testkit.NewClock(o.Start), Log: new(testkit.Log)}
	now := o.Now
	if now == nil {
		now = e.Clock.Now
	}
	e.Logger = slog.New(slog.NewJSONHandler(e.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e.openDir()
	e.AppOptions = images.Options{
		Config: app.Config{Now: now, Logger: e.Logger, ValidateResponses: true}, Store: e.Dir.Store, Service: Service, Images: o.Images, URL: o.URL,
	}
	e.Open()
	t.Cleanup(e.Stop)
	e.listen()
	if o.Data == "" {
		e.Registry = e.NewRegistry(max(1, o.ProjectID), max(1, o.RegionID), "demo")
		var err error
		if e.APIKey, e.APIToken, err = e.Accounts.CreateAPIKey(t.Context(), e.Registry.ProjectID); err != nil {
			t.Fatalf("create an API key: %v", err)
		}
	}
	return e
}

func (e *Env) openDir() {
	e.t.Helper()
	path := e.options.Data
	if path == "" {
		path = filepath.Join(e.t.TempDir(), "data")
	}
	var err error
	if e.Dir, err = datadir.Open(e.t.Context(), path); err != nil {
		e.t.Fatalf("open the data directory: %v", err)
	}
	e.t.Cleanup(func() {
		if err := e.Dir.Close(); err != nil && !errors.Is(err, os.ErrClosed) { // a test may have closed it
			e.t.Errorf("close the data directory: %v", err)
		}
	})
	if e.Keys, err = e.Dir.Keys.TokenKeys(e.Logger); err != nil {
		e.t.Fatalf("open the token keys: %v", err)
	}
}

// listen starts the app's HTTP server with another handler, which Open
// and Stop replace.
func (e *Env) listen() {
	e.Server = httptest.NewUnstartedServer(nil)
	e.Config = e.app.Server(web.Options{})
	e.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler := e.handler.Load()
		if handler == nil {
			panic(http.ErrAbortHandler)
		}
		(*handler).ServeHTTP(w, r)
	})
	if e.options.TLS {
		e.StartTLS()
	} else {
		e.Start()
	}
	e.t.Cleanup(e.Close) // waits for the requests in progress
}

// NewRegistry creates a registry.
func (e *Env) NewRegistry(projectID, regionID int64, name string) accounts.RegistryRef {
	e.t.Helper()
	r, err := e.Accounts.CreateRegistry(e.t.Context(), accounts.Administrator, projectID, regionID, name)
	if err != nil {
		e.t.Fatalf("create the registry %s: %v", name, err)
	}
	return r.Ref()
}

// Stop closes what Open opened. Until the next Open, a request gets no response
// and its connection is closed. No request may be in progress.
func (e *Env) Stop() {
	e.t.Helper()
	if e.handler.Swap(nil) == nil {
		return
	}
	if err := e.app.Close(); err != nil {
		e.t.Errorf("close the server: %v", err)
	}
}

// Open opens the server again after Stop, as a restart does. The URL stays.
func (e *Env) Open() {
	e.t.Helper()
	var err error
	if e.app, err = images.Open(e.t.Context(), e.Dir, e.AppOptions); err != nil {
		e.t.Fatalf("open the server: %v", err)
	}
	if e.options.Handlers != nil {
		e.options.Handlers(&e.app.Handlers)
	}
	e.Accounts = e.app.Accounts
	handler := e.app.Server(web.Options{}).Handler
	e.handler.Store(&handler)
}
