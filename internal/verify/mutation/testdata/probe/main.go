// Command probe serves the document with an implementation that records its calls.
// It reads requests from standard input, as a sequence of JSON values, and prints
// for each the status, the called operation with its request object, and the
// response's body. If server.New refuses the document, it prints the error and exits
// with 3.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/server"
)

// implementation has the document's operation. The test writes those of a larger
// document into another file.
type implementation struct{}

// reached is the name of the called operation and its request object in JSON.
var reached string

// note records a call. It returns the error for the response: registry not found.
func note(operation string, request any) error {
	text, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	reached = operation + string(text)
	return registryusers.ErrRegistryNotFound
}

func (implementation) CreateUser(_ context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
	return nil, note("CreateUser", r)
}

func main() {
	handler, err := server.New(implementation{}, server.Options{
		Authenticator: server.AuthenticatorFunc(func(ctx context.Context, _ server.AuthenticationRequest) (context.Context, error) { return ctx, nil }),
		Logger:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	fmt.Println(reflect.TypeFor[apiserver.StrictServerInterface]().NumMethod(), "operations")
	requests := json.NewDecoder(os.Stdin)
	for {
		var r struct {
			Method, Path, Body string
			Header             map[string]string
		}
		if err := requests.Decode(&r); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			panic(err)
		}
		request := httptest.NewRequest(r.Method, r.Path, strings.NewReader(r.Body))
		request.Header.Set("Authorization", "apikey 1$x")
		if r.Body == "" {
			request.Body, request.ContentLength = http.NoBody, 0
		} else {
			request.Header.Set("Content-Type", "application/json")
		}
		for name, value := range r.Header {
			request.Header.Set(name, value)
		}
		reached = ""
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		fmt.Println(w.Code, reached+" "+string(bytes.TrimSpace(w.Body.Bytes())))
	}
}
