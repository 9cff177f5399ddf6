package server

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/server/internal/validation"
)

// router finds the operation of a request by its method and path. It is no
// http.ServeMux, which panics on paths that OpenAPI allows: a literal beside a wildcard
// at another depth. The generated code registers its handlers with it.
type router struct {
	routes []route // in the order in which they are tried
	errs   []error // of the registered patterns
}

// route is a method and a path of an operation.
type route struct {
	method   string
	segments []string // of the path
	*operation
}

// anySegment stands for a parameter, which is any segment that is not empty. It sorts
// after all literals.
const anySegment = "\xff"

// newRouter prepares every operation of doc.
func newRouter(doc *openapi3.T) (*router, error) {
	router := &router{}
	compiler, err := validation.NewCompiler(doc)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		segments, names, err := split(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("path %s: %w", path, err))
			continue
		}
		item := doc.Paths.Value(path)
		for method, spec := range item.Operations() {
			op, err := newOperation(doc, compiler, path, method, names)
			if other := router.find(method, segments); err == nil && other != nil {
				err = fmt.Errorf("operation %s (%s %s) has the same method and path", other.id, method, other.route.Path)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("operation %s (%s %s): %w", spec.OperationID, method, path, err))
				continue
			}
			router.routes = append(router.routes, route{method, segments, op})
			if method == http.MethodGet && item.Head == nil {
				router.routes = append(router.routes, route{http.MethodHead, segments, op})
			}
		}
	}
	slices.SortFunc(router.routes, func(a, b route) int { return slices.Compare(a.segments, b.segments) })
	return router, errors.Join(errs...)
}

// split returns the segments of a path template ("/a/{b}"), and the names of its
// parameters, which are "" for literals.
func split(template string) (segments, names []string, err error) {
	segments = strings.Split(strings.TrimPrefix(template, "/"), "/")
	names = make([]string, len(segments))
	for i, segment := range segments {
		name := strings.TrimSuffix(strings.TrimPrefix(segment, "{"), "}")
		switch {
		case !strings.ContainsAny(segment, "{}"):
		case name == "" || segment != "{"+name+"}" || strings.ContainsAny(name, "{}"):
			err = fmt.Errorf("segment %q: a parameter must be a complete segment", segment)
		case slices.Contains(names, name):
			err = fmt.Errorf("the path has the parameter %s twice", name)
		default:
			segments[i], names[i] = anySegment, name
		}
	}
	return segments, names, err
}

// find returns the operation of a method and the segments of a template, or nil.
func (router *router) find(method string, segments []string) *operation {
	for _, route := range router.routes {
		if route.method == method && slices.Equal(route.segments, segments) {
			return route.operation
		}
	}
	return nil
}

// HandleFunc registers next for the operation of pattern ("POST /a/{b}").
func (router *router) HandleFunc(pattern string, next func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	path = strings.TrimSuffix(path, "{$}") // how http.ServeMux spells the end of "/a/"
	segments, names, err := split(path)
	op := router.find(method, segments)
	if err != nil || op == nil || op.next != nil {
		router.errs = append(router.errs, fmt.Errorf("route %q: the document has no such operation", pattern))
		return
	}
	target, err := url.Parse(path) // "{b}" is a value of {b}
	if err != nil {
		router.errs = append(router.errs, fmt.Errorf("route %q: %w", pattern, err))
		return
	}
	op.next, op.pathNames = next, names
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { op.matched = r })
	mux.ServeHTTP(nil, &http.Request{Method: method, URL: target})
	op.matched.URL = nil
}

// err returns an error for every route without an operation and every operation
// without a route.
func (router *router) err() error {
	errs := router.errs
	for _, route := range router.routes {
		if route.next == nil && route.method == route.route.Method { // else the HEAD of a GET
			errs = append(errs, fmt.Errorf("operation %s (%s %s): no route is registered", route.id, route.method, route.route.Path))
		}
	}
	return errors.Join(errs...)
}

// ServeHTTP serves the operation of the request's method and path, or responds 404
// or 405.
func (router *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resp := w.(*response)
	segments := make([]string, 0, 16) // on the stack
	encoded := r.URL.RawPath != ""    // otherwise no segment has an encoded slash
	path := r.URL.Path
	if encoded {
		path = r.URL.EscapedPath()
	}
	rest, isClean := strings.CutPrefix(path, "/")
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		// Clients and proxies remove segments "." and "..", and empty ones, so the path could
		// name another operation than the caller meant.
		if segment == "." || segment == ".." || segment == "" && more {
			isClean = false
		}
		if encoded {
			segment, _ = url.PathUnescape(segment) // it is from EscapedPath
		}
		segments = append(segments, segment)
	}
	var allowed []string
	for i := range router.routes {
		route := &router.routes[i]
		switch {
		case !isClean || !route.matches(segments):
		case route.method == r.Method:
			route.serve(resp, r, segments)
			return
		default:
			allowed = append(allowed, route.method)
		}
	}
	if len(allowed) == 0 {
		resp.fail(http.StatusNotFound, apierror.NoSuchPath, nil)
		return
	}
	slices.Sort(allowed)
	resp.Header().Set("Allow", strings.Join(slices.Compact(allowed), ", "))
	resp.fail(http.StatusMethodNotAllowed, apierror.MethodNotAllowed, nil)
}

// matches reports whether the route's path matches the decoded segments of a request's.
func (route *route) matches(segments []string) bool {
	if len(segments) != len(route.segments) {
		return false
	}
	for i, want := range route.segments {
		if want != segments[i] && (want != anySegment || segments[i] == "") {
			return false
		}
	}
	return true
}
