package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/semaphore"
)

// Handler serves the token endpoint: GET with HTTP Basic, and POST with a form
// (grant_type password or refresh_token). It must run behind [observe.Handler].
type Handler struct {
	Accounts *accounts.Service
	Issuer   *Issuer

	forms semaphore.Keyed // that are being read, by network
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	var request tokenRequest
	var refused *oci.Error
	switch r.Method {
	case http.MethodGet:
		request, refused = fromQuery(r)
	case http.MethodPost:
		request, refused = h.fromForm(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		refused = oci.MethodNotAllowed()
	}
	var account accounts.Account
	if refused == nil {
		account, refused = h.login(r, request)
	}
	if refused == nil {
		refused = h.respond(w, request, account)
	}
	record := observe.From(r.Context())
	if refused == nil {
		record.Add(slog.Int64("user_id", account.ID))
		return
	}
	if refused.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="registryusers"`)
	}
	refused.Respond(record)
}

// login returns the current state of the account that the request logs in as.
func (h *Handler) login(r *http.Request, request tokenRequest) (accounts.Account, *oci.Error) {
	if request.service != "" && request.service != h.Issuer.Service {
		return accounts.Account{}, invalid(fmt.Sprintf("this server issues tokens for the service %q only: request that one, or leave service out", h.Issuer.Service))
	}
	var account accounts.Account
	var err error
	if request.refresh.Reveal() != "" {
		account, err = h.Accounts.Refresh(r.Context(), request.refresh, h.Issuer.Service)
	} else {
		attempt := accounts.LoginAttempt{Account: request.account, Secret: request.secret, From: r.RemoteAddr}
		if len(request.scopes) > 0 {
			attempt.Repository = request.scopes[0].Name
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
func (h *Handler) respond(w http.ResponseWriter, request tokenRequest, account accounts.Account) *oci.Error {
	granted := grant(account, request.scopes)
	token, issued, expires, err := h.Issuer.Sign(account, granted)
	if err != nil {
		return oci.Unavailable("tokens cannot be signed now", err)
	}
	response := struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token,omitempty"`
		Scope        string `json:"scope,omitempty"`
		ExpiresIn    int    `json:"expires_in"` // seconds; without issued_at, clients count from the response, by their own clock
	}{Token: token, AccessToken: token, ExpiresIn: int(expires.Sub(issued) / time.Second)}
	if request.offline {
		response.RefreshToken = h.Accounts.RefreshToken(account, h.Issuer.Service).Reveal()
	}
	response.Scope = oci.Scopes(granted)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(response) // fails only if the client has disconnected
	return nil
}

func unauthorized(message string) *oci.Error {
	return &oci.Error{Status: http.StatusUnauthorized, Code: oci.CodeUnauthorized, Message: message}
}

func invalid(message string) *oci.Error {
	return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeUnsupported, Message: message}
}
