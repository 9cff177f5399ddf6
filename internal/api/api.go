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

// Statuses lists the statuses that each operation returns, for server.Options: the
// server refuses a document that declares others, until they are added here and
// package accounts implements them.
var Statuses = map[string][]int{
	"CreateUser": {201, 404, 409},
}

// New returns the API for accounts.
func New(accounts *accounts.Service) *API { return &API{accounts} }
