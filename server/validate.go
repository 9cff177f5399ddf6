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
	err := openapi3filter.ValidateResponse(r.request.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r.request, Route: r.operation.route},
		Status:                 r.status,
		Header:                 r.Header(),
		Body:                   io.NopCloser(bytes.NewReader(r.held.body.Bytes())),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err == nil {
		return nil
	}
	text := "the schema is violated"
	var response *openapi3filter.ResponseError
	if errors.As(err, &response) {
		text = response.Reason
	}
	for _, place := range places(nil, err) {
		text += "; " + place
	}
	return fmt.Errorf("the response with status %d does not match the document: %s", r.status, text)
}

// places appends to all "POINTER: KEYWORD" for every schema error in err.
func places(all []string, err error) []string {
	var causes openapi3.MultiError
	var invalid *openapi3.SchemaError
	switch {
	case errors.As(err, &causes):
		for _, err := range causes {
			all = places(all, err)
		}
	case errors.As(err, &invalid):
		if errors.As(invalid.Origin, &causes) {
			return places(all, causes)
		}
		all = append(all, fmt.Sprintf("/%s: %s", strings.Join(invalid.JSONPointer(), "/"), invalid.SchemaField))
	}
	return all
}
