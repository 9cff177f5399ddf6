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

// validate checks the held answer against the document. Its error names the
// places and the rules; kin-openapi's own would quote the values.
func (a *response) validate() error {
	err := openapi3filter.ValidateResponse(a.request.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: a.request, Route: a.operation.route},
		Status:                 a.status,
		Header:                 a.Header(),
		Body:                   io.NopCloser(bytes.NewReader(a.body.Bytes())),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err == nil {
		return nil
	}
	text := "it does not match"
	var response *openapi3filter.ResponseError
	if errors.As(err, &response) {
		text = response.Reason
	}
	for _, place := range places(nil, err) {
		text += "; " + place
	}
	return fmt.Errorf("the answer with status %d does not fit the document: %s", a.status, text)
}

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
