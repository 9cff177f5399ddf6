package ociregistry

import (
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
)

// challenge is the error that tells a client where to get a token, and with which
// scopes (RFC 6750, section 3).
type challenge struct {
	access *accessController
	needed []auth.Access
	reason string // a code of RFC 6750; "": the request has no token
}

// The reasons of a challenge.
const (
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
)

var _ auth.Challenge = (*challenge)(nil)

func (c *challenge) Error() string { return "a token is needed" }

// SetHeaders implements [auth.Challenge].
func (c *challenge) SetHeaders(r *http.Request, w http.ResponseWriter) {
	base := c.access.url
	if base == "" {
		base = "http://" + r.Host
		if observe.From(r.Context()).HTTPS {
			base = "https://" + r.Host
		}
	}
	text := fmt.Sprintf("Bearer realm=%q,service=%q", base+c.access.tokenPath, c.access.issuer.Service)
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
	var all []oci.Access
	for i, access := range needed {
		if i == 0 || access.Resource != needed[i-1].Resource {
			all = append(all, oci.Access{Type: access.Type, Name: access.Name})
		}
		last := &all[len(all)-1]
		last.Actions = append(last.Actions, access.Action)
	}
	return oci.Scopes(all)
}
