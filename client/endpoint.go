package client

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"

	"github.com/registryusers/registryusers"
)

// endpoint is an operation's URL for its path parameters, with the method and the
// headers that all requests to it have.
type endpoint struct {
	ids      [3]int64 // project, region and registry
	template *http.Request
}

var (
	acceptJSON = []string{"application/json"}
	userAgent  = []string{"registryusers"}
)

// endpointOf returns the endpoint with the path parameters ids, of which generate,
// generated code, makes a request. It keeps the last one: most programs use one
// registry, and generated code parses three URLs for a request.
func (c *config) endpointOf(ids [3]int64, generate func() (*http.Request, error)) (*endpoint, error) {
	if last := c.last.Load(); last != nil && last.ids == ids {
		return last, nil
	}
	template, err := generate()
	if err != nil {
		return nil, err
	}
	template.URL.RawQuery = c.query.Encode()
	template.Header["Accept"], template.Header["User-Agent"] = acceptJSON, userAgent
	for name, value := range c.headers {
		template.Header[name] = []string{value.Reveal()}
	}
	made := &endpoint{ids, template}
	c.last.Store(made)
	return made, nil
}

// request returns a request that shares nothing that a transport may change. It has
// no GetBody: with one, net/http repeats a request with an Idempotency-Key by
// itself, and do does not know of it.
func (e *endpoint) request(ctx context.Context, body []byte, key registryusers.Secret, idempotencyKey string) *http.Request {
	r := e.template.WithContext(ctx)
	url := *e.template.URL
	r.URL = &url
	r.Header = maps.Clone(e.template.Header)
	r.Header["Authorization"] = []string{"apikey " + key.Reveal()}
	r.Header["Idempotency-Key"] = []string{idempotencyKey}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}
