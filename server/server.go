// Package server serves the document's API with an implementation of [API]. The types of
// its requests and responses are here, too, under the names of the generated packages.
//
// The handler that [New] returns does for every request, in this order: request
// id, panic recovery and access log; authentication (401); routing (404, 405);
// validation of the path's and the other parameters (400) and of the body's
// content type (415), size (413), JSON and schema (400). Then it calls the
// implementation, which returns a response or an error.
//
// An error that wraps a sentinel of package registryusers gets the sentinel's
// status, and a [*registryusers.Error] also its own text, invalid_fields and Retry-After.
// Any other error is a 500; its cause is logged and not sent. An implementation whose
// context has ended returns [registryusers.ErrUnavailable] (503) if it knows that
// nothing was done; [context.Canceled] and [context.DeadlineExceeded] without it
// count as [registryusers.ErrOutcomeUnknown] (504). Every error response has the
// document's form and the request id, including those that the implementation
// returns as generated types.
//
// The handler decodes the body once. The implementation gets the value that was
// validated against the document's schema, with the defaults filled in.
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

// MaxBodyBytes is the largest request body that the server accepts. It responds 413
// to a larger one.
const MaxBodyBytes = 1 << 20

// An Authenticator identifies the caller of a request.
type Authenticator interface {
	// Authenticate returns the context that the implementation gets for the
	// request. It is derived from ctx, with, for example, the caller's identity.
	// The server responds 401 to a [registryusers.ErrUnauthenticated], 503 to the end
	// of a context, because nothing was done, and to other errors as to the
	// implementation's. It calls Authenticate for every request with a token, before it
	// checks anything else of the request, and concurrently.
	Authenticate(ctx context.Context, request AuthenticationRequest) (context.Context, error)
}

// AuthenticationRequest is what an [Authenticator] knows of a request. The operation
// is not known yet: a caller who is not authenticated does not learn which paths exist.
type AuthenticationRequest struct {
	// Token is the text after the scheme in "Authorization: apikey <token>". It is
	// not empty.
	Token registryusers.Secret

	// Request has the method, the path, the headers, the TLS state and RemoteAddr,
	// the client's address as net/http or the handler around the server's sets it.
	// Nothing of it is checked. Its body must not be read, and nothing be changed.
	// Its header Authorization has the token in clear: never log the headers.
	Request *http.Request
}

// AuthenticatorFunc makes a function an [Authenticator].
type AuthenticatorFunc func(ctx context.Context, request AuthenticationRequest) (context.Context, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(ctx context.Context, request AuthenticationRequest) (context.Context, error) {
	return f(ctx, request)
}

// Options are the settings of [New].
type Options struct {
	// Authenticator identifies the caller of each request. Required.
	Authenticator Authenticator

	// Logger gets one record for each request, at level Info, or Error for
	// responses of 500 and more, or Warn for a body with unknown fields. It never
	// gets a header, a query, a path as it was sent, or a body, apart from the names of
	// unknown fields. Default: [slog.Default].
	Logger *slog.Logger

	// RefuseUnknownFields refuses, with 400, a body with fields that the document
	// does not name, such as a misspelt "readonly" that would leave a user able to push.
	// By default the server ignores them, as the document says, and logs their
	// names as unknown_fields, at level Warn: the first eight by name, each with dots
	// between levels and cut after 64 bytes. In an object for which the document has
	// additionalProperties, it says itself which fields there may be.
	RefuseUnknownFields bool

	// ValidateResponses validates every response against the document before it
	// is sent, including responses with undeclared statuses. A response that does
	// not match becomes a 500, and the log has the reason. It costs some hundred
	// microseconds for each request; it is meant for tests.
	ValidateResponses bool
}

// New returns the handler that serves the document's operations with api. It
// is safe for concurrent use if api is.
//
// New fails, and names the place in the document, if the document has something
// that it cannot serve: authentication other than by an API key in the header
// Authorization, a request body that is not JSON, a schema that does not compile,
// two operations of the same method and path, a path parameter that is part of a
// segment. It also fails for what the generated code does not decode as it was sent:
// a string that is a file (contentMediaType, or the format binary), and oneOf, anyOf or
// additionalProperties in a parameter or in a body that is not one of the components.
func New(api API, options Options) (http.Handler, error) {
	if api == nil {
		return nil, errors.New("server: the implementation is nil")
	}
	doc, err := apiserver.GetSpec()
	if err != nil {
		return nil, fmt.Errorf("server: the embedded document: %w", err)
	}
	return build(doc, options, func(mux apiserver.ServeMux) {
		validated := apiserver.Validated(api, apiserver.StrictHTTPServerOptions{
			RequestErrorHandlerFunc:  failBinding,
			ResponseErrorHandlerFunc: failHandling,
		})
		apiserver.HandlerWithOptions(validated, apiserver.StdHTTPServerOptions{
			BaseRouter:       mux,
			ErrorHandlerFunc: failBinding,
		})
	})
}

// build returns the handler for doc. mount registers the operations' routes.
func build(doc *openapi3.T, options Options, mount func(apiserver.ServeMux)) (http.Handler, error) {
	if options.Authenticator == nil {
		return nil, errors.New("server: Options.Authenticator is required")
	}
	routes, err := newRouter(doc)
	if err == nil {
		mount(routes)
		err = routes.err()
	}
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &handler{options, routes}, nil
}

type handler struct {
	Options
	routes *router
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if record := observe.From(r.Context()); record != nil {
		h.serve(r.Context(), &response{ResponseWriter: w, record: record}, r)
		return
	}
	both := &struct { // one allocation
		response
		record observe.Record
	}{}
	observe.Observe(&both.record, w, r, observe.Options{Logger: h.Logger}, func(record *observe.Record) {
		both.ResponseWriter, both.response.record = &record.Writer, record
		h.serve(record, &both.response, r)
	})
}

// serve serves a request that is observed.
func (h *handler) serve(ctx context.Context, resp *response, r *http.Request) {
	resp.validates, resp.refusesUnknown = h.ValidateResponses, h.RefuseUnknownFields
	defer resp.finish()
	token, ok := apiKey(r.Header)
	if !ok {
		resp.fail(http.StatusUnauthorized, apierror.Body{ExceptionClass: "not_authenticated", Message: `send the header "Authorization: apikey <token>"`}, nil)
		return
	}
	ctx, err := h.Authenticator.Authenticate(ctx, AuthenticationRequest{Token: token, Request: r})
	if err != nil {
		resp.failError(err, registryusers.ErrUnavailable) // even after the end of a context it is known that nothing was done
		return
	}
	resp.context.Context = ctx
	h.routes.ServeHTTP(resp, r)
}

// RequestID returns the id of the request that an implementation or an [Authenticator]
// handles with ctx, which the response has in its header X-Request-Id. It returns ""
// if ctx is no request's.
func RequestID(ctx context.Context) string {
	if record := observe.From(ctx); record != nil {
		return record.ID
	}
	return ""
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

// failBinding responds when the generated code cannot bind a valid value: the
// document allows a value that the Go type cannot hold. The error's text may quote
// the value, so only its type is logged.
func failBinding(w http.ResponseWriter, _ *http.Request, err error) {
	w.(*response).fail(http.StatusBadRequest,
		apierror.Body{Message: "the document allows the request, but the server does not support one of its values"}, fmt.Errorf("binding: %T", err))
}

// failHandling responds to an error that the implementation returned.
func failHandling(w http.ResponseWriter, _ *http.Request, err error) {
	w.(*response).failError(err, registryusers.ErrOutcomeUnknown)
}
