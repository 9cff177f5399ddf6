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

// router finds the operation of a request by its method and path. The generated
// code registers its handlers with it, and the router puts the checks of the
// operation in front of each. It keeps the document's paths as a tree of segments,
// because http.ServeMux panics on paths that OpenAPI allows: a literal beside a
// wildcard at another depth.
type router struct {
	root       node
	operations []*operation
	unknown    []string // registered patterns without an operation
}

// node is a segment of one or more paths.
type node struct {
	literals   map[string]*node
	wildcard   *node                 // any segment that is not empty
	operations map[string]*operation // by method, of the path that ends here
}

// newRouter prepares the checks of every operation of doc.
func newRouter(doc *openapi3.T) (*router, error) {
	router := &router{}
	compiler, err := validation.NewCompiler(doc)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(path)
		end, err := router.root.add(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("path %s: %w", path, err))
			continue
		}
		for method, spec := range item.Operations() {
			op, err := newOperation(doc, compiler, path, item, method, spec)
			if other := end.operations[method]; err == nil && other != nil {
				err = fmt.Errorf("operation %s (%s %s) has the same method and path", other.id, method, other.route.Path)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("operation %s (%s %s): %w", spec.OperationID, method, path, err))
				continue
			}
			if end.operations == nil {
				end.operations = make(map[string]*operation)
			}
			end.operations[method] = op
			router.operations = append(router.operations, op)
		}
	}
	return router, errors.Join(errs...)
}

// add returns the node at which the path template ("/a/{b}") ends.
func (n *node) add(template string) (*node, error) {
	seen := map[string]bool{}
	for segment := range strings.SplitSeq(strings.TrimPrefix(template, "/"), "/") {
		name, isWildcard := wildcard(segment)
		switch {
		case !isWildcard && strings.ContainsAny(segment, "{}"):
			return nil, fmt.Errorf("segment %q: a parameter must be a complete segment", segment)
		case isWildcard && seen[name]:
			return nil, fmt.Errorf("the path has the parameter %s twice", name)
		case isWildcard:
			seen[name] = true
			if n.wildcard == nil {
				n.wildcard = &node{}
			}
			n = n.wildcard
		default:
			if n.literals == nil {
				n.literals = make(map[string]*node)
			}
			if n.literals[segment] == nil {
				n.literals[segment] = &node{}
			}
			n = n.literals[segment]
		}
	}
	return n, nil
}

// HandleFunc registers next for the operation of pattern ("POST /a/{b}"), behind
// the operation's checks.
func (router *router) HandleFunc(pattern string, next func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	path = strings.TrimSuffix(path, "{$}") // how http.ServeMux spells the end of "/a/"
	var op *operation
	if end, err := router.root.add(path); err == nil {
		op = end.operations[method]
	}
	if op == nil || op.next != nil {
		router.unknown = append(router.unknown, pattern)
		return
	}
	op.next = next
	op.pathNames = wildcards(path)
}

// err returns an error for every route without an operation and every operation
// without a route.
func (router *router) err() error {
	var errs []error
	for _, pattern := range router.unknown {
		errs = append(errs, fmt.Errorf("route %q: the document has no such operation", pattern))
	}
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
	if !rooted || !isClean(escaped) {
		resp.fail(http.StatusNotFound, apierror.NoSuchPath, nil)
		return
	}
	var op *operation
	router.root.match(rest, resp.pathValues[:0], func(end *node, values []string) bool {
		if op = end.operation(r.Method); op == nil {
			return false
		}
		for i, value := range values {
			r.SetPathValue(op.pathNames[i], value)
		}
		return true
	})
	if op == nil {
		router.fail(resp, rest)
		return
	}
	op.ServeHTTP(resp, r)
}

// fail makes the response a 405 if the path has other methods, else a 404.
func (router *router) fail(resp *response, path string) {
	var allowed []string
	router.root.match(path, nil, func(end *node, _ []string) bool {
		for method := range end.operations {
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
		return false
	})
	if len(allowed) == 0 {
		resp.fail(http.StatusNotFound, apierror.NoSuchPath, nil)
		return
	}
	slices.Sort(allowed)
	resp.Header().Set("Allow", strings.Join(slices.Compact(allowed), ", "))
	resp.fail(http.StatusMethodNotAllowed, apierror.Body{Message: "this path does not have this method; the header Allow lists its methods"}, nil)
}

// match calls found for each path of the document that matches path, which is
// percent-encoded, until found returns true, and reports whether it did. Literal
// segments match before wildcards. values are the decoded segments that the
// wildcards match. match visits each node at most once.
func (n *node) match(path string, values []string, found func(end *node, values []string) bool) bool {
	segment, rest, more := strings.Cut(path, "/")
	text, err := url.PathUnescape(segment)
	if err != nil {
		return false
	}
	next := func(child *node, values []string) bool {
		if more {
			return child.match(rest, values, found)
		}
		return found(child, values)
	}
	if child := n.literals[text]; child != nil && next(child, values) {
		return true
	}
	return n.wildcard != nil && text != "" && next(n.wildcard, append(values, text))
}

// operation returns the operation of a method, or nil. A HEAD without an operation
// of its own is served as GET.
func (n *node) operation(method string) *operation {
	op := n.operations[method]
	if op == nil && method == http.MethodHead {
		op = n.operations[http.MethodGet]
	}
	return op
}

// isClean reports whether a path has no segment "." or ".." and no empty segment
// except the last. Clients and proxies remove such segments, so the path could
// name another operation than the caller meant.
func isClean(escaped string) bool {
	return escaped == "/" || path.Clean(escaped) == strings.TrimSuffix(escaped, "/")
}

// wildcard returns the name of the parameter if a segment of a template is one.
func wildcard(segment string) (name string, is bool) {
	name, opens := strings.CutPrefix(segment, "{")
	name, closes := strings.CutSuffix(name, "}")
	return name, opens && closes && name != "" && !strings.ContainsAny(name, "{}")
}

// wildcards returns the names of a template's parameters, in order.
func wildcards(template string) []string {
	var names []string
	for segment := range strings.SplitSeq(template, "/") {
		if name, is := wildcard(segment); is {
			names = append(names, name)
		}
	}
	return names
}
