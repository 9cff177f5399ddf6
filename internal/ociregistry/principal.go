package ociregistry

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/reference"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/token"
)

// principal is the caller of a request: the claims of a valid token, and the current
// state of its account.
type principal struct {
	claims  *token.Claims
	account accounts.Account
}

// forbidden returns why the principal may never make such a request, with any token,
// or "" if it may.
func (p *principal) forbidden(method, endpoint, repository string) string {
	action := accounts.Push // also for a DELETE: who may push may delete
	if method == http.MethodGet || method == http.MethodHead {
		action = accounts.Pull
	}
	switch {
	case endpoint == v2.RouteNameCatalog:
		return "listing repositories is not supported"
	case repository == "":
		return ""
	case !p.account.Owns(repository):
		return fmt.Sprintf("user %s may use the repositories under %s/ only", p.account.FullName(), p.account.Namespace)
	case !slices.Contains(p.account.Actions(repository), action):
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
	if err != nil || !slices.Contains(p.account.Actions(from), accounts.Pull) {
		form.Del("from")
		form.Del("mount")
	}
}
