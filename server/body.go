package server

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/server/internal/validation"
)

// validateBody reads, decodes and validates the body. It keeps the value in the
// request's context, and reports whether the body is valid; if not, resp is an error.
func (op *operation) validateBody(resp *response, r *http.Request) bool {
	body := cmp.Or[io.ReadCloser](r.Body, http.NoBody) // a handler may be called without a body
	r.Body, resp.context.body = http.NoBody, apiserver.NoBody{}
	switch {
	case op.body == nil, r.ContentLength == 0 && !op.bodyRequired && r.Header.Get("Content-Type") == "":
		return true
	case !isJSON(r.Header):
		resp.fail(http.StatusUnsupportedMediaType, apierror.Body{Message: `the body must be JSON in UTF-8, with the header "Content-Type: application/json" and no Content-Encoding`}, nil)
		return false
	case r.ContentLength > MaxBodyBytes:
		resp.failBody(&http.MaxBytesError{})
		return false
	case r.ContentLength < 0:
		body = http.MaxBytesReader(resp.ResponseWriter, body, MaxBodyBytes)
	}
	buffer := buffers.Get().(*bytes.Buffer)
	_, err := buffer.ReadFrom(body)
	var violations []validation.Violation
	if err == nil {
		violations, err = op.decodeBody(resp, buffer.Bytes())
		violations = resp.checkUnknown(violations)
	}
	clear(buffer.Bytes()) // it may have a secret
	const kept = 64 << 10
	if buffer.Reset(); buffer.Cap() <= kept {
		buffers.Put(buffer)
	}
	switch {
	case err != nil:
		resp.failBody(err)
	case len(violations) > 0:
		resp.failFields(violations)
	}
	return err == nil && len(violations) == 0
}

// buffers has buffers that bodies are read into.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// decodeBody sets the value of a valid body, or returns its violations, or an error if it is
// not acceptable JSON.
func (op *operation) decodeBody(resp *response, data []byte) (violations []validation.Violation, err error) {
	if op.decode != nil {
		if body, found, unknown, ok := op.decode(data); ok {
			violations = make([]validation.Violation, len(found))
			for i, v := range found {
				violations[i] = validation.Violation(v)
			}
			resp.context.body, resp.unknown = body, unknown
			return violations, nil
		}
	}
	value, err := validation.Decode(data)
	if err != nil {
		return nil, err
	}
	resp.unknown = op.body.Unknown(value)
	if violations = op.body.Check(value); len(violations) == 0 {
		op.body.FillDefaults(value)
		resp.context.body = apiserver.JSONBody{Value: value}
	}
	return violations, nil
}

// isJSON reports whether the header declares a JSON body in UTF-8, not compressed.
func isJSON(header http.Header) bool {
	values := header["Content-Type"]
	if len(values) != 1 || len(header["Content-Encoding"]) > 0 && header.Get("Content-Encoding") != "" {
		return false
	}
	if values[0] == "application/json" { // most are
		return true
	}
	mediaType, parameters, err := mime.ParseMediaType(values[0])
	charset, ok := parameters["charset"]
	return err == nil && mediaType == "application/json" && (!ok || strings.EqualFold(charset, "utf-8"))
}

// requestContext is the context of a request in the generated code.
type requestContext struct {
	context.Context     // the authenticator's
	body            any // the validated body
}

// Value implements [context.Context].
func (c *requestContext) Value(key any) any {
	if key == (apiserver.BodyKey{}) {
		return c.body
	}
	return c.Context.Value(key)
}
