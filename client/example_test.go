package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
)

// answering returns a server that always sends the same response.
func newServerWith(status int, body string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
}

func ExampleClient_CreateUser() {
	server := newServerWith(http.StatusCreated, `{
		"id": 1,
		"name": "ci",
		"read_only": true,
		"duration": 30,
		"created_at": "2024-06-18T09:36:53.335Z",
		"expires_at": "2024-07-18T09:36:53.335Z",
		"secret": "oZ6sSxMDLkX4fJ0t8yQeWb2nVr7uGcHp"
	}`)
	defer server.Close()

	c, err := client.New(
		client.WithBaseURL(server.URL),
		client.WithAPIKey("1$Wf3nKq8ZtLs5"), // the rest may come from the environment
		client.WithProject(1),
		client.WithRegion(1),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := c.CreateUser(context.Background(), 1, client.NewUser{
		Name:     "ci",
		Days:     30, // or client.Never; without Days the user expires at once
		ReadOnly: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("docker login -u", user.Name, "-p", user.Secret.Reveal())
	fmt.Println("in a log:", user.Secret)
	if end, ends := user.Expires(); ends {
		fmt.Println("until", end.Format(time.DateOnly))
	}
	// Output:
	// docker login -u ci -p oZ6sSxMDLkX4fJ0t8yQeWb2nVr7uGcHp
	// in a log: [redacted]
	// until 2024-07-18
}

// A call whose outcome is unknown is repeated with its own key: the server
// creates no second user, and returns the secret of the first.
func ExampleWithIdempotencyKey() {
	responses := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if responses++; responses == 1 {
			panic(http.ErrAbortHandler) // the user is created, and the response lost
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id": 1, "name": "ci", "secret": "generated for `+r.Header.Get("Idempotency-Key")+`"}`)
	}))
	defer server.Close()

	c, err := client.New(client.WithBaseURL(server.URL), client.WithAPIKey("1$Wf3nKq8ZtLs5"), client.WithProject(1), client.WithRegion(1))
	if err != nil {
		fmt.Println(err)
		return
	}
	const job = "nightly-2024-06-18" // kept where the next run finds it
	user := client.NewUser{Name: "ci", Days: 30}
	_, err = c.CreateUser(context.Background(), 1, user, client.WithIdempotencyKey(job), client.WithoutRetry())
	fmt.Println(errors.Is(err, client.ErrOutcomeUnknown))

	created, err := c.CreateUser(context.Background(), 1, user, client.WithIdempotencyKey(job))
	fmt.Println(created.Secret.Reveal(), err)
	// Output:
	// true
	// generated for nightly-2024-06-18 <nil>
}

func ExampleError() {
	server := newServerWith(http.StatusBadRequest, `{
		"exception_class": "ValidationError",
		"message": "the request is not valid",
		"invalid_fields": {"duration": ["must be 365 at most"]},
		"request_id": "IHFMPSKYXAYA"
	}`)
	defer server.Close()

	c, err := client.New(client.WithBaseURL(server.URL), client.WithAPIKey("1$Wf3nKq8ZtLs5"), client.WithProject(1), client.WithRegion(1))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.CreateUser(context.Background(), 1, client.NewUser{Name: "ci", Days: 1000})
	fmt.Println(err)
	fmt.Println(errors.Is(err, registryusers.ErrInvalid))
	if response, ok := errors.AsType[*client.Error](err); ok {
		fmt.Println(response.Status, response.InvalidFields["duration"], response.RequestID)
	}
	// Output:
	// create user: the request is not valid (400); duration must be 365 at most [request IHFMPSKYXAYA]
	// true
	// 400 [must be 365 at most] IHFMPSKYXAYA
}

func ExampleUser_Expires() {
	for _, user := range []client.User{
		{Days: 30, ExpiresAt: time.Date(2024, 7, 18, 9, 36, 53, 0, time.UTC)},
		{Days: client.Never, ExpiresAt: time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)},    // this project's server
		{Days: client.Never, ExpiresAt: time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC)}, // the vendor's
	} {
		if end, ends := user.Expires(); ends {
			fmt.Println("ends", end.Format(time.DateOnly))
		} else {
			fmt.Println("never ends")
		}
	}
	// Output:
	// ends 2024-07-18
	// never ends
	// never ends
}
