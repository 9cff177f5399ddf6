package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3filter"
	middleware "github.com/oapi-codegen/nethttp-middleware"

	"github.com/registryusers/registryusers/bench/stock"
)

// newStock returns oapi-codegen's strict server, generated from the document without
// an overlay, behind the same project's validator.
func newStock() (http.Handler, error) {
	doc, err := stock.GetSpec()
	if err != nil {
		return nil, err
	}
	validator := middleware.OapiRequestValidatorWithOptions(doc, &middleware.Options{
		DoNotValidateServers: true, // the requests have another host than the document's
		Options: openapi3filter.Options{
			AuthenticationFunc: func(_ context.Context, in *openapi3filter.AuthenticationInput) error {
				if in.RequestValidationInput.Request.Header.Get("Authorization") != "apikey "+key {
					return errors.New("unauthorized")
				}
				return nil
			},
		},
	})
	return validator(stock.Handler(stock.NewStrictHandler(stockUsers{}, nil))), nil
}

type stockUsers struct{}

func (stockUsers) RegistryUsersHandlerPost(_ context.Context, r stock.RegistryUsersHandlerPostRequestObject) (stock.RegistryUsersHandlerPostResponseObject, error) {
	return stock.RegistryUsersHandlerPost201JSONResponse{
		Id: responseID, Name: r.Body.Name, ReadOnly: r.Body.ReadOnly != nil && *r.Body.ReadOnly, Duration: r.Body.Duration,
		CreatedAt: createdAt, ExpiresAt: expiresAt(r.Body.Duration), Secret: secret,
	}, nil
}
