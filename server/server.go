// Package server serves the API of the document over an implementation of
// the generated [apiserver.StrictServerInterface].
//
// [New] puts around the implementation what every request needs, in this order:
// a request id, panic recovery and the access log; authentication (401); the
// routes (404, 405); the path's and other parameters (400); the body's content
// type (415), size (413), JSON and schema (400). What remains for the
// implementation is to decide: it returns an answer, or an error.
//
// An error that answers to one of the sentinels of package registryusers gets
// its status, a [registryusers.InvalidFieldsError] its invalid_fields too; any
// other is a 500 whose cause is logged and not told. An
// implementation whose context has ended returns [registryusers.ErrUnavailable]
// (503) if it knows that nothing was done; [context.Canceled] and
// [context.DeadlineExceeded] alone are [registryusers.ErrOutcomeUnknown] (504). Every
// error answer, whoever raised it, is in the document's form and carries the
// request id.
//
// The body is decoded once, and the value that was judged by the document's
// schema, defaults filled in, is the value that the implementation gets.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/observe"
)

// MaxBodyBytes is the most that a request's body may hold; a larger one is
// answered 413.
const MaxBodyBytes = 1 << 20

// An Authenticator decides who is calling.
type Authenticator interface {
	// Authenticate returns a context for the request, derived from ctx; what
	// it puts there (the caller's identity, say) reaches the implementation.
	// token is what follows the scheme in "Authorization: apikey <token>", not
	// empty. An error that is [registryusers.ErrUnauthenticated] is answered
	// 401; others as the implementation's are, but that a context that has ended
	// is 503: nothing was done. It is called for every request,
	// before anything else of it is looked at, and concurrently.
	Authenticate(ctx context.Context, token registryusers.Secret) (context.Context, error)
}

// AuthenticatorFunc is a function that is an [Authenticator].
type AuthenticatorFunc func(ctx context.Context, token registryusers.Secret) (context.Context, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(ctx context.Context, token registryusers.Secret) (context.Context, error) {
	return f(ctx, token)
}

// Options are what [New] needs besides the implementation.
type Options struct {
	// Authenticator decides who is calling. Required.
	Authenticator Authenticator

	// Logger gets one line for each request, at level Info, or Error for
	// answers of 500 and more. It never gets a header, a query, a path as it
	// was sent, or a body. Default: [slog.Default].
	Logger *slog.Logger

	// Statuses, if not nil, says what the implementation was written for: for
	// each operation, by the document's operationId, the statuses it answers
	// with, in any order. [New] then refuses a document that declares other
	// operations or statuses, and names them, so that a newer document is not
	// served in part. The default answer stands for none: leave it out. Default:
	// not checked.
	Statuses map[string][]int

	// ValidateResponses checks every answer against the document before it is
	// sent, those with undeclared statuses too; one that does not fit becomes
	// a 500, and the log says why. It costs some hundred microseconds a
	// request: made for tests.
	ValidateResponses bool
}

// New returns the handler that serves the document's operations with api. It
// is safe for concurrent use if api is.
//
// It fails when the document asks for what it cannot serve, and names it: a
// way to authenticate other than an API key in the header Authorization, a
// request body that is not JSON, a schema that does not compile, two operations
// of the same method and path, a path parameter that is part of a segment,
// operations and statuses other than [Options.Statuses]. It also fails for what
// the generated code does not read as it was sent: a request body of oneOf,
// anyOf or additionalProperties that is not a component, such a parameter even if
// it is one, and a string that is a file (contentMediaType, or the format binary).
func New(api apiserver.StrictServerInterface, options Options) (http.Handler, error) {
	if api == nil {
		return nil, errors.New("server: the implementation is nil")
	}
	doc, err := apiserver.GetSpec()
	if err != nil {
		return nil, fmt.Errorf("server: the embedded document: %w", err)
	}
	return build(doc, options, func(mux apiserver.ServeMux) {
		strict := apiserver.NewStrictHandlerWithOptions(api, nil, apiserver.StrictHTTPServerOptions{
			RequestErrorHandlerFunc:  failBinding,
			ResponseErrorHandlerFunc: failHandling,
		})
		apiserver.HandlerWithOptions(strict, apiserver.StdHTTPServerOptions{
			BaseRouter:       mux,
			ErrorHandlerFunc: failBinding,
		})
	})
}

// build makes the handler for doc, whose operations mount registers.
func build(doc *openapi3.T, options Options, mount func(apiserver.ServeMux)) (http.Handler, error) {
	if options.Authenticator == nil {
		return nil, errors.New("server: Options.Authenticator is required")
	}
	h := &handler{
		authenticator: options.Authenticator,
		validate:      options.ValidateResponses,
		doc:           doc,
	}
	routes, err := newRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if options.Statuses != nil {
		if err := checkStatuses(doc, options.Statuses); err != nil {
			return nil, fmt.Errorf("server: Options.Statuses: %w", err)
		}
	}
	mount(routes)
	if err := routes.err(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	h.routes = routes
	logger := options.Logger
	if logger == nil {
		logger = slog.Default()
	}
	return observe.Handler(h, observe.Options{Logger: logger}), nil
}

type handler struct {
	authenticator Authenticator
	validate      bool
	doc           *openapi3.T
	routes        *router
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &response{ResponseWriter: w, handler: h, request: r, record: observe.From(r.Context())}
	defer a.finish()
	token, ok := apiKey(r.Header)
	if !ok {
		a.fail(http.StatusUnauthorized, apierror.Body{ExceptionClass: "not_authenticated", Message: `send the header "Authorization: apikey <token>"`}, nil)
		return
	}
	ctx, err := h.authenticator.Authenticate(r.Context(), token)
	if err != nil {
		a.failAuthentication(err)
		return
	}
	a.request = r.WithContext(ctx)
	h.routes.ServeHTTP(a, a.request)
}

// apiKey returns the token of "Authorization: apikey <token>". The scheme
// matches without regard to case (RFC 9110, section 11.1): the vendor's SDKs
// send "APIKey".
func apiKey(header http.Header) (registryusers.Secret, bool) {
	values := header["Authorization"]
	if len(values) != 1 {
		return registryusers.Secret{}, false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "apikey") || token == "" {
		return registryusers.Secret{}, false
	}
	return registryusers.NewSecret(token), true
}

// failBinding answers when the generated code cannot bind what was judged
// valid: the document allows what the Go type cannot hold. The error's text
// may quote the value, so only its type is logged.
func failBinding(w http.ResponseWriter, _ *http.Request, err error) {
	w.(*response).fail(http.StatusBadRequest,
		apierror.Body{Message: "the request is valid by the document, but a value in it cannot be handled"}, fmt.Errorf("binding: %T", err))
}

// failHandling answers with an error that the implementation returned.
func failHandling(w http.ResponseWriter, _ *http.Request, err error) {
	w.(*response).failError(err)
}
