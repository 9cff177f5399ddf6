// Command dots calls the generated client's RemoveThing0 with some names, and prints
// for each the method and path of the request, or the client's error.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
)

// asked is an HTTP client that keeps the method and path of the request.
type asked struct{ path string }

func (a *asked) Do(r *http.Request) (*http.Response, error) {
	a.path = r.Method + " " + r.URL.EscapedPath()
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody}, nil
}

func main() {
	for _, part := range []string{"a", "a/..", "...", "", ".", ".."} {
		var server asked
		c, err := apiclient.NewClient("https://localhost/base", apiclient.WithHTTPClient(&server))
		if err != nil {
			panic(err)
		}
		response, err := c.RemoveThing0(context.Background(), 7, part)
		if err != nil {
			fmt.Printf("%q: %q %v %v\n", part, server.path, errors.Is(err, registryusers.ErrInvalid), err)
			continue
		}
		_ = response.Body.Close()
		fmt.Printf("%q: %q\n", part, server.path)
	}
}
