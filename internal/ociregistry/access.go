package ociregistry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/gorilla/mux"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/token"
)

// accessController is a handler in front of the library and, at the same time, the
// library's access controller. The handler identifies the caller, and refuses with
// a clear message what the caller may never do. The library calls the controller
// with everything that a request will access.
type accessController struct {
	accounts *accounts.Service
	issuer   *token.Issuer
	routes   *mux.Router
	next     http.Handler
	limits   limits
	files    *files

	url, tokenPath string // see Options
}

// ServeHTTP implements [http.Handler]. It must run behind [observe.Handler].
func (c *accessController) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	e := &exchange{Record: observe.From(r.Context())}
	defer e.end()
	r.Form = r.URL.Query() // so that the library never parses a blob as a form
	var match mux.RouteMatch
	if c.routes.Match(r, &match) { // the routes match only valid repository names
		e.endpoint, e.vars = match.Route.GetName(), match.Vars
	}
	var err error
	if e.principal, err = c.identify(r, e.endpoint); e.principal != nil {
		e.Add(slog.Int64("user_id", e.principal.account.ID))
	}
	if repository := e.vars["name"]; repository != "" {
		e.Add(slog.String("repository", repository))
	}
	refused := c.limits.acquire(e, useOf(e, r))
	switch {
	case refused != nil:
	case errors.Is(err, registryusers.ErrUnauthenticated):
		e.invalid = err // the library sends the response, as for a request without a token
	case err != nil:
		refused = oci.Unavailable(cannotCheck, err)
	default:
		refused = c.check(e, r)
	}
	if refused != nil {
		e.respond(refused)
		return
	}
	c.serve(e, r)
}

// identify returns the principal, or nil if the request has no token.
// ErrUnauthenticated: the token is not valid for the endpoint, or its user was deleted,
// has expired or got another secret.
func (c *accessController) identify(r *http.Request, endpoint string) (*principal, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return nil, nil
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil, fmt.Errorf("%w: not a bearer token", registryusers.ErrUnauthenticated)
	}
	claims, err := c.issuer.Verify(text)
	isUpload := endpoint == v2.RouteNameBlobUploadChunk && r.Method != http.MethodPost // a POST starts another upload
	if errors.Is(err, token.ErrExpired) && isUpload {
		err = nil // an upload may outlast its token; its account is read at each request and at the commit
	}
	if err != nil {
		return nil, err
	}
	account, err := c.accounts.Current(r.Context(), claims.UserID, claims.Incarnation)
	if err != nil {
		return nil, err
	}
	return &principal{claims, account}, nil
}

// The messages of 503, before and behind the library.
const (
	cannotStore = "the registry cannot store images now"
	cannotCheck = "requests cannot be checked now"
)

func denied(reason string) *oci.Error {
	return &oci.Error{Status: http.StatusForbidden, Code: oci.CodeDenied, Message: reason}
}

// check returns the error of a request that is refused before it reaches the
// library, or nil. Afterwards the library calls Authorized, whose challenge says
// where to get a token.
func (c *accessController) check(e *exchange, r *http.Request) *oci.Error {
	if e.principal != nil {
		if reason := e.principal.forbidden(r.Method, e.endpoint, e.vars["name"]); reason != "" {
			return denied(reason)
		}
	}
	if e.endpoint == "" { // not NAME_UNKNOWN, which would stop clients that look for referrers
		return &oci.Error{Status: http.StatusNotFound, Code: oci.CodeUnsupported, Message: "the registry has nothing at this path"}
	}
	if e.principal == nil {
		return nil
	}
	refused := checkRequest(r, e.endpoint, e.vars)
	switch {
	case refused != nil || !uploads(r.Method):
		return refused
	case !c.files.images.isThere():
		return oci.Unavailable(cannotStore, errImagesMoved)
	case c.files.reserve.refuses(r.Context()):
		return errDiskFull
	}
	return nil
}

// serve passes a request to the library.
func (c *accessController) serve(e *exchange, r *http.Request) {
	ctx := context.WithValue(r.Context(), exchangeKey{}, e)
	ctx = context.WithValue(ctx, logField, e) //nolint:staticcheck // the library's key
	if e.principal != nil {
		e.principal.dropForeignMount(r.Form)
	}
	r = r.WithContext(ctx)
	if r.ContentLength != 0 {
		content := r.Body
		if e.endpoint == v2.RouteNameManifest { // the library would respond with 400, not 413
			content = http.MaxBytesReader(nil, content, maxManifestSize)
		}
		r.Body = &body{content, e}
	}
	if e.endpoint == v2.RouteNameManifest {
		acceptEverything(r)
	}
	if e.endpoint == v2.RouteNameBlobUploadChunk && r.Header.Get("Content-Type") != "" { // the library refuses a Content-Type with parameters
		r.Header = r.Header.Clone()
		r.Header.Del("Content-Type")
	}
	e.Writer.Replace(e.replaceFailure)
	c.next.ServeHTTP(&e.Writer, r)
}

// Authorized implements [auth.AccessController]. needed is all the access that a
// request needs; the token and the account must both allow all of it.
func (c *accessController) Authorized(r *http.Request, needed ...auth.Access) (*auth.Grant, error) {
	e := exchangeOf(r.Context())
	p := e.principal
	if e.endpoint == v2.RouteNameBlobUploadChunk && r.Method == http.MethodDelete {
		needed = uploadAccess(needed[0].Name) // a user who may start an upload may cancel it
	}
	if p == nil {
		if e.invalid == nil {
			e.reason = "the request has no token"
			return nil, &challenge{c, needed, ""}
		}
		e.reason = e.invalid.Error()
		return nil, &challenge{c, needed, invalidToken}
	}
	grant := &auth.Grant{User: auth.UserInfo{Name: p.account.FullName()}}
	for _, access := range needed {
		if access.Type != oci.RepositoryType || !p.claims.Allows(access.Name, access.Action) ||
			!slices.Contains(p.account.Actions(access.Name), access.Action) {
			e.reason = "the token or the user's rights do not allow the request"
			return nil, &challenge{c, needed, insufficientScope}
		}
		grant.Resources = append(grant.Resources, access.Resource)
	}
	return grant, nil
}

// uploadAccess returns the access that an upload to a repository needs.
func uploadAccess(repository string) []auth.Access {
	resource := auth.Resource{Type: oci.RepositoryType, Name: repository}
	return []auth.Access{{Resource: resource, Action: accounts.Pull}, {Resource: resource, Action: accounts.Push}}
}

// recheck reads the account of a request again before the uploaded content is
// committed: a push may take hours. It returns an error for the library.
func (c *accessController) recheck(ctx context.Context, repository string) error {
	e := exchangeOf(ctx)
	if !c.files.images.isThere() {
		return e.refuse(oci.Unavailable(cannotStore, errImagesMoved))
	}
	claims := e.principal.claims
	account, err := c.accounts.Current(ctx, claims.UserID, claims.Incarnation)
	switch {
	case errors.Is(err, registryusers.ErrUnauthenticated):
		(&challenge{c, uploadAccess(repository), invalidToken}).SetHeaders(e.Request, &e.Writer)
		return e.refuse(&oci.Error{Status: http.StatusUnauthorized, Code: oci.CodeUnauthorized, Message: "the user was deleted, has expired or has a new secret: log in again"})
	case err != nil:
		return e.refuse(oci.Unavailable(cannotCheck, err))
	}
	now := &principal{claims, account}
	if reason := now.forbidden(http.MethodPut, e.endpoint, repository); reason != "" {
		return e.refuse(denied(reason))
	}
	return nil
}
