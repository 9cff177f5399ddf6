package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/observe"
)

// Handlers are what is served.
type Handlers struct {
	API      http.Handler
	Token    http.Handler
	JWKS     http.Handler
	Registry http.Handler // nil: there is none

	// Ready reports why the server cannot serve, or nil.
	Ready func(context.Context) error
}

// route says who serves a path, and what a client may take there.
type route struct {
	name    string // in the log
	path    string // this path alone, or with a slash at its end all paths below it too
	handler http.Handler
	limits  limits
	public  bool // anybody may read it: its handler asks nobody who they are, and changes nothing
	quiet   bool // a request is logged only if it fails
}

// apiPrefix is what all paths of the document begin with.
const apiPrefix = "/cloud/v1/registries/"

// routes returns the table of all paths. No path is in two of its rows.
func (h Handlers) routes() []route {
	routes := append(probeRoutes(h.Ready),
		route{name: "api", path: apiPrefix, handler: h.API, limits: brief},
		route{name: "token", path: "/token", handler: h.Token, limits: form},
		route{name: "jwks", path: "/.well-known/jwks.json", handler: h.JWKS, limits: brief, public: true},
	)
	if h.Registry != nil {
		routes = append(routes, route{name: "registry", path: "/v2/", handler: h.Registry, limits: images})
	}
	return routes
}

// router is the handler of a table of routes.
type router struct {
	routes  []route
	proxies []netip.Prefix
}

// ServeHTTP implements [http.Handler]. The request is observe's, so net/http's
// own stays as it is: net/http looks at the body of that one, for instance for
// "Expect: 100-continue".
func (t *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	record := observe.From(r.Context())
	t.resolveForwarded(r)
	for i := range t.routes {
		route := &t.routes[i]
		if !route.owns(r.URL.Path) {
			continue
		}
		record.Add(slog.String("route", route.name))
		if route.quiet {
			record.Quiet()
		}
		r, cancel := route.limits.apply(record, r)
		defer cancel()
		if route.public && r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, record, http.StatusMethodNotAllowed, apierror.Body{Message: "this path has GET and HEAD"})
			return
		}
		route.handler.ServeHTTP(w, r)
		return
	}
	_, cancel := brief.apply(record, r)
	defer cancel()
	writeError(w, record, http.StatusNotFound, apierror.NoSuchPath)
}

func (r *route) owns(path string) bool {
	if below, ok := strings.CutSuffix(r.path, "/"); ok {
		return path == below || strings.HasPrefix(path, r.path)
	}
	return path == r.path
}

// writeError answers in place of a handler.
func writeError(w http.ResponseWriter, record *observe.Record, status int, body apierror.Body) {
	body.RequestID = record.ID
	apierror.Write(w, status, body)
}
