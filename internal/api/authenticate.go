package api

import (
	"context"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/server"
)

type callerKey struct{}

// Authenticate implements server.Authenticator with API keys.
func (a *API) Authenticate(ctx context.Context, request server.AuthenticationRequest) (context.Context, error) {
	key, err := a.accounts.Authenticate(ctx, request.Token)
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, callerKey{}, key), nil
}

// caller returns the API key that Authenticate put into the context.
func caller(ctx context.Context) accounts.APIKey { return ctx.Value(callerKey{}).(accounts.APIKey) }
