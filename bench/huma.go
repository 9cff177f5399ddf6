package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type humaRequest struct {
	ProjectID  int64 `path:"project_id"`
	RegionID   int64 `path:"region_id"`
	RegistryID int64 `path:"registry_id"`
	Body       struct {
		Name     string `json:"name" pattern:"^[a-z0-9]{0,16}$"`
		Duration int    `json:"duration" minimum:"-1" maximum:"365"`
		ReadOnly bool   `json:"read_only" required:"false" default:"false"`
		Secret   string `json:"secret" required:"false" default:""`
	}
}

type humaResponse struct {
	Body humaUser
}

type humaUser struct {
	CreatedAt time.Time `json:"created_at"`
	Duration  int       `json:"duration"`
	ExpiresAt time.Time `json:"expires_at"`
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	ReadOnly  bool      `json:"read_only"`
	Secret    string    `json:"secret"`
}

// newHuma returns huma's server. Huma does not read a document; the tags above have
// the document's rules.
func newHuma() (http.Handler, error) {
	config := huma.DefaultConfig("registry users", "1")
	config.CreateHooks = nil // they add "$schema" to responses, which the document does not have
	mux := http.NewServeMux()
	api := humago.New(mux, config)
	api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		if ctx.Header("Authorization") != "apikey "+key {
			_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "unauthorized")
			return
		}
		next(ctx)
	})
	method, route, _ := strings.Cut(pattern, " ")
	operation := huma.Operation{OperationID: "CreateUser", Method: method, Path: route, DefaultStatus: http.StatusCreated}
	huma.Register(api, operation, func(_ context.Context, r *humaRequest) (*humaResponse, error) {
		return &humaResponse{humaUser{
			ID: responseID, Name: r.Body.Name, ReadOnly: r.Body.ReadOnly, Duration: r.Body.Duration,
			CreatedAt: createdAt, ExpiresAt: expiresAt(r.Body.Duration), Secret: secret,
		}}, nil
	})
	return mux, nil
}
