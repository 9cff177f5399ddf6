package client

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
	"github.com/registryusers/registryusers/gen/apiserver"
)

// Every operation of the document has its method, and each of its statuses a
// meaning, listed here: a newer document that has more of either
// fails this test until the client handles it.
func TestEveryOperationAndStatusIsKnown(t *testing.T) {
	known := map[string][]int{
		"CreateUser": append(slices.Collect(maps.Keys(createUser.errors)), createUser.success),
	}

	generated, ours := reflect.TypeFor[apiclient.ClientInterface](), reflect.TypeFor[*Client]()
	for i := range generated.NumMethod() {
		name := strings.TrimSuffix(generated.Method(i).Name, "WithBody")
		if _, ok := ours.MethodByName(name); !ok || known[name] == nil {
			t.Errorf("operation %s: the document has it, and Client has no such method, or this list not its statuses", name)
		}
	}
	doc, err := apiserver.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			want := []int{}
			for status := range op.Responses.Map() {
				if status == "default" {
					continue
				}
				code, err := strconv.Atoi(status)
				if err != nil {
					t.Errorf("operation %s (%s %s): the client does not distinguish the status %s", op.OperationID, method, path, status)
				}
				want = append(want, code)
			}
			got := known[op.OperationID]
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("operation %s (%s %s): the client knows the statuses %d, the document declares %d", op.OperationID, method, path, got, want)
			}
		}
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	const key, secret = "7$KeY-in-the-clear", "SeCrEt-in-the-clear"
	c, err := New(WithAPIKey(key), WithProject(1), WithRegion(1), WithHeader("X-Token", "HeAdEr-in-the-clear"), WithHTTPClient(transport))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(t.Context(), 1, NewUser{}); err != nil { // fills what the client keeps
		t.Fatal(err)
	}
	n := NewUser{Name: "u", Secret: registryusers.NewSecret(secret)}
	u := CreatedUser{User: User{Name: "u"}, Secret: registryusers.NewSecret(secret)}
	type unexported struct {
		c Client
		n NewUser
		u *CreatedUser
	}
	for _, value := range []any{
		c, *c, c.config, &c.config, n, &n, u, &u,
		[]CreatedUser{u}, map[string]NewUser{"n": n}, unexported{*c, n, &u}, &unexported{*c, n, &u},
	} {
		printed := map[string]string{"slog": slog.AnyValue(value).String()}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t"} {
			printed[verb] = fmt.Sprintf(verb, value)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "value", value)
		printed["a slog handler"] = log.String()
		if data, err := json.Marshal(value); err == nil {
			printed["JSON"] = string(data)
		}
		for how, text := range printed {
			for _, hidden := range []string{"in-the-clear", fmt.Sprintf("%x", "in-the-clear"), fmt.Sprintf("%X", "in-the-clear"), "105 110 45 116"} {
				if strings.Contains(text, hidden) {
					t.Errorf("%s of %T: %s; want no secret", how, value, text)
				}
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := New(WithAPIKey("7$x"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.config.tryTimeout; got != DefaultTimeout || got <= 0 {
		t.Errorf("the default time of a try is %v; want %v", got, DefaultTimeout)
	}
	if other, err := New(WithAPIKey("7$x"), WithHTTPClient(transport)); err != nil || other.config.tryTimeout != 0 {
		t.Errorf("with an HTTP client: %v, or the time of a try is limited; want no limit but the HTTP client's", err)
	}
	if got, want := c.config.baseURL, "https://api.gcore.com"; got != want || DefaultBaseURL != want {
		t.Errorf("the default base URL is %q, DefaultBaseURL %q; want %q", got, DefaultBaseURL, want)
	}
	if c.config.sender == http.DefaultClient {
		t.Error("the default client is http.DefaultClient, which anybody may change")
	}
}
