package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
)

// env is a server whose registry and API key are of project 3, in region 5.
type env struct{ *apptest.Env }

// noon is not a multiple of a microsecond, unlike the times in a response.
var noon = time.Date(2024, 6, 18, 12, 0, 0, 123_456_789, time.UTC)

func newEnv(t *testing.T) *env {
	t.Helper()
	return &env{apptest.New(t, apptest.Options{ProjectID: 3, RegionID: 5, Start: noon})}
}

// path returns the operation's path for a registry.
func path(project, region, registry int64) string {
	return "/cloud/v1/registries/" + strconv.FormatInt(project, 10) + "/" + strconv.FormatInt(region, 10) + "/" + strconv.FormatInt(registry, 10) + "/users"
}

// post sends a create and returns the response and its body.
func (e *env) post(t *testing.T, path, token, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "apikey "+token)
	}
	response, err := e.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(data)
}

func TestEachFieldRoundTrips(t *testing.T) {
	e := newEnv(t)
	for _, test := range []struct {
		body, want string // in want, $ is a generated secret
		stored     accounts.User
	}{
		{
			`{"name":"a1","duration":14}`,
			`{"id":1,"name":"a1","read_only":false,"duration":14,"created_at":"2024-06-18T12:00:00.123456Z","expires_at":"2024-07-02T12:00:00.123456Z","secret":"$"}`,
			accounts.User{Duration: 14},
		},
		{
			`{"name":"a2","duration":-1,"read_only":true,"secret":"custom & <kept>"}`,
			`{"id":2,"name":"a2","read_only":true,"duration":-1,"created_at":"2024-06-18T12:00:00.123456Z","expires_at":"9999-12-30T00:00:00Z","secret":"custom & <kept>"}`,
			accounts.User{Duration: -1, ReadOnly: true},
		},
		{
			`{"secret":"","name":"","duration":0,"read_only":false}`,
			`{"id":3,"name":"","read_only":false,"duration":0,"created_at":"2024-06-18T12:00:00.123456Z","expires_at":"2024-06-18T12:00:00.123456Z","secret":"$"}`,
			accounts.User{},
		},
		{
			`{"name":"0123456789abcdef","duration":365.0}`,
			`{"id":4,"name":"0123456789abcdef","read_only":false,"duration":365,"created_at":"2024-06-18T12:00:00.123456Z","expires_at":"2025-06-18T12:00:00.123456Z","secret":"$"}`,
			accounts.User{Duration: 365},
		},
	} {
		response, body := e.post(t, path(3, 5, e.Registry.RegistryID), e.APIToken.Reveal(), test.body)
		if response.StatusCode != http.StatusCreated {
			t.Errorf("%s: %d %s; want 201", test.body, response.StatusCode, body)
			continue
		}
		var got, want map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		if secret, _ := got["secret"].(string); want["secret"] == "$" && len(secret) == 32 {
			want["secret"] = secret
		}
		for field := range want {
			if got[field] != want[field] {
				t.Errorf("%s: %s is %v; want %v", test.body, field, got[field], want[field])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %s; want the fields of %s", test.body, body, test.want)
		}
		name, _ := want["name"].(string)
		stored, err := e.Accounts.User(t.Context(), accounts.Administrator, e.Registry, name)
		if err != nil || stored.ReadOnly != test.stored.ReadOnly || stored.Duration != test.stored.Duration {
			t.Errorf("%s: stored %+v, %v; want read-only %t and %d days", test.body, stored, err, test.stored.ReadOnly, test.stored.Duration)
		}
		if custom := stored.Verifier.Hash != ""; custom != strings.Contains(test.body, "custom") {
			t.Errorf("%s: stored %+v; want a custom secret as such", test.body, stored)
		}
	}
}

func TestAuthorization(t *testing.T) {
	e := newEnv(t)
	_, all, err := e.Accounts.CreateAPIKey(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	removed, removedToken, err := e.Accounts.CreateAPIKey(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Accounts.DeleteAPIKey(t.Context(), removed.ID); err != nil {
		t.Fatal(err)
	}
	here := path(3, 5, e.Registry.RegistryID)
	const body = `{"name":"u","duration":1}`
	for _, test := range []struct {
		name, path, token, body string
		status                  int
		class                   string
	}{
		{"no key", here, "", body, 401, "not_authenticated"},
		{"a wrong key", here, strconv.FormatInt(e.APIKey.ID, 10) + "$wrong", body, 401, "token_not_valid"},
		{"a removed key", here, removedToken.Reveal(), body, 401, "token_not_valid"},
		{"no token", here, "nonsense", body, 401, "token_not_valid"},
		{"no key before all else", "/cloud/v1/registries/x/y/z/users", "", "broken", 401, "not_authenticated"},
		{"broken before another project", path(4, 5, 1), e.APIToken.Reveal(), "broken", 400, "ValidationError"},
		{"another project", path(4, 5, e.Registry.RegistryID), e.APIToken.Reveal(), body, 403, "ForbiddenError"},
		{"another project, no registry", path(4, 5, 99), e.APIToken.Reveal(), body, 403, "ForbiddenError"},
		{"another project, the key for all", path(4, 5, e.Registry.RegistryID), all.Reveal(), body, 404, "NotFoundError"},
		{"another region", path(3, 6, e.Registry.RegistryID), e.APIToken.Reveal(), body, 404, "NotFoundError"},
		{"no registry", path(3, 5, 99), e.APIToken.Reveal(), body, 404, "NotFoundError"},
		{"no registry, custom secret", path(3, 5, 99), e.APIToken.Reveal(), `{"name":"u","duration":1,"secret":"s"}`, 404, "NotFoundError"},
		{"valid", here, e.APIToken.Reveal(), body, 201, ""},
		{"again", here, e.APIToken.Reveal(), body, 409, "ConflictError"},
		{"again, the key for all", here, all.Reveal(), body, 409, "ConflictError"},
		{"the key for all", here, all.Reveal(), `{"name":"v","duration":1}`, 201, ""},
	} {
		response, got := e.post(t, test.path, test.token, test.body)
		if response.StatusCode != test.status {
			t.Errorf("%s: %d %s; want %d", test.name, response.StatusCode, got, test.status)
			continue
		}
		var failure struct {
			Class     string `json:"exception_class"`
			Message   string `json:"message"`
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(got), &failure); err != nil {
			t.Fatal(err)
		}
		if id := response.Header.Get("X-Request-Id"); id == "" || test.status >= 400 && (failure.Class != test.class || failure.Message == "" || failure.RequestID != id) {
			t.Errorf("%s: %s with the request id %q; want the class %s, a message, and the same id", test.name, got, id, test.class)
		}
	}
	if users, err := e.Accounts.Users(t.Context(), accounts.Administrator, e.Registry); err != nil || len(users) != 2 {
		t.Errorf("Users() = %+v, %v; want the two whose creates got 201", users, err)
	}
}

func TestKeyRemovedBetweenRequests(t *testing.T) {
	e := newEnv(t)
	here := path(3, 5, e.Registry.RegistryID)
	if response, body := e.post(t, here, e.APIToken.Reveal(), `{"name":"a","duration":1}`); response.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s; want 201", response.StatusCode, body)
	}
	if err := e.Accounts.DeleteAPIKey(t.Context(), e.APIKey.ID); err != nil {
		t.Fatal(err)
	}
	if response, body := e.post(t, here, e.APIToken.Reveal(), `{"name":"b","duration":1}`); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d %s; want 401", response.StatusCode, body)
	}
}

func TestBadBodiesChangeNothing(t *testing.T) {
	e := newEnv(t)
	for _, body := range []string{
		``, `null`, `[]`, `{`, `"x"`, `{"name":"u","duration":1}x`, `{"name":"u","duration":1,"name":"v"}`,
		`{"name":"u"}`, `{"duration":1}`, `{"name":null,"duration":1}`, `{"name":"u","duration":null}`,
		`{"name":"U","duration":1}`, `{"name":"0123456789abcdefg","duration":1}`, `{"name":"u\n","duration":1}`,
		`{"name":"u","duration":-2}`, `{"name":"u","duration":366}`, `{"name":"u","duration":1.5}`,
		`{"name":"u","duration":"1"}`, `{"name":"u","duration":1e400}`, `{"name":"u","duration":1,"read_only":"yes"}`,
		`{"name":"u","duration":1,"secret":1}`, `{"Name":"u","Duration":1}`, "\ufeff" + `{"name":"u","duration":1}`,
		`{"name":"u","duration":1,"secret":"\ud800"}`, "{\"name\":\"u\",\"duration\":1,\"secret\":\"\xff\"}",
	} {
		if response, got := e.post(t, path(3, 5, e.Registry.RegistryID), e.APIToken.Reveal(), body); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d %s; want 400", body, response.StatusCode, got)
		}
	}
	if users, err := e.Accounts.Users(t.Context(), accounts.Administrator, e.Registry); err != nil || len(users) != 0 {
		t.Errorf("Users() = %+v, %v; want none", users, err)
	}
}

func TestRaceForOneName(t *testing.T) {
	e := newEnv(t)
	statuses := make([]int, 64)
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+path(3, 5, e.Registry.RegistryID), strings.NewReader(`{"name":"same","duration":1}`))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Authorization", "apikey "+e.APIToken.Reveal())
			response, err := e.Client().Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			statuses[i] = response.StatusCode
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	count := make(map[int]int)
	for _, status := range statuses {
		count[status]++
	}
	if count[201] != 1 || count[409] != 63 {
		t.Errorf("responses by status: %v; want 201 once and 409 63 times", count)
	}
}

// Log lines and files contain neither a caller's input nor a generated secret,
// and an error response does not repeat them.
func TestSecretsAndInputAreNotLoggedOrStored(t *testing.T) {
	e := newEnv(t)
	const marker = "mArKeR7f3a"
	here := path(3, 5, e.Registry.RegistryID)
	for _, test := range []struct{ path, token, body string }{
		{here, marker, `{}`},
		{here, "1$" + marker, `{"name":"u","duration":1}`},
		{"/cloud/v1/registries/" + marker + "/5/1/users", e.APIToken.Reveal(), `{}`},
		{"/" + marker, e.APIToken.Reveal(), `{}`},
		{here + "?" + marker + "=" + marker, e.APIToken.Reveal(), `{"name":"` + marker + `","duration":1}`},
		{here, e.APIToken.Reveal(), `{"name":"u","duration":"` + marker + `"}`},
		{here, e.APIToken.Reveal(), `{"name":"u","duration":1,"read_only":"` + marker + `"}`},
		{here, e.APIToken.Reveal(), `{"name":"u","duration":366,"secret":"` + marker + `"}`},
		{here, e.APIToken.Reveal(), `{"name":"u","duration":1,"secret":["` + marker + `"]}`},
		{here, e.APIToken.Reveal(), `{"` + marker + `":1,"` + marker + `":2}`},
		{here, e.APIToken.Reveal(), `{"name":"u","duration":1} ` + marker},
		{path(3, 5, 99), e.APIToken.Reveal(), `{"name":"u","duration":1,"secret":"` + marker + `"}`},
		{path(4, 5, 99), e.APIToken.Reveal(), `{"name":"u","duration":1,"secret":"` + marker + `"}`},
	} {
		response, body := e.post(t, test.path, test.token, test.body)
		if response.StatusCode < 400 || response.StatusCode >= 500 {
			t.Errorf("%s %s: %d %s; want the caller's error", test.path, test.body, response.StatusCode, body)
		}
		if strings.Contains(body, marker) {
			t.Errorf("%s %s: the response repeats the marker: %s", test.path, test.body, body)
		}
	}
	response, body := e.post(t, here, e.APIToken.Reveal(), `{"name":"good1","duration":1,"secret":"`+marker+`"}`)
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s; want 201", response.StatusCode, body)
	}
	response, body = e.post(t, here, e.APIToken.Reveal(), `{"name":"good2","duration":1}`)
	var generated struct{ Secret string }
	if err := json.Unmarshal([]byte(body), &generated); err != nil || response.StatusCode != http.StatusCreated || generated.Secret == "" {
		t.Fatalf("%d %s; want 201 and a secret", response.StatusCode, body)
	}

	_, keySecret, _ := strings.Cut(e.APIToken.Reveal(), "$")
	e.wantNowhere(t, "good1", marker, generated.Secret, keySecret)
}

// wantNowhere closes the server and checks that neither the log nor a file of the
// data directory contains the secrets. The name of a created user shows that the
// search finds what is there.
func (e *env) wantNowhere(t *testing.T, name string, secrets ...string) {
	t.Helper()
	e.Close() // then the log is complete
	places := map[string][]byte{"the log": []byte(e.Log.String())}
	err := fs.WalkDir(os.DirFS(e.Dir.Path), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			places[path], err = os.ReadFile(filepath.Join(e.Dir.Path, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(places["the log"], []byte("CreateUser")) || !bytes.Contains(places["registryusers.db-wal"], []byte(name)) {
		t.Fatal("the log or the database has not even what it should: the search is broken")
	}
	for place, data := range places {
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s has %q in it", place, secret)
			}
		}
	}
}
