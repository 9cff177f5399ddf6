// Command probe serves the document with all seventeen operations, sends requests to
// some, and prints the statuses and bodies of the responses.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
	. "github.com/registryusers/registryusers/gen/apiserver"
	. "github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/server"
)

// implementation has the operations that the probe calls.
type implementation struct{ StrictServerInterface }

func (implementation) ListUsers(_ context.Context, r ListUsersRequestObject) (ListUsersResponseObject, error) {
	at := time.Date(2026, 5, 7, 1, 2, 3, 0, time.UTC)
	user := RegistryUserSerializer{ID: *r.Params.Offset, Name: "a", CreatedAt: at, ExpiresAt: at}
	return ListUsers200JSONResponse{Count: 9, Results: []RegistryUserSerializer{user, user}}, nil
}

func (implementation) CreateUsers(_ context.Context, r CreateUsersRequestObject) (CreateUsersResponseObject, error) {
	first := r.Body.Users[0]
	return CreateUsers201JSONResponse{ID: int64(len(r.Body.Users)), Name: first.Name, Duration: first.Duration}, nil
}

func (implementation) UpdateUser(_ context.Context, r UpdateUserRequestObject) (UpdateUserResponseObject, error) {
	return UpdateUser200JSONResponse{ID: r.UserID, Duration: r.Body.Duration, ReadOnly: r.Body.ReadOnly}, nil
}

func (implementation) CreateRegistry(_ context.Context, r CreateRegistryRequestObject) (CreateRegistryResponseObject, error) {
	return CreateRegistry201JSONResponse{Name: r.Body.Name, StorageLimit: *r.Body.StorageLimit}, nil
}

func (implementation) DeleteTag(_ context.Context, r DeleteTagRequestObject) (DeleteTagResponseObject, error) {
	return nil, fmt.Errorf("%w: %s", registryusers.ErrInvalid, r.TagName)
}

func main() {
	handler, err := server.New(implementation{}, server.Options{
		Authenticator: server.AuthenticatorFunc(func(ctx context.Context, _ server.AuthenticationRequest) (context.Context, error) { return ctx, nil }),
		Logger:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, request := range []string{
		"GET /1/users?offset=7&limit=0 ",
		`POST /1/users/batch {"users":[{"name":"a","duration":14},{"name":"b","duration":1}]}`,
		`POST /1/users/batch {"users":[{"name":"A","duration":14},{"duration":900}]}`,
		`PATCH /1/users/5 {"duration":3}`,
		`POST  {"name":"demo"}`,
		`POST  {"name":"demo","storage_limit":0}`,
		"DELETE /1/repositories/app/artifacts/sha256:1/tags/latest ",
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		r := httptest.NewRequest(method, "/cloud/v1/registries/1/1"+path, strings.NewReader(body))
		r.Header = http.Header{"Authorization": {"apikey a"}, "Content-Type": {"application/json"}}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		text := w.Body.String()
		text, _, _ = strings.Cut(strings.TrimSpace(text), `,"request_id"`)
		fmt.Println(w.Code, text)
	}
}
