// Command probe serves the document over an implementation that notes what
// reaches it, and tells what becomes of requests: those on its standard input,
// as JSON values, one after the other. For each it prints the status, the
// operation with what reached it, and the answer. It exits with 3 if server.New
// refuses the document, and says why.
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

// implementation has the document's operation; those of a larger document are
// in another file, which the test writes.
type implementation struct{}

// reached is the operation that was called, and its request, in JSON.
var reached string

// note notes a call, and answers it: the registry is not found.
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
		Authenticator: server.AuthenticatorFunc(func(ctx context.Context, _ registryusers.Secret) (context.Context, error) { return ctx, nil }),
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
