package client

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"

	"github.com/registryusers/registryusers"
)

// endpoint is an operation's URL with its parameters, with the method and the headers
// that all requests to it have.
type endpoint struct {
	operation  any // the *operation
	parameters any
	template   *http.Request
}

var (
	acceptJSON = []string{"application/json"}
	userAgent  = []string{"registryusers"}
)

// endpointOf returns the endpoint of an operation with its parameters, from the
// request that generate, generated code, makes. parameters has all that the URL is
// made of besides the settings: what is in the path and in the operation's query, by
// value. The settings keep the last endpoint: most programs call one operation for
// one registry, and generated code parses three URLs for a request.
func endpointOf[T any, P comparable](c *config, op *operation[T], parameters P, generate func() (*http.Request, error)) (*endpoint, error) {
	if last := c.last.Load(); last != nil && last.operation == op {
		if p, ok := last.parameters.(P); ok && p == parameters {
			return last, nil
		}
	}
	template, err := generate()
	if err != nil {
		return nil, err
	}
	template.Body, template.GetBody, template.ContentLength = nil, nil, 0 // each request gets its own body
	if len(c.query) > 0 {
		query := template.URL.Query()
		maps.Copy(query, c.query)
		template.URL.RawQuery = query.Encode()
	}
	template.Header["Accept"], template.Header["User-Agent"] = acceptJSON, userAgent
	for name, value := range c.headers {
		template.Header[name] = []string{value.Reveal()}
	}
	last := &endpoint{op, parameters, template}
	c.last.Store(last)
	return last, nil
}

// reads reports whether the operation only reads: a repeat does no harm, and needs no
// Idempotency-Key.
func (e *endpoint) reads() bool { return e.template.Method == http.MethodGet }

// request returns a request that shares nothing that a transport may change. Without
// a body (nil) or an idempotencyKey ("") it has none. It has no GetBody: with one,
// net/http repeats a request with an Idempotency-Key by itself, and call.do would not
// count that try.
func (e *endpoint) request(ctx context.Context, body []byte, key registryusers.Secret, idempotencyKey string) *http.Request {
	r := e.template.WithContext(ctx)
	url := *e.template.URL
	r.URL = &url
	r.Header = maps.Clone(e.template.Header)
	values := []string{"apikey " + key.Reveal(), idempotencyKey}
	r.Header["Authorization"] = values[:1:1]
	if idempotencyKey != "" {
		r.Header["Idempotency-Key"] = values[1:]
	}
	if body != nil {
		// net/http sends a body of this type together with the header.
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return r
}
