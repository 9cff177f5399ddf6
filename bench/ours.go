package main

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/server"
)

// newOurs returns package server's handler without an access log.
func newOurs() (http.Handler, error) {
	return server.New(ours{}, server.Options{
		Authenticator: ours{},
		Logger:        slog.New(slog.DiscardHandler),
	})
}

var secretText = registryusers.NewSecretText(secret)

type ours struct{}

func (ours) CreateUser(_ context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
	return apiserver.CreateUser201JSONResponse{Body: models.CreatedUser{
		ID: responseID, Name: r.Body.Name, ReadOnly: r.Body.ReadOnly, Duration: r.Body.Duration,
		CreatedAt: createdAt, ExpiresAt: expiresAt(int(r.Body.Duration)), Secret: secretText,
	}}, nil
}

func (ours) Authenticate(ctx context.Context, request server.AuthenticationRequest) (context.Context, error) {
	if request.Token.Reveal() != key {
		return nil, registryusers.ErrUnauthenticated
	}
	return ctx, nil
}
