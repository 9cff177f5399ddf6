// Package api implements the document's operations with package accounts. It
// translates between the two and has no rules of its own.
package api

import (
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/internal/accounts"
)

// API implements the generated interface and package server's Authenticator.
type API struct{ accounts *accounts.Service }

var _ apiserver.StrictServerInterface = (*API)(nil)

// New returns the API for accounts.
func New(accounts *accounts.Service) *API { return &API{accounts} }
