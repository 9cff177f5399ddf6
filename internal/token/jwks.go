package token

import (
	"encoding/json"
	"net/http"

	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
)

// JWKS serves the public keys that verify tokens, as a JSON Web Key Set.
func (h *Handler) JWKS(w http.ResponseWriter, r *http.Request) {
	set, err := h.Issuer.Keys.JWKS()
	if err != nil {
		oci.Unavailable("the keys cannot be read now", err).Respond(observe.From(r.Context()))
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_ = json.NewEncoder(w).Encode(set) // fails only if the client has disconnected
}
