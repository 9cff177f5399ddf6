package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/server"
)

// registry implements one operation of the API; others respond 501. Requests that reach it
// are authenticated and valid.
type registry struct {
	server.Unimplemented
	users map[string]bool
}

func (r *registry) CreateUser(_ context.Context, request server.CreateUserRequestObject) (server.CreateUserResponseObject, error) {
	if r.users[request.Body.Name] {
		return nil, &registryusers.Error{Kind: registryusers.ErrUserExists, Message: "choose another name than " + request.Body.Name}
	}
	r.users[request.Body.Name] = true
	now := time.Date(2026, 5, 7, 0, 0, 0, 0, time.UTC)
	return server.CreateUser201JSONResponse{Body: server.CreatedUser{
		ID:        int64(len(r.users)),
		Name:      request.Body.Name,
		ReadOnly:  request.Body.ReadOnly,
		Duration:  request.Body.Duration,
		CreatedAt: now,
		ExpiresAt: now.AddDate(0, 0, int(request.Body.Duration)),
		Secret:    registryusers.NewSecretText("made-up"),
	}}, nil
}

func authenticate(ctx context.Context, request server.AuthenticationRequest) (context.Context, error) {
	if request.Token.Reveal() != "1$letmein" {
		return nil, registryusers.ErrUnauthenticated
	}
	return ctx, nil
}

func Example() {
	handler, err := server.New(&registry{users: map[string]bool{}}, server.Options{
		Authenticator: server.AuthenticatorFunc(authenticate),
		Logger:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	api := httptest.NewServer(handler) // or http.ListenAndServe
	defer api.Close()

	create := func(body string) {
		request, err := http.NewRequest("POST", api.URL+"/cloud/v1/registries/1/1/1/users", strings.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Authorization", "apikey 1$letmein")
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(response.Status)
		var failure server.Error
		if response.StatusCode == http.StatusCreated {
			fmt.Printf("%s", text)
		} else if err := json.Unmarshal(text, &failure); err != nil {
			log.Fatal(err)
		} else {
			fmt.Println(failure.Message)
		}
	}
	create(`{"name": "user1", "duration": 14}`)
	create(`{"name": "user1", "duration": 14}`)
	create(`{"name": "User 1", "duration": 14}`)
	// Output:
	// 201 Created
	// {"created_at":"2026-05-07T00:00:00Z","duration":14,"expires_at":"2026-05-21T00:00:00Z","id":1,"name":"user1","read_only":false,"secret":"made-up"}
	// 409 Conflict
	// choose another name than user1
	// 400 Bad Request
	// the request is not valid
}
