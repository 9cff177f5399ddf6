package server

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/server/internal/validation"
)

// router finds the operation of a request by its method and path. It keeps the
// document's paths as a tree of segments, because http.ServeMux panics on paths that
// OpenAPI allows: a literal beside a wildcard at another depth. The generated code
// registers its handlers with it.
type router struct {
	root       node
	operations []*operation
	errs       []error // of the registered patterns
}

// node is a segment of one or more paths.
type node struct {
	next       map[string]*node      // by segment, or anySegment
	operations map[string]*operation // by method, of the path that ends here
}

// anySegment is the key of a wildcard, which matches any segment that is not empty.
const anySegment = "{}"

// newRouter prepares every operation of doc.
func newRouter(doc *openapi3.T) (*router, error) {
	router := &router{}
	compiler, err := validation.NewCompiler(doc)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		end, err := router.root.add(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("path %s: %w", path, err))
			continue
		}
		for method, spec := range doc.Paths.Value(path).Operations() {
			op, err := newOperation(doc, compiler, path, method)
			if other := end.operations[method]; err == nil && other != nil {
				err = fmt.Errorf("operation %s (%s %s) has the same method and path", other.id, method, other.route.Path)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("operation %s (%s %s): %w", spec.OperationID, method, path, err))
				continue
			}
			end.operations[method] = op
			router.operations = append(router.operations, op)
		}
		if get := end.operations[http.MethodGet]; get != nil && end.operations[http.MethodHead] == nil {
			end.operations[http.MethodHead] = get
		}
	}
	return router, errors.Join(errs...)
}

// add returns the node at which the path template ("/a/{b}") ends.
func (n *node) add(template string) (*node, error) {
	for segment := range strings.SplitSeq(strings.TrimPrefix(template, "/"), "/") {
		name, isWildcard := wildcard(segment)
		switch {
		case isWildcard && strings.Count(template, segment) > 1:
			return nil, fmt.Errorf("the path has the parameter %s twice", name)
		case isWildcard:
			segment = anySegment
		case strings.ContainsAny(segment, "{}"):
			return nil, fmt.Errorf("segment %q: a parameter must be a complete segment", segment)
		}
		if n.next == nil {
			n.next = map[string]*node{}
		}
		if n.next[segment] == nil {
			n.next[segment] = &node{operations: map[string]*operation{}}
		}
		n = n.next[segment]
	}
	return n, nil
}

// HandleFunc registers next for the operation of pattern ("POST /a/{b}").
func (router *router) HandleFunc(pattern string, next func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	path = strings.TrimSuffix(path, "{$}") // how http.ServeMux spells the end of "/a/"
	end, err := router.root.add(path)
	if err != nil || end.operations[method] == nil || end.operations[method].next != nil {
		router.errs = append(router.errs, fmt.Errorf("route %q: the document has no such operation", pattern))
		return
	}
	end.operations[method].mount(pattern, path, next)
}

// err returns an error for every route without an operation and every operation
// without a route.
func (router *router) err() error {
	errs := router.errs
	for _, op := range router.operations {
		if op.next == nil {
			errs = append(errs, fmt.Errorf("operation %s (%s %s): no route is registered", op.id, op.route.Method, op.route.Path))
		}
	}
	return errors.Join(errs...)
}

// ServeHTTP serves the operation of the request's method and path, or responds 404
// or 405.
func (router *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resp := w.(*response)
	escaped := r.URL.EscapedPath()
	rest, rooted := strings.CutPrefix(escaped, "/")
	// Clients and proxies remove segments "." and "..", and empty ones, so the path could
	// name another operation than the caller meant.
	isClean := rest == "" || path.Clean(escaped) == strings.TrimSuffix(escaped, "/")
	found := match{method: r.Method, values: resp.values[:0]}
	if rooted && isClean && router.root.find(rest, &found) {
		found.operation.serve(resp, r, found.values)
		return
	}
	if len(found.allowed) == 0 {
		resp.fail(http.StatusNotFound, apierror.NoSuchPath, nil)
		return
	}
	slices.Sort(found.allowed)
	resp.Header().Set("Allow", strings.Join(slices.Compact(found.allowed), ", "))
	resp.fail(http.StatusMethodNotAllowed, apierror.Body{Message: "this path does not have this method; the header Allow lists its methods"}, nil)
}

// match is what the router knows about a request.
type match struct {
	method    string
	values    []string // of the wildcards, decoded
	operation *operation
	allowed   []string // the methods of the paths that match; they lack the request's
}

// find sets m to the operation whose path below n matches path, which is
// percent-encoded, and reports whether there is one. Literal segments match before
// wildcards.
func (n *node) find(path string, m *match) bool {
	segment, rest, more := strings.Cut(path, "/")
	text, err := url.PathUnescape(segment)
	if err != nil {
		return false
	}
	before := m.values
	for _, key := range [2]string{text, anySegment} {
		next := n.next[key]
		if next == nil || key == anySegment && text == "" {
			continue
		}
		if key == anySegment {
			m.values = append(before, text) //nolint:gocritic // a later one replaces it
		}
		if more && next.find(rest, m) {
			return true
		}
		if !more {
			if m.operation = next.operations[m.method]; m.operation != nil {
				return true
			}
			m.allowed = slices.AppendSeq(m.allowed, maps.Keys(next.operations))
		}
	}
	return false
}

// wildcard returns the name of the parameter if a segment of a template is one.
func wildcard(segment string) (name string, is bool) {
	name, opens := strings.CutPrefix(segment, "{")
	name, closes := strings.CutSuffix(name, "}")
	return name, opens && closes && name != "" && !strings.ContainsAny(name, "{}")
}

// wildcards returns the names of a template's parameters, in order.
func wildcards(template string) (names []string) {
	for segment := range strings.SplitSeq(template, "/") {
		if name, is := wildcard(segment); is {
			names = append(names, name)
		}
	}
	return names
}
