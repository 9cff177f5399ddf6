package ociregistry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/reference"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/token"
)

// principal is the caller of a request: the claims of a valid token, and the current
// state of its account.
type principal struct {
	claims  *token.Claims
	account accounts.Account
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

// forbidden returns why the principal may never make such a request, with any token,
// or "" if it may.
func (p *principal) forbidden(method, endpoint, repository string) string {
	isRead := method == http.MethodGet || method == http.MethodHead
	switch {
	case endpoint == v2.RouteNameCatalog:
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
