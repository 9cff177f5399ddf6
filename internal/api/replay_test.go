package api_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
)

// wantStatus is the response to a create.
type wantStatus struct {
	status   int
	replayed []string // the values of the header
	body     string
	header   http.Header
}

// request returns a create with these Idempotency-Keys.
func (e *env) request(t *testing.T, path, body string, keys ...string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "apikey "+e.APIToken.Reveal())
	if keys != nil {
		request.Header["Idempotency-Key"] = keys
	}
	return request
}

// create sends a create over the wire.
func (e *env) create(t *testing.T, path, body string, keys ...string) wantStatus {
	t.Helper()
	response, err := e.Client().Do(e.request(t, path, body, keys...))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return wantStatus{response.StatusCode, response.Header.Values("Idempotent-Replayed"), string(data), response.Header}
}

// here returns the path of the env's registry.
func (e *env) here() string { return path(3, 5, e.Registry.RegistryID) }

// wantCreated checks that a response is a 201 that is no replay.
func wantCreated(t *testing.T, what string, got wantStatus) {
	t.Helper()
	if got.status != http.StatusCreated || len(got.replayed) > 0 {
		t.Fatalf("%s: %d %s, Idempotent-Replayed %q; want 201 without it", what, got.status, got.body, got.replayed)
	}
}

// wantReplay checks that a response is the first one, byte for byte.
func wantReplay(t *testing.T, what string, got, first wantStatus) {
	t.Helper()
	if got.status != http.StatusCreated || len(got.replayed) != 1 || got.replayed[0] != "true" {
		t.Errorf("%s: %d %s, Idempotent-Replayed %q; want 201 with the one value true", what, got.status, got.body, got.replayed)
	}
	if got.body != first.body {
		t.Errorf("%s: %s; want the first response, %s", what, got.body, first.body)
	}
	if a, b := got.header.Get("Content-Type"), first.header.Get("Content-Type"); a != b {
		t.Errorf("%s: the content type %q; want the first one's, %q", what, a, b)
	}
	if a, b := got.header.Get("X-Request-Id"), first.header.Get("X-Request-Id"); a == "" || a == b {
		t.Errorf("%s: the request id %q; want one of its own, not %q", what, a, b)
	}
}

// wantError checks that a response is an error in the document's form, and
// returns it.
func wantError(t *testing.T, what string, got wantStatus, status int, class string) (failure struct {
	Class         string              `json:"exception_class"`
	Message       string              `json:"message"`
	RequestID     string              `json:"request_id"`
	InvalidFields map[string][]string `json:"invalid_fields"`
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(got.body), &failure); err != nil {
		t.Errorf("%s: %q: %v", what, got.body, err)
	}
	if got.status != status || failure.Class != class || failure.Message == "" || failure.RequestID == "" || failure.RequestID != got.header.Get("X-Request-Id") {
		t.Errorf("%s: %d %s, request id %q; want %d, the class %s, a message and the same id", what, got.status, got.body, got.header.Get("X-Request-Id"), status, class)
	}
	if len(got.replayed) > 0 {
		t.Errorf("%s: Idempotent-Replayed %q with an error", what, got.replayed)
	}
	return failure
}

func (e *env) wantUsers(t *testing.T, what string, want int) {
	t.Helper()
	if users, err := e.Accounts.Users(t.Context(), accounts.Administrator, e.Registry); err != nil || len(users) != want {
		t.Errorf("%s: %d users, %v; want %d", what, len(users), err, want)
	}
}

func TestRepeatedCreateOverTheWire(t *testing.T) {
	e := newEnv(t)
	for i, body := range []string{
		`{"name":"generated","duration":14}`,
		`{"name":"","duration":-1,"read_only":true}`,
		`{"name":"custom","duration":0,"secret":"custom & <kept> \u00e4"}`,
	} {
		key := "key" + string(rune('0'+i))
		first := e.create(t, e.here(), body, key)
		wantCreated(t, body, first)
		for range 2 {
			wantReplay(t, body, e.create(t, e.here(), body, key), first)
		}
		wantError(t, body+" without the key", e.create(t, e.here(), body), 409, "ConflictError")
		wantError(t, body+" with another key", e.create(t, e.here(), body, "another"), 409, "ConflictError")
	}
	e.wantUsers(t, "in the end", 3)
}

func TestTheSameRequestByValue(t *testing.T) {
	e := newEnv(t)
	first := e.create(t, e.here(), `{"name":"u","duration":14}`, "key")
	wantCreated(t, "the first", first)
	for _, body := range []string{
		`{"name":"u","duration":14.0}`,
		`{"name":"u","duration":1.4e1}`,
		`{"name":"u","duration":140e-1}`,
		`{"name":"u","duration":14,"read_only":false}`,
		`{"name":"u","duration":14,"secret":""}`,
		`{"secret":"","read_only":false,"duration":14,"name":"u"}`,
		" {\n\t\"name\" : \"\\u0075\", \"duration\" : 14 }\r\n",
		`{"name":"u","duration":14,"extra":1}`,
		`{"name":"u","duration":14,"extra":{"name":"v","duration":1},"Duration":1,"SECRET":"x"}`,
	} {
		wantReplay(t, body, e.create(t, e.here(), body, "key"), first)
	}
	escaped := strings.Replace(e.here(), "/3/5/", "/%33/5/", 1)
	wantReplay(t, "the path, escaped", e.create(t, escaped, `{"name":"u","duration":14}`, "key"), first)
	wantReplay(t, "spaces around the key", e.create(t, e.here(), `{"name":"u","duration":14}`, "  key "), first)
	e.wantUsers(t, "in the end", 1)
}

func TestAnotherRequestWithTheSameKeyIs422(t *testing.T) {
	e := newEnv(t)
	first := e.create(t, e.here(), `{"name":"u","duration":14}`, "key")
	wantCreated(t, "the first", first)
	custom := e.create(t, e.here(), `{"name":"v","duration":14,"secret":"custom-one"}`, "custom")
	wantCreated(t, "the custom secret", custom)
	for _, test := range []struct{ key, body string }{
		{"key", `{"name":"u","duration":15}`},
		{"key", `{"name":"u","duration":14,"read_only":true}`},
		{"key", `{"name":"u0","duration":14}`},
		{"key", `{"name":"u","duration":14,"secret":"marked-secret"}`},
		{"custom", `{"name":"v","duration":14,"secret":"marked-secret"}`},
		{"custom", `{"name":"v","duration":14}`},
	} {
		got := e.create(t, e.here(), test.body, test.key)
		failure := wantError(t, test.body, got, 422, "ValidationError")
		if !strings.Contains(failure.Message, "Idempotency-Key") {
			t.Errorf("%s: the message %q; want it to name Idempotency-Key", test.body, failure.Message)
		}
		for _, word := range []string{"marked", "custom-one", `"` + test.key + `"`, "14"} {
			if strings.Contains(got.body, word) {
				t.Errorf("%s: %s; want no word of either request", test.body, got.body)
			}
		}
	}
	e.wantUsers(t, "in the end", 2)
	wantReplay(t, "the first request", e.create(t, e.here(), `{"name":"u","duration":14}`, "key"), first)
	wantReplay(t, "the custom secret", e.create(t, e.here(), `{"name":"v","duration":14,"secret":"custom-one"}`, "custom"), custom)
}

func TestRepeatAfterTheUserWasChangedIs409(t *testing.T) {
	for what, change := range map[string]func(e *env, u accounts.User) error{
		"deleted": func(e *env, u accounts.User) error {
			return e.Accounts.DeleteUser(t.Context(), accounts.Administrator, e.Registry, u.ID)
		},
		"given a new secret": func(e *env, u accounts.User) error {
			_, _, err := e.Accounts.UpdateUser(t.Context(), accounts.Administrator, e.Registry, u.ID, accounts.UserUpdate{NewSecret: true})
			return err
		},
	} {
		e := newEnv(t)
		const body = `{"name":"u","duration":14}`
		wantCreated(t, what, e.create(t, e.here(), body, "key"))
		u, err := e.Accounts.User(t.Context(), accounts.Administrator, e.Registry, "u")
		if err != nil {
			t.Fatal(err)
		}
		if err := change(e, u); err != nil {
			t.Fatal(err)
		}
		got := e.create(t, e.here(), body, "key")
		failure := wantError(t, what, got, 409, "ConflictError")
		if strings.Contains(failure.Message, "already exists") || !strings.Contains(failure.Message, "since") {
			t.Errorf("%s: the message %q; want it to say that the user has changed since", what, failure.Message)
		}
		if retry := got.header.Get("X-Should-Retry"); retry != "false" {
			t.Errorf("%s: x-should-retry %q; want false", what, retry)
		}
	}
}

func TestOneRequestManyTimesAtOnceOverTheWire(t *testing.T) {
	e := newEnv(t)
	responses := make([]wantStatus, 64)
	var wg sync.WaitGroup
	for i := range responses {
		request := e.request(t, e.here(), `{"name":"u","duration":14}`, "key")
		wg.Go(func() {
			response, err := e.Client().Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			data, err := io.ReadAll(response.Body)
			if err != nil {
				t.Error(err)
			}
			responses[i] = wantStatus{response.StatusCode, response.Header.Values("Idempotent-Replayed"), string(data), response.Header}
		})
	}
	wg.Wait()
	firsts := 0
	for _, a := range responses {
		if a.status != http.StatusCreated || a.body != responses[0].body {
			t.Errorf("%d %s; want 201 and %s", a.status, a.body, responses[0].body)
		}
		if len(a.replayed) == 0 {
			firsts++
		}
	}
	if firsts != 1 {
		t.Errorf("%d of %d responses are without Idempotent-Replayed; want one", firsts, len(responses))
	}
	e.wantUsers(t, "in the end", 1)
}

func TestValidIdempotencyKeys(t *testing.T) {
	e := newEnv(t)
	var all strings.Builder // every visible character
	for c := '!'; c <= '~'; c++ {
		all.WriteRune(c)
	}
	for i, key := range []string{
		"!", "~", "0", ",", `"`, `"quoted"`, "a,b", "%00", "null", all.String(), strings.Repeat("k", 255), strings.Repeat("~", 255),
	} {
		body := `{"name":"u` + string(rune('a'+i)) + `","duration":1}`
		first := e.create(t, e.here(), body, key)
		wantCreated(t, key, first)
		wantReplay(t, key, e.create(t, e.here(), body, key), first)
	}
	e.wantUsers(t, "in the end", 12)
}

func TestInvalidIdempotencyKeys(t *testing.T) {
	e := newEnv(t)
	const body = `{"name":"u","duration":1}`
	const marker = "mArKeR"
	for what, keys := range map[string][]string{
		"empty":                {""},
		"256 characters":       {marker + strings.Repeat("k", 250)},
		"10,000 characters":    {marker + strings.Repeat("k", 9994)},
		"a space":              {marker + " x"},
		"a tab":                {marker + "\tx"},
		"not ASCII":            {marker + "ü"},
		"not UTF-8":            {marker + "\xff"},
		"fullwidth letters":    {marker + "\uff41"},
		"DEL":                  {marker + "\x7f"},
		"NUL":                  {marker + "\x00"},
		"a line's end":         {marker + "\n"},
		"two":                  {marker, "other"},
		"the same twice":       {marker, marker},
		"a valid one and none": {marker, ""},
		"none and a valid one": {"", marker},
		"two, together 255":    {strings.Repeat("k", 127), strings.Repeat("k", 127)},
		"two, one of them bad": {marker, "a b"},
	} {
		// Call the handler directly: not all of these can be sent over a connection.
		request := httptest.NewRequest(http.MethodPost, e.here(), strings.NewReader(body))
		request.Header = e.request(t, e.here(), body, keys...).Header
		w := httptest.NewRecorder()
		e.Config.Handler.ServeHTTP(w, request)
		got := wantStatus{w.Code, w.Header().Values("Idempotent-Replayed"), w.Body.String(), w.Header()}
		failure := wantError(t, what, got, 400, "ValidationError")
		if len(failure.InvalidFields["Idempotency-Key"]) == 0 {
			t.Errorf("%s: %s; want Idempotency-Key named", what, got.body)
		}
		if strings.Contains(got.body, marker) || strings.Contains(got.body, "kkk") || strings.Contains(got.body, "other") {
			t.Errorf("%s: %s; want the value not repeated", what, got.body)
		}
	}
	for what, keys := range map[string][]string{"empty": {""}, "a space": {"a b"}, "two": {"a", "b"}, "not ASCII": {"ü"}, "256 characters": {strings.Repeat("k", 256)}} {
		wantError(t, what+", over the wire", e.create(t, e.here(), body, keys...), 400, "ValidationError")
	}
	// net/http's server itself refuses these, which its client does not send.
	for what, key := range map[string]string{"DEL": "a\x7f", "NUL": "a\x00"} {
		conn, err := net.Dial("tcp", e.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		raw := "POST " + e.here() + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: apikey " + e.APIToken.Reveal() +
			"\r\nIdempotency-Key: " + key + "\r\nContent-Length: 25\r\n\r\n" + body
		if _, err := io.WriteString(conn, raw); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s, over the wire: %+v, %v; want 400", what, response, err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	e.wantUsers(t, "in the end", 0)
}

// An Idempotency-Key does not change the order of errors.
func TestOrderOfErrorsWithIdempotencyKeys(t *testing.T) {
	e := newEnv(t)
	const valid = `{"name":"u","duration":1}`
	wantCreated(t, "the first", e.create(t, e.here(), valid, "used"))
	for _, test := range []struct {
		what, path, body, key string
		status                int
		class                 string
	}{
		{"a bad key and a bad body", e.here(), `{"name":"U"}`, "a b", 400, "ValidationError"},
		{"a used key and a bad body", e.here(), `{"name":"U","duration":1}`, "used", 400, "ValidationError"},
		{"a bad key in another project", path(4, 5, 1), valid, "a b", 400, "ValidationError"},
		{"a used key in another project", path(4, 5, e.Registry.RegistryID), valid, "used", 403, "ForbiddenError"},
		{"a used key for no registry", path(3, 5, 99), valid, "used", 404, "NotFoundError"},
	} {
		wantError(t, test.what, e.create(t, test.path, test.body, test.key), test.status, test.class)
	}
	request := e.request(t, e.here(), valid, "a b")
	request.Header.Del("Authorization")
	response, err := e.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad key without an API key: %d; want 401", response.StatusCode)
	}
	e.wantUsers(t, "in the end", 1)
}

func TestIdempotencyKeysAreKeptAndLoggedNowhere(t *testing.T) {
	e := newEnv(t)
	const marker = "mArKeR7f3a"
	const body = `{"name":"goodname","duration":1}`
	wantCreated(t, "the first", e.create(t, e.here(), body, marker))
	for what, got := range map[string]wantStatus{
		"the repeat":         e.create(t, e.here(), body, marker),
		"another request":    e.create(t, e.here(), `{"name":"v","duration":1}`, marker),
		"a name taken":       e.create(t, e.here(), body, marker+"2"),
		"no registry":        e.create(t, path(3, 5, 99), body, marker),
		"another project":    e.create(t, path(4, 5, 1), body, marker),
		"a bad body":         e.create(t, e.here(), `{}`, marker),
		"a bad key":          e.create(t, e.here(), body, marker+" x"),
		"two keys":           e.create(t, e.here(), body, marker, marker),
		"a key too long":     e.create(t, e.here(), body, marker+strings.Repeat("k", 250)),
		"no route":           e.create(t, "/nothing", body, marker),
		"ids that are wrong": e.create(t, "/cloud/v1/registries/x/y/z/users", body, marker),
	} {
		if strings.Contains(got.body, marker) {
			t.Errorf("%s: the response repeats the key: %s", what, got.body)
		}
	}
	e.wantNowhere(t, "goodname", marker)
}
