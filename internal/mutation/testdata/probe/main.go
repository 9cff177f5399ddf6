// Command probe serves the document over an implementation that is written for
// none of its operations, and tells what becomes of requests: those on its
// standard input, as JSON values, one after the other. For each it prints the
// status, and what reached the implementation or the answer. It exits with 3 if
// server.New refuses the document, and says why.
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

// implementation has every operation of the generated interface, none of which
// may be called but CreateUser.
type implementation struct {
	apiserver.StrictServerInterface
}

// reached is the body that came to CreateUser.
var reached []byte

func (implementation) CreateUser(_ context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
	reached, _ = json.Marshal(r.Body)
	return nil, registryusers.ErrRegistryNotFound
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
		var r struct{ Method, Path, Body string }
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
		reached = nil
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		fmt.Println(w.Code, string(reached)+string(bytes.TrimSpace(w.Body.Bytes())))
	}
}
