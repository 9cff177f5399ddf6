package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/registryusers/registryusers/bench/ogen/plain"
	"github.com/registryusers/registryusers/bench/ogen/telemetry"
)

var errUnauthorized = errors.New("unauthorized")

// newOgen returns ogen's server as it is generated. No OpenTelemetry SDK is set
// up, so what it costs is the generated code's part in it.
func newOgen() (http.Handler, error) {
	return telemetry.NewServer(ogenUsers{}, ogenUsers{})
}

type ogenUsers struct{}

func (ogenUsers) RegistryUsersHandlerPost(_ context.Context, r telemetry.OptRegistryUserCreateSerializer, _ telemetry.RegistryUsersHandlerPostParams) (telemetry.RegistryUsersHandlerPostRes, error) {
	return &telemetry.RegistryUserCreateResponseSerializer{
		ID: responseID, Name: r.Value.Name, ReadOnly: r.Value.ReadOnly.Value, Duration: r.Value.Duration,
		CreatedAt: createdAt, ExpiresAt: expiresAt(r.Value.Duration), Secret: secret,
	}, nil
}

func (ogenUsers) HandleAPIKey(ctx context.Context, _ telemetry.OperationName, t telemetry.APIKey) (context.Context, error) {
	if t.APIKey != "apikey "+key {
		return nil, errUnauthorized
	}
	return ctx, nil
}

// newOgenPlain returns ogen's server generated without OpenTelemetry.
func newOgenPlain() (http.Handler, error) {
	return plain.NewServer(ogenPlainUsers{}, ogenPlainUsers{})
}

type ogenPlainUsers struct{}

func (ogenPlainUsers) RegistryUsersHandlerPost(_ context.Context, r plain.OptRegistryUserCreateSerializer, _ plain.RegistryUsersHandlerPostParams) (plain.RegistryUsersHandlerPostRes, error) {
	return &plain.RegistryUserCreateResponseSerializer{
		ID: responseID, Name: r.Value.Name, ReadOnly: r.Value.ReadOnly.Value, Duration: r.Value.Duration,
		CreatedAt: createdAt, ExpiresAt: expiresAt(r.Value.Duration), Secret: secret,
	}, nil
}

func (ogenPlainUsers) HandleAPIKey(ctx context.Context, _ plain.OperationName, t plain.APIKey) (context.Context, error) {
	if t.APIKey != "apikey "+key {
		return nil, errUnauthorized
	}
	return ctx, nil
}
