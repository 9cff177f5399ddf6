// Package api implements the document's operations with package accounts. It
// translates between the two and has no rules of its own.
package api

import (
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/server"
)

// API implements package server's API and Authenticator.
type API struct{ accounts *accounts.Service }

var _ interface {
	server.API
	server.Authenticator
} = (*API)(nil)

// New returns the API for accounts.
func New(accounts *accounts.Service) *API { return &API{accounts} }
