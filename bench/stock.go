package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3filter"
	middleware "github.com/oapi-codegen/nethttp-middleware"

	"github.com/registryusers/registryusers/bench/stock"
)

// newStock returns oapi-codegen's strict server behind its own project's
// validator, made of the document as it is.
func newStock() (http.Handler, error) {
	doc, err := stock.GetSpec()
	if err != nil {
		return nil, err
	}
	validator := middleware.OapiRequestValidatorWithOptions(doc, &middleware.Options{
		DoNotValidateServers: true, // it serves under another name than the vendor's
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
