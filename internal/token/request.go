package token

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/network"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/semaphore"
)

// The limits of a form, and of how many are read at the same time. Any client may send a
// form slowly, and over HTTP/2 a few bytes make the server allocate memory for its
// header. A form that arrives at once counts for a moment only, and a login by GET has
// no form.
const (
	maxFormBytes       = 64 << 10
	maxForms           = 1024
	maxFormsPerNetwork = 32 // for an IPv4 address or an IPv6 /64
)

// tokenRequest is a token request of either method.
type tokenRequest struct {
	account string
	secret  registryusers.Secret
	refresh registryusers.Secret // instead of account and secret
	service string               // "": this server's
	scopes  []oci.Access
	offline bool // the client requests a refresh token
}

// fromQuery parses a GET request. It ignores offline_token, which docker sends:
// docker would store the refresh token in place of the secret, and podman, skopeo
// and buildah cannot log in with it. Clients that need a refresh token use POST.
func fromQuery(r *http.Request) (tokenRequest, *oci.Error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return tokenRequest{}, invalid("the query is not valid")
	}
	account, secret, ok := r.BasicAuth()
	if !ok {
		return tokenRequest{}, unauthorized("log in with the name and the secret of a registry user")
	}
	request := tokenRequest{account: account, secret: registryusers.NewSecret(secret), service: query.Get("service")}
	return request.withScopes(query["scope"])
}

// fromForm parses a POST request.
func (h *Handler) fromForm(w http.ResponseWriter, r *http.Request) (tokenRequest, *oci.Error) {
	from := network.KeysOf(r.RemoteAddr)[0]
	release, _ := h.forms.TryAcquire(semaphore.Claim{Key: from, Amount: 1, Limit: maxFormsPerNetwork}, semaphore.Claim{Key: "all", Amount: 1, Limit: maxForms})
	if release == nil {
		return tokenRequest{}, oci.Unavailable("too many logins are in progress: try again", nil)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	err := r.ParseForm()
	release()
	if err != nil {
		return tokenRequest{}, invalid("the form is not valid, or larger than 64 KiB")
	}
	form := r.PostForm
	request := tokenRequest{service: form.Get("service"), offline: form.Get("access_type") == "offline"}
	switch form.Get("grant_type") {
	case "password":
		request.account, request.secret = form.Get("username"), registryusers.NewSecret(form.Get("password"))
	case "refresh_token":
		request.refresh = registryusers.NewSecret(form.Get("refresh_token"))
		if request.refresh.Reveal() == "" {
			return tokenRequest{}, unauthorized("the refresh token is not valid")
		}
	default:
		return tokenRequest{}, invalid("grant_type must be password or refresh_token")
	}
	return request.withScopes(form["scope"])
}

func (request tokenRequest) withScopes(values []string) (tokenRequest, *oci.Error) {
	var ok bool
	if request.scopes, ok = oci.ParseScopes(values); !ok {
		return request, invalid(fmt.Sprintf("there are more than %d scopes", oci.MaxScopes))
	}
	return request, nil
}
