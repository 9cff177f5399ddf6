package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
)

// validate checks the held response against the document. Its error names the
// fields and the keywords that they violate; kin-openapi's error quotes values.
func (r *response) validate() error {
	options := &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true}
	options.WithCustomSchemaErrorFunc(place)
	err := openapi3filter.ValidateResponse(r.request.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r.request, Route: r.operation.route},
		Status:                 r.status,
		Header:                 r.Header(),
		Body:                   io.NopCloser(bytes.NewReader(r.held.body.Bytes())),
		Options:                options,
	})
	if err == nil {
		return nil
	}
	text := "the schema is violated"
	var response *openapi3filter.ResponseError
	var invalid *openapi3.SchemaError
	if errors.As(err, &response) {
		text = response.Reason
	}
	if errors.As(err, &invalid) {
		text += ": " + place(invalid)
	}
	return fmt.Errorf("the response with status %d does not match the document: %s", r.status, text)
}

// place returns the place of a violation and its keyword ("/id: type").
func place(err *openapi3.SchemaError) string {
	var causes openapi3.MultiError
	if errors.As(err.Origin, &causes) {
		return causes.Error()
	}
	return fmt.Sprintf("/%s: %s", strings.Join(err.JSONPointer(), "/"), err.SchemaField)
}
