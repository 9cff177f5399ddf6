package ociregistry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/distribution/reference"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"

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
	url      string
	routes   *mux.Router
	next     http.Handler
	limits   limits
	reserve  *reserve
	images   *imageDirectory
}

// principal is the caller of a request: the claims of a valid token, and the current
// state of its account.
type principal struct {
	claims  *token.Claims
	account accounts.Account
}

// ServeHTTP implements [http.Handler]. It must run behind [observe.Handler].
func (c *accessController) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := &exchange{Record: observe.From(r.Context()), w: w}
	defer e.end()
	r.Form = r.URL.Query() // so that the library never parses a blob as a form
	var match mux.RouteMatch
	repository := ""
	if !c.routes.Match(r, &match) { // the library does not serve the request
		match.Route = nil
	} else { // the routes match only valid repository names
		e.endpoint, repository = match.Route.GetName(), match.Vars["name"]
	}
	var err error
	e.principal, err = c.identify(r, e.endpoint)
	if e.principal != nil {
		e.Add(slog.Int64("user_id", e.principal.account.ID))
	}
	if repository != "" {
		e.Add(slog.String("repository", repository))
	}
	refused := c.enter(e, r)
	switch {
	case refused != nil:
	case errors.Is(err, registryusers.ErrUnauthenticated):
		e.Add(slog.String("message", err.Error())) // the library sends the response, as for a request without a token
	case err != nil:
		refused = oci.Unavailable(cannotCheck, err)
	default:
		refused = c.check(e, r, match)
	}
	if refused != nil {
		e.respond(refused)
		return
	}
	c.serve(e, r)
}

// The messages of 503, before and behind the library.
const (
	cannotStore = "the registry cannot store images now"
	cannotCheck = "requests cannot be checked now"
)

func denied(reason string) *oci.Error {
	return &oci.Error{Status: http.StatusForbidden, Code: oci.CodeDenied, Message: reason}
}

// enter counts a request, and the bytes of its manifest, until the exchange ends. It
// returns an error if a limit is reached.
func (c *accessController) enter(e *exchange, r *http.Request) *oci.Error {
	more := use{requests: 1}
	switch {
	case e.principal == nil:
	case e.endpoint == v2.RouteNameManifest && r.Method == http.MethodPut:
		more.manifestBytes = manifestSize(r)
	case e.endpoint == v2.RouteNameTags:
		more.manifestBytes = tagListSize
	}
	return c.take(e, more)
}

// take counts what a request uses until the exchange ends, or returns an error.
func (c *accessController) take(e *exchange, more use) *oci.Error {
	release, refused := c.limits.take(e.principal, more)
	if refused == nil {
		e.atEnd = append(e.atEnd, release)
	}
	return refused
}

// check returns the error of a request that is refused before it reaches the
// library, or nil. Afterwards the library calls Authorized, whose challenge says
// where to get a token.
func (c *accessController) check(e *exchange, r *http.Request, match mux.RouteMatch) *oci.Error {
	p := e.principal
	if p != nil {
		if reason := p.forbidden(r.Method, e.endpoint, match.Vars["name"]); reason != "" {
			return denied(reason)
		}
	}
	if match.Route == nil { // not NAME_UNKNOWN, which would stop clients that look for referrers
		return &oci.Error{Status: http.StatusNotFound, Code: oci.CodeUnsupported, Message: "the registry has nothing at this path"}
	}
	if p == nil {
		return nil
	}
	if mistake := findClientError(r, match); mistake != nil || !uploads(r.Method) {
		return mistake
	}
	switch {
	case namesOtherDigest(r, match.Vars["reference"]):
		return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeDigestInvalid, Message: "only sha256 digests are supported"}
	case !c.images.isThere():
		return oci.Unavailable(cannotStore, errImagesMoved)
	case c.reserve.check(r.Context()):
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
	c.next.ServeHTTP(e.w, r)
}

// manifestSize returns how many bytes the library keeps in memory while a manifest
// is pushed.
func manifestSize(r *http.Request) int64 {
	if r.ContentLength < 0 || r.ContentLength > maxManifestSize { // unknown, or more than is read
		return maxManifestSize
	}
	return r.ContentLength
}

// uploads reports whether requests with the method upload content.
func uploads(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// namesOtherDigest reports whether a request names the uploaded content by a digest
// of another algorithm than sha256. The library would store the content under its
// sha256 digest, and not find it by the name.
func namesOtherDigest(r *http.Request, reference string) bool {
	for _, text := range slices.Concat([]string{reference}, r.Form["digest"], r.Form["mount"]) {
		if algorithm, _, isDigest := strings.Cut(text, ":"); isDigest && algorithm != string(digest.SHA256) {
			return true
		}
	}
	return false
}

// identify returns the principal, or nil if the request has no token.
// ErrUnauthenticated: the token is not valid for the route, or its user was deleted,
// has expired or got another secret.
func (c *accessController) identify(r *http.Request, route string) (*principal, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return nil, nil
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil, fmt.Errorf("%w: not a bearer token", registryusers.ErrUnauthenticated)
	}
	claims, err := c.issuer.Verify(text)
	isUpload := route == v2.RouteNameBlobUploadChunk && r.Method != http.MethodPost // a POST starts another upload
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

// forbidden returns why the principal may never make such a request, with any token,
// or "" if it may.
func (p *principal) forbidden(method, route, repository string) string {
	isRead := method == http.MethodGet || method == http.MethodHead
	switch {
	case route == v2.RouteNameCatalog:
		return "listing repositories is not supported"
	case repository == "":
		return ""
	case !p.account.Owns(repository):
		return fmt.Sprintf("user %s may use the repositories under %s/ only", p.account.FullName(), p.account.Namespace)
	case p.account.ReadOnly && !isRead:
		return fmt.Sprintf("user %s is read-only: it may pull, but not push or delete", p.account.FullName())
	}
	return ""
}

// dropForeignMount removes the mount parameters if the account may not pull from
// the source repository. The request then starts an ordinary upload, and its
// response is the same whether or not the blob exists (OCI distribution
// specification, "Mounting a blob from another repository"). If the account may
// pull but the token does not allow it, the parameters stay:
// [accessController.Authorized] then returns a challenge with the scopes of both
// repositories, and clients retry with a token for both.
func (p *principal) dropForeignMount(form url.Values) {
	from := form.Get("from")
	if from == "" {
		return
	}
	_, err := reference.WithName(from)
	if err != nil || !slices.Contains(p.account.Actions(from), "pull") {
		form.Del("from")
		form.Del("mount")
	}
}

// uploadAccess returns the access that an upload to a repository needs.
func uploadAccess(repository auth.Resource) []auth.Access {
	return []auth.Access{{Resource: repository, Action: "pull"}, {Resource: repository, Action: "push"}}
}

// recheck reads the account of a request again before the uploaded content is
// committed: a push may take hours. It returns an error for the library.
func (c *accessController) recheck(ctx context.Context, repository string) error {
	e := exchangeOf(ctx)
	p := e.principal
	if !c.images.isThere() {
		return e.refuse(oci.Unavailable(cannotStore, errImagesMoved))
	}
	account, err := c.accounts.Current(ctx, p.claims.UserID, p.claims.Incarnation)
	switch {
	case errors.Is(err, registryusers.ErrUnauthenticated):
		needed := uploadAccess(auth.Resource{Type: oci.RepositoryType, Name: repository})
		(&challenge{access: c, needed: needed, reason: "invalid_token"}).SetHeaders(e.Request, e.w)
		return e.refuse(&oci.Error{Status: http.StatusUnauthorized, Code: oci.CodeUnauthorized, Message: "the user was deleted, has expired or has a new secret: log in again"})
	case err != nil:
		return e.refuse(oci.Unavailable(cannotCheck, err))
	}
	now := &principal{p.claims, account}
	if reason := now.forbidden(http.MethodPut, v2.RouteNameBlobUploadChunk, repository); reason != "" {
		return e.refuse(denied(reason))
	}
	return nil
}

// Authorized implements [auth.AccessController]. needed is all the access that a
// request needs; the token and the account must both allow all of it.
func (c *accessController) Authorized(r *http.Request, needed ...auth.Access) (*auth.Grant, error) {
	e := exchangeOf(r.Context())
	p := e.principal
	if e.endpoint == v2.RouteNameBlobUploadChunk && r.Method == http.MethodDelete {
		needed = uploadAccess(needed[0].Resource) // whoever may start an upload may cancel it
	}
	challenge := &challenge{access: c, needed: needed}
	if p == nil {
		if r.Header.Get("Authorization") != "" {
			challenge.reason = "invalid_token"
		}
		return nil, challenge
	}
	grant := &auth.Grant{User: auth.UserInfo{Name: p.account.FullName()}}
	for _, access := range needed {
		if access.Type != oci.RepositoryType || !p.claims.Allows(access.Name, access.Action) ||
			!slices.Contains(p.account.Actions(access.Name), access.Action) {
			challenge.reason = "insufficient_scope"
			return nil, challenge
		}
		grant.Resources = append(grant.Resources, access.Resource)
	}
	return grant, nil
}

// challenge is the error that tells a client where to get a token, and with which
// scopes (RFC 6750, section 3).
type challenge struct {
	access *accessController
	needed []auth.Access
	reason string
}

var _ auth.Challenge = (*challenge)(nil)

func (c *challenge) Error() string { return "a token is needed" }

// SetHeaders implements [auth.Challenge].
func (c *challenge) SetHeaders(r *http.Request, w http.ResponseWriter) {
	base := c.access.url
	if base == "" {
		base = "http://" + r.Host
		if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
			base = "https://" + r.Host
		}
	}
	text := fmt.Sprintf("Bearer realm=%q,service=%q", base+"/token", c.access.issuer.Service)
	if scope := scopes(c.needed); scope != "" {
		text += fmt.Sprintf(",scope=%q", scope)
	}
	if c.reason != "" {
		text += fmt.Sprintf(",error=%q", c.reason)
	}
	w.Header().Set("WWW-Authenticate", text)
}

// scopes returns the scopes that request the access, one for each resource.
func scopes(needed []auth.Access) string {
	var texts []string
	var last auth.Resource
	for _, access := range needed {
		if access.Resource == last {
			texts[len(texts)-1] += "," + access.Action
			continue
		}
		last = access.Resource
		texts = append(texts, access.Type+":"+access.Name+":"+access.Action)
	}
	return strings.Join(texts, " ")
}
