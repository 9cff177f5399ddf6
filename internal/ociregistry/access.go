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
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/distribution/reference"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/token"
)

// door stands in front of the registry and is its access controller. In front,
// it finds out who comes, and tells clearly what they may never do; as the
// controller it is asked, by the registry itself, for everything that a request
// will touch.
type accessController struct {
	accounts *accounts.Service
	issuer   *token.Issuer
	url      string
	logger   *slog.Logger
	routes   *mux.Router
	next     http.Handler
	limits   limits
	reserve  *reserve
	images   *imageDirectory
}

// visitor is who comes with a request: a good token, and its account as it is now.
type principal struct {
	claims  *token.Claims
	account accounts.Account
}

type principalKey struct{}

func (d *accessController) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	recorder := &recorder{ResponseWriter: w, request: r, start: time.Now()}
	defer recorder.end()
	r.Form = r.URL.Query() // the library looks no further: a body is a blob, never a form
	match := d.match(r)
	route, repository, reference := "", "", ""
	if match.Route != nil {
		route, repository, reference = match.Route.GetName(), match.Vars["name"], match.Vars["reference"]
	}
	recorder.route = route
	v, err := d.identify(r, route)
	leave, status := d.limits.enter(v)
	if leave != nil {
		recorder.atEnd = append(recorder.atEnd, leave)
	}
	reason := ""
	var mistake *clientError
	if err != nil {
		reason = err.Error()
	} else if v != nil {
		reason = v.forbidden(r.Method, route, repository)
		if match.Route != nil {
			mistake = findClientError(r, match)
		}
	}
	switch {
	case leave == nil:
		reason = refuseBusy(recorder, status)
	case err != nil && !errors.Is(err, registryusers.ErrUnauthenticated):
		recorder.Header().Set("Retry-After", "1")
		token.WriteError(recorder, http.StatusServiceUnavailable, "UNAVAILABLE", "requests cannot be checked now")
	case err == nil && reason != "":
		token.WriteError(recorder, http.StatusForbidden, "DENIED", reason)
	case match.Route == nil: // not NAME_UNKNOWN: clients that look for referrers would give up
		token.WriteError(recorder, http.StatusNotFound, "UNSUPPORTED", "the registry has nothing at this path")
	case mistake != nil:
		reason = mistake.message
		token.WriteError(recorder, mistake.status, mistake.code.String(), reason)
	case v != nil && uploads(r.Method) && namesOtherDigest(r, reference):
		reason = "only sha256 digests are supported"
		token.WriteError(recorder, http.StatusBadRequest, "DIGEST_INVALID", reason)
	case v != nil && uploads(r.Method) && !d.images.isThere():
		reason = errImagesMoved.Error()
		recorder.Header().Set("Retry-After", "1")
		token.WriteError(recorder, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry cannot keep images now")
	case v != nil && uploads(r.Method) && d.reserve.look(r.Context()):
		reason = errReserve.Error()
		refuseFull(recorder)
	case v != nil && route == v2.RouteNameManifest && r.Method == http.MethodPut:
		reason = d.serveHolding(recorder, r, v, manifestSize(r))
	case v != nil && route == v2.RouteNameTags:
		reason = d.serveHolding(recorder, r, v, tagListSize)
	default: // the registry asks Authorized, and tells a stranger where to get a token
		d.serve(recorder, r, v)
	}
	d.log(r, recorder, v, repository, reason)
}

// serve has the library serve a request, of a stranger if v is nil.
func (d *accessController) serve(w *recorder, r *http.Request, v *principal) {
	ctx := context.WithValue(r.Context(), recorderKey{}, w)
	if v != nil {
		ctx = context.WithValue(ctx, principalKey{}, v)
		v.dropForeignMount(r.Form)
	}
	r = r.WithContext(ctx) // so net/http's own request stays as it is
	if r.ContentLength != 0 {
		content := r.Body
		if w.route == v2.RouteNameManifest { // the library has the same limit, and answers 400 in Go's words
			content = http.MaxBytesReader(w, content, maxManifestSize)
		}
		r.Body = &body{content, w}
	}
	if w.route == v2.RouteNameManifest {
		widen(r)
	}
	if w.route == v2.RouteNameBlobUploadChunk && r.Header.Get("Content-Type") != "" { // the library knows no parameters
		r.Header = r.Header.Clone()
		r.Header.Del("Content-Type")
	}
	d.next.ServeHTTP(w, r)
}

// manifestSize returns how many bytes the library holds while a manifest is pushed.
func manifestSize(r *http.Request) int64 {
	if r.ContentLength < 0 || r.ContentLength > maxManifestSize { // not known, or cut by the library
		return maxManifestSize
	}
	return r.ContentLength
}

// serveHolding serves a request for which the library holds so many bytes. It
// returns why the request is refused, if it is.
func (d *accessController) serveHolding(w *recorder, r *http.Request, v *principal, size int64) (reason string) {
	release, status := d.limits.hold(v, size)
	if release == nil {
		return refuseBusy(w, status)
	}
	w.atEnd = append(w.atEnd, release)
	d.serve(w, r, v)
	return ""
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
	w, hasRecorder := ctx.Value(recorderKey{}).(*recorder)
	v, hasPrincipal := ctx.Value(principalKey{}).(*principal)
	if !hasRecorder || !hasPrincipal { // never, behind the door
		return errcode.ErrorCodeDenied
	}
	if !d.images.isThere() {
		w.Header().Set("Retry-After", "1")
		return errcode.ErrorCodeUnavailable.WithMessage("the registry cannot keep images now")
	}
	account, err := d.accounts.Current(ctx, v.claims.UserID, v.claims.Incarnation)
	switch {
	case errors.Is(err, registryusers.ErrUnauthenticated):
		needed := uploadAccess(auth.Resource{Type: "repository", Name: repository})
		(&challenge{access: d, needed: needed, reason: "invalid_token"}).SetHeaders(w.request, w)
		return errcode.ErrorCodeUnauthorized.WithMessage("the user was removed, has expired or has a new secret: log in again")
	case err != nil:
		w.Header().Set("Retry-After", "1")
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
	if w, ok := r.Context().Value(recorderKey{}).(*recorder); ok && w.route == v2.RouteNameBlobUploadChunk && r.Method == http.MethodDelete {
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
		if access.Type != "repository" || !v.claims.Allows(access.Name, access.Action) ||
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

func (d *accessController) log(r *http.Request, w *recorder, v *principal, repository, reason string) {
	level := slog.LevelInfo
	if w.status >= 500 && r.Context().Err() == nil { // else the client has gone
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method),
		slog.Int("status", w.status),
		slog.Int64("bytes", w.size),
		slog.Duration("duration", time.Since(w.start)),
		slog.String("remote", r.RemoteAddr),
	}
	if v != nil {
		attrs = append(attrs, slog.Int64("user_id", v.account.ID))
	}
	if repository != "" {
		attrs = append(attrs, slog.String("repository", repository))
	}
	if reason == "" {
		reason = w.reason
	}
	if reason != "" {
		attrs = append(attrs, slog.String("message", reason))
	}
	d.logger.LogAttrs(r.Context(), level, "registry", attrs...)
}
