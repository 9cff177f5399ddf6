package client

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"

	"github.com/registryusers/registryusers"
)

// endpoint is an operation's URL for one registry, with the method and the headers
// that all requests to it have.
type endpoint struct {
	registry int64
	template *http.Request
}

var (
	acceptJSON = []string{"application/json"}
	userAgent  = []string{"registryusers"}
)

// endpointOf returns the endpoint of a registry, from the request that generate,
// generated code, makes. It keeps the last one: most programs use one registry, and
// generated code parses three URLs for a request.
func (c *config) endpointOf(registry int64, generate func() (*http.Request, error)) (*endpoint, error) {
	if last := c.last.Load(); last != nil && last.registry == registry {
		return last, nil
	}
	template, err := generate()
	if err != nil {
		return nil, err
	}
	template.Body, template.GetBody = nil, nil // it may have a secret; each request gets its own body
	template.URL.RawQuery = c.query.Encode()
	template.Header["Accept"], template.Header["User-Agent"] = acceptJSON, userAgent
	for name, value := range c.headers {
		template.Header[name] = []string{value.Reveal()}
	}
	last := &endpoint{registry, template}
	c.last.Store(last)
	return last, nil
}

// request returns a request that shares nothing that a transport may change. It has
// no GetBody: with one, net/http repeats a request with an Idempotency-Key by
// itself, and call.do would not count that try.
func (e *endpoint) request(ctx context.Context, body []byte, key registryusers.Secret, idempotencyKey string) *http.Request {
	r := e.template.WithContext(ctx)
	url := *e.template.URL
	r.URL = &url
	r.Header = maps.Clone(e.template.Header)
	values := []string{"apikey " + key.Reveal(), idempotencyKey}
	r.Header["Authorization"], r.Header["Idempotency-Key"] = values[:1:1], values[1:]
	// net/http sends a body of this type together with the header.
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}
