package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
)

// Handler serves the token endpoint: GET with HTTP Basic, and POST with a form
// (grant_type password or refresh_token). It must run behind [observe.Handler].
type Handler struct {
	Accounts *accounts.Service
	Issuer   *Issuer

	forms forms
}

const maxFormBytes = 64 << 10

// request is a token request of either method.
type request struct {
	account string
	secret  registryusers.Secret
	refresh registryusers.Secret // instead of account and secret
	service string               // "": this server's
	scopes  []oci.Access
	offline bool // the client requests a refresh token
}

func unauthorized(message string) *oci.Error {
	return &oci.Error{Status: http.StatusUnauthorized, Code: oci.CodeUnauthorized, Message: message}
}

func invalid(message string) *oci.Error {
	return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeUnsupported, Message: message}
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	var asked request
	var refused *oci.Error
	switch r.Method {
	case http.MethodGet:
		asked, refused = fromQuery(r)
	case http.MethodPost:
		asked, refused = h.fromForm(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		refused = &oci.Error{Status: http.StatusMethodNotAllowed, Code: oci.CodeUnsupported, Message: "the token endpoint supports GET and POST"}
	}
	var account accounts.Account
	if refused == nil {
		account, refused = h.login(r, asked)
	}
	if refused == nil {
		refused = h.respond(w, asked, account)
	}
	record := observe.From(r.Context())
	if refused == nil {
		record.Add(slog.Int64("user_id", account.ID))
		return
	}
	if refused.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="registryusers"`)
	}
	refused.Respond(w, record)
}

// fromQuery parses a GET request. It ignores offline_token, which docker sends:
// docker would store the refresh token in place of the secret, and podman, skopeo
// and buildah cannot log in with it. Clients that need a refresh token use POST.
func fromQuery(r *http.Request) (request, *oci.Error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return request{}, invalid("the query is not valid")
	}
	account, secret, ok := r.BasicAuth()
	if !ok {
		return request{}, unauthorized("log in with the name and the secret of a registry user")
	}
	asked := request{
		account: account,
		secret:  registryusers.NewSecret(secret),
		service: query.Get("service"),
	}
	return asked.withScopes(query["scope"])
}

func (h *Handler) fromForm(w http.ResponseWriter, r *http.Request) (request, *oci.Error) {
	leave := h.forms.enter(r.RemoteAddr)
	if leave == nil {
		return request{}, oci.Unavailable("too many logins are in progress: try again", nil)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	err := r.ParseForm()
	leave()
	if err != nil {
		return request{}, invalid("the form is not valid, or larger than 64 KiB")
	}
	form := r.PostForm
	asked := request{
		service: form.Get("service"),
		offline: form.Get("access_type") == "offline",
	}
	switch form.Get("grant_type") {
	case "password":
		asked.account, asked.secret = form.Get("username"), registryusers.NewSecret(form.Get("password"))
	case "refresh_token":
		asked.refresh = registryusers.NewSecret(form.Get("refresh_token"))
		if asked.refresh.Reveal() == "" {
			return request{}, unauthorized("the refresh token is not valid")
		}
	default:
		return request{}, invalid("grant_type must be password or refresh_token")
	}
	return asked.withScopes(form["scope"])
}

func (asked request) withScopes(values []string) (request, *oci.Error) {
	var ok bool
	if asked.scopes, ok = oci.ParseScopes(values); !ok {
		return asked, invalid(fmt.Sprintf("there are more than %d scopes", oci.MaxScopes))
	}
	return asked, nil
}

// login returns the current state of the account that the request logs in as.
func (h *Handler) login(r *http.Request, asked request) (accounts.Account, *oci.Error) {
	if asked.service != "" && asked.service != h.Issuer.Service {
		return accounts.Account{}, invalid(fmt.Sprintf("this server issues tokens for the service %q only: request that one, or leave service out", h.Issuer.Service))
	}
	var account accounts.Account
	var err error
	if asked.refresh.Reveal() != "" {
		account, err = h.Accounts.Refresh(r.Context(), asked.refresh, h.Issuer.Service)
	} else {
		attempt := accounts.LoginAttempt{Account: asked.account, Secret: asked.secret, From: r.RemoteAddr}
		if len(asked.scopes) > 0 {
			attempt.Repository = asked.scopes[0].Name
		}
		account, err = h.Accounts.Login(r.Context(), attempt)
	}
	var limited *accounts.LimitError
	switch {
	case err == nil:
		return account, nil
	case errors.Is(err, accounts.ErrBareName):
		return account, unauthorized("the name or the secret is wrong; a user with a custom secret logs in as REGISTRY+NAME, such as 1-1-demo+user1")
	case errors.Is(err, registryusers.ErrUnauthenticated):
		return account, unauthorized("the name or the secret is wrong, or the user has expired")
	case errors.As(err, &limited):
		return account, &oci.Error{Status: http.StatusTooManyRequests, Code: oci.CodeTooManyRequests, Message: "too many failed logins with this name or from this address: wait and try again", RetryAfter: limited.RetryAfter}
	default:
		return account, oci.Unavailable("logins are not possible now", err)
	}
}

// respond sends the token.
func (h *Handler) respond(w http.ResponseWriter, asked request, account accounts.Account) *oci.Error {
	granted := grant(account, asked.scopes)
	token, issued, ends, err := h.Issuer.Sign(account, granted)
	if err != nil {
		return oci.Unavailable("tokens cannot be signed now", err)
	}
	response := struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token,omitempty"`
		Scope        string `json:"scope,omitempty"`
		ExpiresIn    int    `json:"expires_in"` // seconds; without issued_at, clients count from the response, by their own clock
	}{Token: token, AccessToken: token, ExpiresIn: int(ends.Sub(issued) / time.Second)}
	if asked.offline {
		response.RefreshToken = h.Accounts.RefreshToken(account, h.Issuer.Service).Reveal()
	}
	texts := make([]string, len(granted))
	for i, access := range granted {
		texts[i] = access.Scope()
	}
	response.Scope = strings.Join(texts, " ")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(response) // fails only if the client has disconnected
	return nil
}

// JWKS serves the public keys that verify tokens, as a JSON Web Key Set.
func (h *Handler) JWKS(w http.ResponseWriter, r *http.Request) {
	set, err := h.Issuer.Keys.JWKS()
	if err != nil {
		oci.Unavailable("the keys cannot be read now", err).Respond(w, observe.From(r.Context()))
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_ = json.NewEncoder(w).Encode(set) // fails only if the client has disconnected
}
