package api

import (
	"context"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/server"
)

// createdUser and createdHeaders have the fields of the document's response, and
// createParams has those of its parameters outside the path: a conversion that no
// longer compiles shows that the document's fields have changed.
type (
	createdUser struct {
		CreatedAt time.Time
		Duration  int64
		ExpiresAt time.Time
		ID        int64
		Name      string
		ReadOnly  bool
		Secret    registryusers.SecretText
	}
	createdHeaders struct {
		IdempotentReplayed *string
		XRequestID         *string // package server sets it
	}
	createParams struct{ IdempotencyKey string }
)

// CreateUser implements [server.API].
func (a *API) CreateUser(ctx context.Context, r server.CreateUserRequestObject) (server.CreateUserResponseObject, error) {
	ref := accounts.RegistryRef{ProjectID: r.ProjectID, RegionID: r.RegionID, RegistryID: r.RegistryID}
	user, err := a.accounts.CreateUser(ctx, caller(ctx), ref, createParams(r.Params).IdempotencyKey, accounts.NewUser(*r.Body))
	if err != nil {
		return nil, err
	}
	var headers createdHeaders
	if user.Replayed {
		replayed := "true"
		headers.IdempotentReplayed = &replayed
	}
	return server.CreateUser201JSONResponse{
		Headers: server.CreateUser201ResponseHeaders(headers),
		Body: server.CreatedUser(createdUser{
			CreatedAt: user.CreatedAt,
			Duration:  user.Duration,
			ExpiresAt: user.ExpiresAt,
			ID:        user.ID,
			Name:      user.Name,
			ReadOnly:  user.ReadOnly,
			Secret:    user.Secret,
		}),
	}, nil
}
