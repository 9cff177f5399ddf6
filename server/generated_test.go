package server

import (
	"bytes"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/registryusers/registryusers"
)

// The three configurations generate the operations that they list, and no other.
func TestTheConfigurationsListTheSameOperations(t *testing.T) {
	doc := document(t)
	var generated []string
	for _, item := range doc.Paths.Map() {
		for _, operation := range item.Operations() {
			generated = append(generated, operation.OperationID)
		}
	}
	slices.Sort(generated)
	for _, name := range []string{"models", "apiclient", "apiserver"} {
		data, err := os.ReadFile("../api/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var configuration struct {
			OutputOptions struct {
				IDs []string `yaml:"include-operation-ids"`
			} `yaml:"output-options"`
		}
		if err := yaml.Unmarshal(data, &configuration); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(slices.Values(configuration.OutputOptions.IDs)); len(got) == 0 || !slices.Equal(got, generated) {
			t.Errorf("api/%s.yaml: include-operation-ids: got %q, want %q, which is generated; is an id misspelled?", name, got, generated)
		}
	}
}

// A secret is of a type that does not print it, in each schema that is generated.
func TestTheOverlaySetsTheTypeOfEverySecret(t *testing.T) {
	doc := document(t)
	secrets := 0
	for name, schema := range doc.Components.Schemas {
		if secret := schema.Value.Properties["secret"]; secret != nil {
			secrets++
			if got := secret.Value.Extensions["x-go-type"]; got != "registryusers.SecretText" {
				t.Errorf("schema %s: the type of secret: got %v, want registryusers.SecretText: add an action to api/overlay.yaml", name, got)
			}
		}
	}
	if secrets == 0 {
		t.Error("no schema has a secret, as far as this test sees")
	}
}

// An implementation may log what it gets and returns.
func TestThreatALogShowsTheSecretOfARequest(t *testing.T) {
	body := CreateUserRequest{Name: "user1", Secret: registryusers.NewSecretText(marker)}
	user := CreatedUser{Name: "user1", Secret: registryusers.NewSecretText(marker)}
	for _, value := range []any{body, &body, user, &user, CreateUserRequestObject{Body: &body}, &CreateUserRequestObject{Body: &body}, CreateUser201JSONResponse{Body: user}} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).With("value", value).Info("json", slog.Group("group", "value", value))
		slog.New(slog.NewTextHandler(&log, nil)).With("value", value).Info("text", slog.Group("group", "value", value))
		if strings.Contains(log.String(), marker) {
			t.Errorf("%T: got %s", value, &log)
		}
	}
}
