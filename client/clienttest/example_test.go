package clienttest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/client/clienttest"
)

// t is the test's: func TestDeploy(t *testing.T).
var t *testing.T

func ExampleNewServer() {
	srv := clienttest.NewServer(t)
	srv.Fail(clienttest.DropResponse) // the first response is lost; the client tries again

	user, err := srv.Client().CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "ci", Days: 30})
	if err != nil {
		t.Fatal(err)
	}
	if users := srv.Users(); len(users) != 1 {
		t.Errorf("%d users; want 1", len(users))
	}
	if err := srv.Login(user.Name, user.Secret); err != nil {
		t.Errorf("login: %v", err)
	}
	srv.Advance(30 * 24 * time.Hour)
	if err := srv.Login(user.Name, user.Secret); !errors.Is(err, registryusers.ErrUnauthenticated) {
		t.Errorf("login of an expired user: %v; want %v", err, registryusers.ErrUnauthenticated)
	}
}

// Code that makes its own client from the environment, and programs in any
// language, get their settings from the server's fields. (A test that sets the
// environment cannot be parallel.)
func ExampleServer_environment() {
	srv := clienttest.NewServer(t)
	t.Setenv("GCORE_BASE_URL", srv.URL)
	t.Setenv("GCORE_API_KEY", srv.APIKey.Reveal())
	t.Setenv("GCORE_CLOUD_PROJECT_ID", fmt.Sprint(srv.ProjectID))
	t.Setenv("GCORE_CLOUD_REGION_ID", fmt.Sprint(srv.RegionID))

	c, err := client.New()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "ci", Days: 30}); err != nil {
		t.Fatal(err)
	}
}

func ExampleServer_Fail() {
	srv := clienttest.NewServer(t)
	c := srv.Client(client.WithoutRetry())
	srv.Fail(nil, clienttest.Status(http.StatusInternalServerError)) // the first succeeds, the second fails

	if _, err := c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "a", Days: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "b", Days: 1}); !errors.Is(err, registryusers.ErrInternal) {
		t.Errorf("got %v; want %v", err, registryusers.ErrInternal)
	}
}

// A custom failure: a proxy that responds in place of the server.
func ExampleFailure() {
	srv := clienttest.NewServer(t)
	srv.Fail(func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		server.ServeHTTP(httptest.NewRecorder(), r) // the server creates the user
		http.Error(w, "<h1>Bad gateway</h1>", http.StatusBadGateway)
	})

	if _, err := srv.Client().CreateUser(t.Context(), srv.RegistryID, client.NewUser{Name: "ci", Days: 30}); err != nil {
		t.Errorf("got %v; want the client to try again", err)
	}
}
