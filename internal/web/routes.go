package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/observe"
)

// Handlers are the handlers that a server serves. A path of a nil handler gets 404.
type Handlers struct {
	API      http.Handler
	Token    http.Handler
	JWKS     http.Handler
	Registry http.Handler

	// Ready returns an error if the server cannot serve. nil: it always can.
	Ready func(context.Context) error
}

// route is the handler of a path, with its limits.
type route struct {
	name      string // in the log
	path      string // only this path or, if it ends with a slash, the path and all paths below it
	handler   http.Handler
	deadlines deadlines
	methods   []string // other methods get 405; nil: the handler decides
	quiet     bool     // requests that do not fail are logged at level Debug
}

// The paths that other packages put into URLs.
const (
	APIPrefix = "/cloud/v1/registries/" // of all paths of the document
	TokenPath = "/token"
)

// routes returns the table of all paths. A path belongs to at most one route.
func (h Handlers) routes() []route {
	reads := []string{http.MethodGet, http.MethodHead}
	return slices.DeleteFunc([]route{
		{name: "probe", path: "/healthz", handler: probe(nil), deadlines: shortDeadlines, methods: reads, quiet: true},
		{name: "probe", path: "/readyz", handler: probe(h.Ready), deadlines: shortDeadlines, methods: reads, quiet: true},
		{name: "api", path: APIPrefix, handler: h.API, deadlines: shortDeadlines},
		{name: "token", path: TokenPath, handler: h.Token, deadlines: formDeadlines},
		{name: "jwks", path: "/.well-known/jwks.json", handler: h.JWKS, deadlines: shortDeadlines, methods: reads},
		{name: "registry", path: "/v2/", handler: h.Registry, deadlines: imageDeadlines},
	}, func(r route) bool { return r.handler == nil })
}

// router passes each request to its route.
type router struct {
	routes  []route
	proxies []netip.Prefix
}

// ServeHTTP implements [http.Handler]. It changes r, which package observe has
// copied: net/http uses the body of its own request, for instance for "Expect:
// 100-continue".
func (t *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	record := observe.From(r.Context())
	t.resolveForwarded(record, r)
	for i := range t.routes {
		route := &t.routes[i]
		if !route.owns(r.URL.Path) {
			continue
		}
		record.Add(slog.String("route", route.name))
		if route.quiet {
			record.Quiet()
		}
		defer route.deadlines.apply(record, r)()
		if route.methods != nil && !slices.Contains(route.methods, r.Method) {
			w.Header().Set("Allow", strings.Join(route.methods, ", "))
			writeError(record, http.StatusMethodNotAllowed, apierror.MethodNotAllowed)
			return
		}
		route.handler.ServeHTTP(w, r)
		return
	}
	defer shortDeadlines.apply(record, r)()
	writeError(record, http.StatusNotFound, apierror.NoSuchPath)
}

func (r *route) owns(path string) bool {
	if below, ok := strings.CutSuffix(r.path, "/"); ok {
		return path == below || strings.HasPrefix(path, r.path)
	}
	return path == r.path
}

// writeError responds in place of a handler.
func writeError(record *observe.Record, status int, body apierror.Body) {
	body.RequestID = record.ID
	body = apierror.Write(&record.Writer, status, body)
	record.Add(slog.String("exception_class", body.ExceptionClass), slog.String("message", body.Message))
}
