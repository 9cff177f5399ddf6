package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers/internal/schema"
)

// router is the mux that the generated code registers its routes with. It
// finds each route's operation in the document and puts its checks in front.
type router struct {
	mux        *http.ServeMux
	operations map[string]*operation // by route, as routeKey spells it
	unknown    []string              // patterns of no operation
}

// newRouter prepares the checks of every operation of doc.
func newRouter(doc *openapi3.T) (*router, error) {
	router := &router{mux: http.NewServeMux(), operations: make(map[string]*operation)}
	compiler, err := schema.NewCompiler(doc)
	if err != nil {
		return nil, err
	}
	var errs []error
	for path, item := range doc.Paths.Map() {
		for method, spec := range item.Operations() {
			op, err := newOperation(doc, compiler, path, item, method, spec)
			if err != nil {
				errs = append(errs, fmt.Errorf("operation %s (%s %s): %w", spec.OperationID, method, path, err))
				continue
			}
			router.operations[routeKey(method, path)] = op
		}
	}
	return router, errors.Join(errs...)
}

// HandleFunc registers next, behind the checks of the operation that pattern
// ("POST /a/{b}") stands for.
func (router *router) HandleFunc(pattern string, next func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	op := router.operations[routeKey(method, path)]
	if op == nil || op.next != nil {
		router.unknown = append(router.unknown, pattern)
		return
	}
	op.next = next
	op.pathNames = wildcards(path)
	router.mux.Handle(pattern, op)
}

// ServeHTTP is part of the interface that the generated code asks for.
func (router *router) ServeHTTP(w http.ResponseWriter, r *http.Request) { router.mux.ServeHTTP(w, r) }

// err says which routes and operations did not find each other.
func (router *router) err() error {
	var errs []error
	for _, pattern := range router.unknown {
		errs = append(errs, fmt.Errorf("route %q: the document has no such operation", pattern))
	}
	for key, op := range router.operations {
		if op.next == nil {
			errs = append(errs, fmt.Errorf("operation %s (%s): no route is registered", op.id, key))
		}
	}
	return errors.Join(errs...)
}

// routeKey spells a route without the names of its wildcards, which the
// generator makes Go identifiers of.
func routeKey(method, path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if strings.HasPrefix(segment, "{") {
			segments[i] = "{}"
		}
	}
	return method + " " + strings.Join(segments, "/")
}

// wildcards returns the names of a path's wildcards, in order.
func wildcards(path string) []string {
	var names []string
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// checkStatuses says where the document's operations and statuses are not those listed.
func checkStatuses(doc *openapi3.T, listed map[string][]int) error {
	var errs []error
	declared := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			declared[op.OperationID] = true
			statuses, ok := listed[op.OperationID]
			if !ok {
				errs = append(errs, fmt.Errorf("operation %s (%s %s) is not listed", op.OperationID, method, path))
				continue
			}
			for status := range op.Responses.Map() {
				if status == "default" {
					continue
				}
				if n, err := strconv.Atoi(status); err != nil || !slices.Contains(statuses, n) {
					errs = append(errs, fmt.Errorf("operation %s: the document declares status %s, which is not listed", op.OperationID, status))
				}
			}
			for _, status := range statuses {
				if op.Responses.Status(status) == nil {
					errs = append(errs, fmt.Errorf("operation %s: status %d is listed, and the document does not declare it", op.OperationID, status))
				}
			}
		}
	}
	for operation := range listed {
		if !declared[operation] {
			errs = append(errs, fmt.Errorf("operation %s is listed, and the document has no such operation", operation))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// checkSecurity refuses what the handler's one way to authenticate does not do.
func checkSecurity(doc *openapi3.T, op *openapi3.Operation) error {
	requirements := doc.Security
	if op.Security != nil {
		requirements = *op.Security
	}
	if len(requirements) != 1 || len(requirements[0]) != 1 {
		return fmt.Errorf("security %v: exactly one scheme can be served", schemes(requirements))
	}
	for name := range requirements[0] {
		ref := doc.Components.SecuritySchemes[name]
		if ref == nil || ref.Value == nil {
			return fmt.Errorf("security scheme %s: not declared", name)
		}
		if s := ref.Value; s.Type != "apiKey" || s.In != "header" || !strings.EqualFold(s.Name, "Authorization") {
			return fmt.Errorf("security scheme %s: only an API key in the header Authorization can be served", name)
		}
	}
	return nil
}

func schemes(requirements openapi3.SecurityRequirements) []string {
	names := []string{}
	for _, requirement := range requirements {
		for name := range requirement {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
