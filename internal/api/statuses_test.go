package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/server"
)

// failing is a store whose CreateUser fails on request.
type failing struct {
	accounts.Store
	err error
}

// CreateUser implements [accounts.Store].
func (f *failing) CreateUser(ctx context.Context, ref accounts.RegistryRef, u accounts.User, r *accounts.IdempotencyRecord) (accounts.User, error) {
	if f.err != nil {
		return accounts.User{}, f.err
	}
	return f.Store.CreateUser(ctx, ref, u, r)
}

// Each declared status of each operation occurs, and the response conforms to the
// document: by the server's own validation, and by an independent one.
// The default response covers all other statuses.
func TestEveryDeclaredStatus(t *testing.T) {
	e := newEnv(t)
	store := &failing{Store: e.AppOptions.Store}
	e.Stop()
	e.AppOptions.Store = store
	e.Open()

	type attempt struct {
		operation, declared string // the status, as the document declares it
		status              int    // in the response
		method, path        string
		header              http.Header // besides the API key and the content type
		body                string
		err                 error  // of the store
		replayed            string // Idempotent-Replayed, in the response
	}
	const (
		here = "/cloud/v1/registries/3/5/1/users"
		user = `{"name":"u","duration":1}`
	)
	create := func(declared string, status int, path, body string) attempt {
		return attempt{operation: "CreateUser", declared: declared, status: status, method: http.MethodPost, path: path, body: body}
	}
	with := func(a attempt, edit func(*attempt)) attempt { edit(&a); return a }
	fails := func(status int, err error) attempt {
		declared := "default"
		if status == http.StatusConflict {
			declared = "409"
		}
		return with(create(declared, status, here, user), func(a *attempt) { a.err = err })
	}
	keyed := func(a attempt, replayed string) attempt {
		return with(a, func(a *attempt) { a.header, a.replayed = http.Header{"Idempotency-Key": {"key"}}, replayed })
	}
	attempts := []attempt{
		create("201", 201, here, user),
		create("201", 201, here, `{"name":"v","duration":-1,"read_only":true,"secret":"custom"}`),
		keyed(create("201", 201, here, `{"name":"w","duration":1}`), ""),
		keyed(create("201", 201, here, `{"name":"w","duration":1.0,"secret":""}`), "true"),
		keyed(create("default", 422, here, `{"name":"w","duration":2}`), ""),
		with(create("default", 400, here, user), func(a *attempt) { a.header = http.Header{"Idempotency-Key": {"a b"}} }),
		fails(409, registryusers.ErrUserChanged),
		create("404", 404, "/cloud/v1/registries/3/5/2/users", user),
		create("409", 409, here, user),
		create("default", 400, here, `{"name":"U","duration":400}`),
		create("default", 400, here, ""),
		create("default", 400, "/cloud/v1/registries/x/5/1/users", user),
		with(create("default", 401, here, user), func(a *attempt) { a.header = http.Header{"Authorization": {"apikey wrong"}} }),
		with(create("default", 401, here, user), func(a *attempt) { a.header = http.Header{"Authorization": nil} }),
		create("default", 403, "/cloud/v1/registries/4/5/1/users", user),
		with(create("default", 405, here, ""), func(a *attempt) { a.method = http.MethodPut }),
		create("default", 413, here, strings.Repeat(" ", server.MaxBodyBytes+1)),
		with(create("default", 415, here, user), func(a *attempt) { a.header = http.Header{"Content-Type": {"text/plain"}} }),
		fails(429, registryusers.ErrTooManyRequests),
		fails(500, errors.New("the disk is full")),
		fails(503, registryusers.ErrUnavailable),
	}

	doc, err := apiserver.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]*routers.Route{} // by operation
	missing := map[string]bool{}          // operations and statuses without a request so far
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			routes[op.OperationID] = &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: op}
			for status := range op.Responses.Map() {
				missing[op.OperationID+" "+status] = true
			}
		}
	}
	for _, a := range attempts {
		name := a.operation + " " + strconv.Itoa(a.status)
		request := httptest.NewRequest(a.method, a.path, strings.NewReader(a.body))
		request.Header.Set("Authorization", "apikey "+e.APIToken.Reveal())
		request.Header.Set("Content-Type", "application/json")
		for key, values := range a.header {
			request.Header[key] = values
		}
		store.err = a.err
		w := httptest.NewRecorder()
		e.Config.Handler.ServeHTTP(w, request)
		if w.Code != a.status {
			t.Errorf("%s: got %d %s, want %d\n%s", name, w.Code, w.Body, a.status, e.Log)
			continue
		}
		if got := w.Header().Get("Idempotent-Replayed"); got != a.replayed {
			t.Errorf("%s: Idempotent-Replayed: got %q, want %q", name, got, a.replayed)
		}
		route := routes[a.operation]
		if route == nil {
			t.Errorf("%s: the document has no such operation", name)
			continue
		}
		if declared := route.Operation.Responses.Status(a.status); declared == nil == (a.declared != "default") {
			t.Errorf("%s: is it declared as itself? got %t", name, declared != nil)
		}
		if err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, Route: route},
			Status:                 w.Code,
			Header:                 w.Header(),
			Body:                   io.NopCloser(w.Body),
			Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
		}); err != nil {
			t.Errorf("%s: the response does not conform to the document: %v", name, err)
		}
		delete(missing, a.operation+" "+a.declared)
	}
	for name := range missing {
		t.Errorf("%s: the document declares it, and no attempt here reaches it", name)
	}
}
