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

	"github.com/distribution/distribution/v3/registry/api/errcode"
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

// accessController stands in front of the registry and is its access controller. In front,
// it finds out who comes, and tells clearly what they may never do; as the
// controller it is asked, by the registry itself, for everything that a request
// will touch.
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

// principal is who comes with a request: a good token, and its account as it is now.
type principal struct {
	claims  *token.Claims
	account accounts.Account
}

type principalKey struct{}

// ServeHTTP implements [http.Handler]. Its requests must be observed, see
// [observe.Handler].
func (d *accessController) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	e := &exchange{Record: observe.From(r.Context())}
	defer e.end()
	r.Form = r.URL.Query() // the library looks no further: a body is a blob, never a form
	match := d.match(r)
	repository := ""
	if match.Route != nil {
		e.route, repository = match.Route.GetName(), match.Vars["name"]
	}
	v, err := d.identify(r, e.route)
	if v != nil {
		e.Add(slog.Int64("user_id", v.account.ID))
	}
	if repository != "" {
		e.Add(slog.String("repository", repository))
	}
	refused := d.enter(e, r, v)
	switch {
	case refused != nil:
	case errors.Is(err, registryusers.ErrUnauthenticated):
		e.Add(slog.String("message", err.Error())) // the library answers, as it does to a stranger
	case err != nil:
		refused = oci.Unavailable("requests cannot be checked now", err)
	default:
		refused = d.check(e, r, v, match)
	}
	if refused != nil {
		e.refuse(refused)
		return
	}
	d.serve(e, r, v)
}

// enter takes the places of a request, until the exchange ends. v is nil for a
// stranger.
func (d *accessController) enter(e *exchange, r *http.Request, v *principal) *oci.Error {
	leave, status := d.limits.enter(v)
	if leave == nil {
		return busy(status)
	}
	e.atEnd = append(e.atEnd, leave)
	size := int64(0)
	switch {
	case v == nil:
	case e.route == v2.RouteNameManifest && r.Method == http.MethodPut:
		size = manifestSize(r)
	case e.route == v2.RouteNameTags:
		size = tagListSize
	}
	if size == 0 {
		return nil
	}
	release, status := d.limits.hold(v, size)
	if release == nil {
		return busy(status)
	}
	e.atEnd = append(e.atEnd, release)
	return nil
}

// check returns why a request is refused before the library sees it, or nil. The
// library asks Authorized, and says to a stranger where to get a token.
func (d *accessController) check(e *exchange, r *http.Request, v *principal, match mux.RouteMatch) *oci.Error {
	if v != nil {
		if reason := v.forbidden(r.Method, e.route, match.Vars["name"]); reason != "" {
			return &oci.Error{Status: http.StatusForbidden, Code: oci.CodeDenied, Message: reason}
		}
	}
	if match.Route == nil { // not NAME_UNKNOWN: clients that look for referrers would give up
		return &oci.Error{Status: http.StatusNotFound, Code: oci.CodeUnsupported, Message: "the registry has nothing at this path"}
	}
	if v == nil {
		return nil
	}
	if mistake := findClientError(r, match); mistake != nil || !uploads(r.Method) {
		return mistake
	}
	switch {
	case namesOtherDigest(r, match.Vars["reference"]):
		return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeDigestInvalid, Message: "only sha256 digests are supported"}
	case !d.images.isThere():
		return oci.Unavailable("the registry cannot keep images now", errImagesMoved)
	case d.reserve.look(r.Context()):
		return errDiskFull
	}
	return nil
}

// serve has the library serve a request, of a stranger if v is nil.
func (d *accessController) serve(e *exchange, r *http.Request, v *principal) {
	ctx := context.WithValue(r.Context(), exchangeKey{}, e)
	if v != nil {
		ctx = context.WithValue(ctx, principalKey{}, v)
		v.dropForeignMount(r.Form)
	}
	r = r.WithContext(ctx)
	if r.ContentLength != 0 {
		content := r.Body
		if e.route == v2.RouteNameManifest { // the library would answer 400
			content = http.MaxBytesReader(nil, content, maxManifestSize)
		}
		r.Body = &body{content, e}
	}
	if e.route == v2.RouteNameManifest {
		widen(r)
	}
	if e.route == v2.RouteNameBlobUploadChunk && r.Header.Get("Content-Type") != "" { // the library knows no parameters
		r.Header = r.Header.Clone()
		r.Header.Del("Content-Type")
	}
	e.Writer.Replace(e.replaceFailure)
	d.next.ServeHTTP(&e.Writer, r)
}

// manifestSize returns how many bytes the library holds while a manifest is pushed.
func manifestSize(r *http.Request) int64 {
	if r.ContentLength < 0 || r.ContentLength > maxManifestSize { // not known, or cut by the library
		return maxManifestSize
	}
	return r.ContentLength
}

// uploads reports whether requests of a method bring content.
func uploads(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// namesOtherDigest reports whether a request names what it brings by a digest
// of another algorithm than sha256. The library would take the content, keep it
// under its sha256 digest, and not find it under the name.
func namesOtherDigest(r *http.Request, reference string) bool {
	for _, text := range slices.Concat([]string{reference}, r.Form["digest"], r.Form["mount"]) {
		if algorithm, _, isDigest := strings.Cut(text, ":"); isDigest && algorithm != string(digest.SHA256) {
			return true
		}
	}
	return false
}

// identify returns the visitor, or nil if the request has no token.
// ErrUnauthenticated: the token is not valid for the route, or its account has ended.
func (d *accessController) identify(r *http.Request, route string) (*principal, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return nil, nil
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil, fmt.Errorf("%w: not a bearer token", registryusers.ErrUnauthenticated)
	}
	claims, err := d.issuer.Verify(text)
	isUpload := route == v2.RouteNameBlobUploadChunk && r.Method != http.MethodPost // which begins another
	if errors.Is(err, token.ErrExpired) && isUpload {
		err = nil // an upload goes on until it ends, or is unused for minAge; its account is read at each request and at the commit
	}
	if err != nil {
		return nil, err
	}
	account, err := d.accounts.Current(r.Context(), claims.UserID, claims.Incarnation)
	if err != nil {
		return nil, err
	}
	return &principal{claims, account}, nil
}

// match returns how the library routes a request; its Route is nil if it does
// not. The routes let no name through that breaks the repositories' grammar.
func (d *accessController) match(r *http.Request) (match mux.RouteMatch) {
	if !d.routes.Match(r, &match) {
		match.Route = nil
	}
	return match
}

// forbidden says why the visitor may never do what a request asks for, with
// whatever token, or nothing.
func (v *principal) forbidden(method, route, repository string) string {
	isRead := method == http.MethodGet || method == http.MethodHead
	switch {
	case route == v2.RouteNameCatalog:
		return "listing repositories is not supported"
	case repository == "":
		return ""
	case !v.account.Owns(repository):
		return fmt.Sprintf("user %s may use the repositories under %s/ and no others", v.account.FullName(), v.account.Namespace)
	case v.account.ReadOnly && !isRead:
		return fmt.Sprintf("user %s is read-only: it may pull, and not push or delete", v.account.FullName())
	}
	return ""
}

// dropForeignMount removes a mount from a repository that the account may not
// pull from. The request then begins an ordinary upload, and its response is
// the same whether or not the blob exists (OCI distribution specification,
// "Mounting a blob from another repository"). A mount stays where the account may
// pull and the token may not: [accessController.Authorized] then answers 401
// with the scopes of both repositories, and clients get a token for both and ask again.
func (v *principal) dropForeignMount(form url.Values) {
	from := form.Get("from")
	if from == "" {
		return
	}
	_, err := reference.WithName(from)
	if err != nil || !slices.Contains(v.account.Actions(from), "pull") {
		form.Del("from")
		form.Del("mount")
	}
}

// uploadAccess is what an upload to a repository needs.
func uploadAccess(repository auth.Resource) []auth.Access {
	return []auth.Access{{Resource: repository, Action: "pull"}, {Resource: repository, Action: "push"}}
}

// recheck reads the account of a request again, before what it brought is
// committed: a push may take hours. The error is one that the library answers.
func (d *accessController) recheck(ctx context.Context, repository string) error {
	e := exchangeOf(ctx)
	v, hasPrincipal := ctx.Value(principalKey{}).(*principal)
	if e == nil || !hasPrincipal { // never, behind the door
		return errcode.ErrorCodeDenied
	}
	if !d.images.isThere() {
		e.Writer.Header().Set("Retry-After", "1")
		return errcode.ErrorCodeUnavailable.WithMessage("the registry cannot keep images now")
	}
	account, err := d.accounts.Current(ctx, v.claims.UserID, v.claims.Incarnation)
	switch {
	case errors.Is(err, registryusers.ErrUnauthenticated):
		needed := uploadAccess(auth.Resource{Type: oci.RepositoryType, Name: repository})
		(&challenge{access: d, needed: needed, reason: "invalid_token"}).SetHeaders(e.Request, &e.Writer)
		return errcode.ErrorCodeUnauthorized.WithMessage("the user was removed, has expired or has a new secret: log in again")
	case err != nil:
		e.Writer.Header().Set("Retry-After", "1")
		return errcode.ErrorCodeUnavailable.WithMessage("requests cannot be checked now")
	}
	now := &principal{v.claims, account}
	if reason := now.forbidden(http.MethodPut, v2.RouteNameBlobUploadChunk, repository); reason != "" {
		return errcode.ErrorCodeDenied.WithMessage(reason)
	}
	return nil
}

// Authorized implements [auth.AccessController]: it is asked with everything
// that a request needs. Both the token and the account must allow all of it.
func (d *accessController) Authorized(r *http.Request, needed ...auth.Access) (*auth.Grant, error) {
	v, _ := r.Context().Value(principalKey{}).(*principal)
	if e := exchangeOf(r.Context()); e != nil && e.route == v2.RouteNameBlobUploadChunk && r.Method == http.MethodDelete {
		needed = uploadAccess(needed[0].Resource) // who may begin an upload may cancel it
	}
	challenge := &challenge{access: d, needed: needed}
	if v == nil {
		if r.Header.Get("Authorization") != "" {
			challenge.reason = "invalid_token"
		}
		return nil, challenge
	}
	grant := &auth.Grant{User: auth.UserInfo{Name: v.account.FullName()}}
	for _, access := range needed {
		if access.Type != oci.RepositoryType || !v.claims.Allows(access.Name, access.Action) ||
			!slices.Contains(v.account.Actions(access.Name), access.Action) {
			challenge.reason = "insufficient_scope"
			return nil, challenge
		}
		grant.Resources = append(grant.Resources, access.Resource)
	}
	return grant, nil
}

// challenge tells a client where to get a token, and for what (RFC 6750,
// section 3).
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

// scopes spells accesses as the scopes to ask for, one for each resource.
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
