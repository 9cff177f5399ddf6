package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
)

// The tests must not see the environment that they run in.
func TestMain(m *testing.M) {
	for _, name := range []string{"GCORE_API_KEY", "GCORE_BASE_URL", "GCORE_CLOUD_PROJECT_ID", "GCORE_CLOUD_REGION_ID", "GCORE_CUSTOM_HEADERS"} {
		if err := os.Unsetenv(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const apiKey = "7$ApIkEy-Xq81"

// newClient returns a client of project 3 and region 5.
func newClient(t *testing.T, baseURL string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(append([]client.Option{
		client.WithBaseURL(baseURL), client.WithAPIKey(apiKey), client.WithProject(3), client.WithRegion(5), client.WithoutRetry(),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newServer starts a server with the handler.
func newServer(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// wantError checks that err is an *Error with the status, and returns it.
func wantError(t *testing.T, what string, err error, status int) *client.Error {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Fatalf("%s: %v (%T); want an *Error with the status %d", what, err, err, status)
	}
	if e.Status != status {
		t.Errorf("%s: status %d; want %d", what, e.Status, status)
	}
	return e
}

// wantNoSecret checks that no form of the error shows a secret.
func wantNoSecret(t *testing.T, what string, err error, secrets ...string) {
	t.Helper()
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %s; want %q nowhere in it", what, text, secret)
			}
		}
	}
}

var noon = time.Date(2024, 6, 18, 12, 0, 0, 123_456_000, time.UTC)

// newEnv starts this project's server with a registry in project 3 and region 5.
func newEnv(t *testing.T) *apptest.Env {
	t.Helper()
	return apptest.New(t, apptest.Options{ProjectID: 3, RegionID: 5, Start: noon})
}

func TestRealServer(t *testing.T) {
	s := newEnv(t)
	c := newClient(t, s.URL, client.WithAPIKey(s.APIToken.Reveal()))

	generated, err := c.CreateUser(t.Context(), s.Registry.RegistryID, client.NewUser{Name: "generated", Days: 14, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(generated.Secret.Reveal()) != 32 {
		t.Errorf("the generated secret has %d letters; want 32", len(generated.Secret.Reveal()))
	}
	want := client.CreatedUser{
		User:   client.User{ID: 1, Name: "generated", ReadOnly: true, Days: 14, CreatedAt: noon, ExpiresAt: noon.Add(14 * 24 * time.Hour)},
		Secret: generated.Secret,
	}
	if !cmp.Equal(generated, want) {
		t.Errorf("CreateUser = %+v; want %+v", generated, want)
	}
	if end, ends := generated.Expires(); !ends || !end.Equal(want.ExpiresAt) {
		t.Errorf("Expires() = %v, %t; want %v, true", end, ends, want.ExpiresAt)
	}

	const secret = `custom "secret" <&> ü`
	custom, err := c.CreateUser(t.Context(), s.Registry.RegistryID, client.NewUser{Days: client.Never, Secret: registryusers.NewSecret(secret)})
	if err != nil {
		t.Fatal(err)
	}
	if custom.Name != "" || custom.Days != client.Never || custom.ReadOnly || custom.Secret.Reveal() != secret {
		t.Errorf("CreateUser = %+v with the secret %q; want the empty name, -1 days, and %q", custom, custom.Secret.Reveal(), secret)
	}
	if end, ends := custom.Expires(); ends {
		t.Errorf("Expires() = %v, %t; want never", end, ends)
	}
	if u, err := s.Accounts.User(t.Context(), accounts.Administrator, s.Registry, "generated"); err != nil || u.ID != generated.ID || !u.ReadOnly {
		t.Errorf("the server has %+v, %v; want %+v", u, err, generated)
	}
}

func TestRealServersErrors(t *testing.T) {
	s := newEnv(t)
	c := newClient(t, s.URL, client.WithAPIKey(s.APIToken.Reveal()))
	if _, err := c.CreateUser(t.Context(), s.Registry.RegistryID, client.NewUser{Name: "taken", Days: 1}); err != nil {
		t.Fatal(err)
	}
	valid := client.NewUser{Name: "new", Days: 1}
	for _, test := range []struct {
		name     string
		registry int64
		user     client.NewUser
		option   client.Option
		status   int
		is, not  error
		class    string
		fields   []string
	}{
		{name: "taken", user: client.NewUser{Name: "taken", Days: 1}, status: 409, is: registryusers.ErrUserExists, not: registryusers.ErrRegistryExists, class: "ConflictError"},
		{name: "no registry", registry: 99, user: valid, status: 404, is: registryusers.ErrRegistryNotFound, not: registryusers.ErrUserNotFound, class: "NotFoundError"},
		{name: "another region", user: valid, option: client.WithRegion(6), status: 404, is: registryusers.ErrRegistryNotFound, class: "NotFoundError"},
		{name: "another project", user: valid, option: client.WithProject(4), status: 403, is: registryusers.ErrForbidden, class: "ForbiddenError"},
		{name: "wrong key", user: valid, option: client.WithAPIKey(apiKey), status: 401, is: registryusers.ErrUnauthenticated, class: "token_not_valid"},
		{name: "bad name", user: client.NewUser{Name: "Capital", Days: 1}, status: 400, is: registryusers.ErrInvalid, class: "ValidationError", fields: []string{"name"}},
		{name: "two bad fields", user: client.NewUser{Name: "-", Days: 366}, status: 400, is: registryusers.ErrInvalid, class: "ValidationError", fields: []string{"duration", "name"}},
		{name: "too large", user: client.NewUser{Name: "new", Secret: registryusers.NewSecret(strings.Repeat("s", 1<<20))}, status: 413, not: registryusers.ErrInvalid, class: "HTTPError"},
		{name: "wrong base", user: valid, option: client.WithBaseURL(s.URL + "/base"), status: 404, is: registryusers.ErrNotFound, not: registryusers.ErrRegistryNotFound, class: "NotFoundError"},
	} {
		if test.registry == 0 {
			test.registry = s.Registry.RegistryID
		}
		var options []client.Option
		if test.option != nil {
			options = append(options, test.option)
		}
		u, err := c.CreateUser(t.Context(), test.registry, test.user, options...)
		e := wantError(t, test.name, err, test.status)
		if test.is != nil && !errors.Is(err, test.is) || test.not != nil && errors.Is(err, test.not) {
			t.Errorf("%s: %v; want it to be %v and not %v", test.name, err, test.is, test.not)
		}
		if e.Class != test.class || e.Message == "" || e.RequestID == "" {
			t.Errorf("%s: %+v; want the class %s, a message and a request id", test.name, e, test.class)
		}
		if got := slices.Sorted(maps.Keys(e.InvalidFields)); !slices.Equal(got, test.fields) {
			t.Errorf("%s: invalid fields %q; want %q", test.name, got, test.fields)
		}
		if !cmp.Equal(u, client.CreatedUser{}) {
			t.Errorf("%s: CreateUser = %+v; want no user with an error", test.name, u)
		}
	}
	if users, err := s.Accounts.Users(t.Context(), accounts.Administrator, s.Registry); err != nil || len(users) != 1 {
		t.Errorf("the server has %+v, %v; want only the first user", users, err)
	}
}

// The client returns the two errors of an Idempotency-Key, not only the
// general errors of their statuses.
func TestRealServersErrorsOfAnIdempotencyKey(t *testing.T) {
	s := newEnv(t)
	c := newClient(t, s.URL, client.WithAPIKey(s.APIToken.Reveal()))
	create := func(days int64) error {
		_, err := c.CreateUser(t.Context(), s.Registry.RegistryID, client.NewUser{Name: "u", Days: days}, client.WithIdempotencyKey("k-1"))
		return err
	}
	if err := create(14); err != nil {
		t.Fatal(err)
	}
	if err := create(15); !errors.Is(err, registryusers.ErrIdempotencyKeyReused) {
		t.Errorf("another request with the key: %v; want %v", err, registryusers.ErrIdempotencyKeyReused)
	}
	u, err := s.Accounts.User(t.Context(), accounts.Administrator, s.Registry, "u")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Accounts.DeleteUser(t.Context(), accounts.Administrator, s.Registry, u.ID); err != nil {
		t.Fatal(err)
	}
	if err := create(14); !errors.Is(err, registryusers.ErrUserChanged) || errors.Is(err, registryusers.ErrUserExists) {
		t.Errorf("a repeat after the user was removed: %v; want %v and not %v", err, registryusers.ErrUserChanged, registryusers.ErrUserExists)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := newEnv(t)
	c := newClient(t, s.URL, client.WithAPIKey(s.APIToken.Reveal()))
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			if i%4 == 3 { // one with settings of its own, which fails
				_, err := c.CreateUser(t.Context(), s.Registry.RegistryID, client.NewUser{Name: "same", Days: 1}, client.WithProject(4), client.WithUserAgent("other"))
				if !errors.Is(err, registryusers.ErrForbidden) {
					t.Errorf("CreateUser in another project: %v; want %v", err, registryusers.ErrForbidden)
				}
				errs[i] = registryusers.ErrUserExists
				return
			}
			_, errs[i] = c.CreateUser(t.Context(), s.Registry.RegistryID, client.NewUser{Name: "same", Days: 1})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, registryusers.ErrUserExists) {
			t.Errorf("CreateUser: %v; want nil or %v", err, registryusers.ErrUserExists)
		}
	}
	if won != 1 {
		t.Errorf("%d creates of one name succeeded; want 1", won)
	}
}

// created is a response that conforms to the document.
const created = `{"id":1,"name":"u","read_only":false,"duration":14,"created_at":"2024-06-18T09:36:53.335000Z","expires_at":"2024-07-02T09:36:53.335000Z","secret":"MaDeSecret"}`

func TestRequest(t *testing.T) {
	type request struct {
		method, uri, body string
		header            http.Header
	}
	var got request
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = request{r.Method, r.RequestURI, string(body), r.Header}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, created)
	})
	for _, test := range []struct {
		name      string
		base      string
		registry  int64
		user      client.NewUser
		options   []client.Option
		uri, body string
		agent     string
	}{
		{
			name: "least", registry: 9,
			uri: "/cloud/v1/registries/3/5/9/users", body: `{"duration":0,"name":""}`, agent: "registryusers",
		},
		{
			name: "all", registry: 9, user: client.NewUser{Name: "u", Days: 14, ReadOnly: true, Secret: registryusers.NewSecret("cHoSeN")},
			uri: "/cloud/v1/registries/3/5/9/users", body: `{"duration":14,"name":"u","read_only":true,"secret":"cHoSeN"}`, agent: "registryusers",
		},
		{
			name: "options", base: "/a/base", registry: 1<<63 - 1, options: []client.Option{client.WithProject(1<<63 - 2), client.WithRegion(-1), client.WithUserAgent("mine/1.0")},
			uri: "/a/base/cloud/v1/registries/9223372036854775806/-1/9223372036854775807/users", body: `{"duration":0,"name":""}`, agent: "mine/1.0",
		},
		{
			name: "slash", base: "/a/base/", registry: 9,
			uri: "/a/base/cloud/v1/registries/3/5/9/users", body: `{"duration":0,"name":""}`, agent: "registryusers",
		},
	} {
		c := newClient(t, s.URL+test.base, test.options...)
		if _, err := c.CreateUser(t.Context(), test.registry, test.user); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got.method != http.MethodPost || got.uri != test.uri || got.body != test.body {
			t.Errorf("%s: %s %s %s; want POST %s %s", test.name, got.method, got.uri, got.body, test.uri, test.body)
		}
		for name, want := range map[string]string{
			"Authorization": "apikey " + apiKey, "Content-Type": "application/json", "Accept": "application/json", "User-Agent": test.agent,
		} {
			if values := got.header[name]; !slices.Equal(values, []string{want}) {
				t.Errorf("%s: header %s: %q; want %q", test.name, name, values, want)
			}
		}
	}
}

func TestVendorsResponse(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       client.User
		ends       bool
	}{
		{
			"with an end",
			`{"id":123456789012,"name":"r_4711-3-5-demo+user1","read_only":true,"duration":14,"created_at":"2024-06-18T09:36:53.335000Z","expires_at":"2024-07-02T09:36:53.335000Z","secret":"s"}`,
			client.User{
				ID: 123456789012, Name: "r_4711-3-5-demo+user1", ReadOnly: true, Days: 14,
				CreatedAt: time.Date(2024, 6, 18, 9, 36, 53, 335_000_000, time.UTC), ExpiresAt: time.Date(2024, 7, 2, 9, 36, 53, 335_000_000, time.UTC),
			},
			true,
		},
		{
			"never ends",
			`{"id":1,"name":"r_4711-3-5-demo+","read_only":false,"duration":-1,"created_at":"2024-06-18T09:36:53+00:00","expires_at":"1969-12-31T23:59:59Z","secret":"s"}`,
			client.User{
				ID: 1, Name: "r_4711-3-5-demo+", Days: -1,
				CreatedAt: time.Date(2024, 6, 18, 9, 36, 53, 0, time.UTC), ExpiresAt: time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC),
			},
			false,
		},
		{
			"fields of a later day",
			`{"id":1,"name":"u","read_only":false,"duration":1,"created_at":"2024-06-18T11:36:53.5+02:00","expires_at":"2024-06-19T11:36:53.5+02:00","secret":"s","new":{"x":[1]}}`,
			client.User{
				ID: 1, Name: "u", Days: 1,
				CreatedAt: time.Date(2024, 6, 18, 9, 36, 53, 500_000_000, time.UTC), ExpiresAt: time.Date(2024, 6, 19, 9, 36, 53, 500_000_000, time.UTC),
			},
			true,
		},
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, test.body)
		})
		got, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "user1", Days: 14})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got.Secret.Reveal() != "s" {
			t.Errorf("%s: the secret is %q; want s", test.name, got.Secret.Reveal())
		}
		if end, ends := got.Expires(); ends != test.ends || ends && !end.Equal(test.want.ExpiresAt) {
			t.Errorf("%s: Expires() = %v, %t; want %t", test.name, end, ends, test.ends)
		}
		if diff := cmp.Diff(test.want, got.User); diff != "" {
			t.Errorf("%s: the user differs (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestExpires(t *testing.T) {
	east := time.FixedZone("east", 14*3600)
	for _, test := range []struct {
		expires time.Time
		days    int64
		ends    bool
	}{
		{time.Date(2024, 7, 2, 0, 0, 0, 0, time.UTC), 14, true},
		{time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), 0, true},
		{time.Date(9998, 12, 31, 23, 59, 59, 0, time.UTC), 1, true},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), 365, false},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), -1, false},
		{accounts.Never, 365, false},
		{accounts.Never.In(time.FixedZone("east", 14*3600)), 365, false},
		{time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), -1, false},
		{time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), 14, false},
		{time.Date(1970, 1, 1, 13, 59, 59, 0, east), 14, false}, // 1969 in UTC
		{time.Date(2024, 7, 2, 0, 0, 0, 0, time.UTC), -1, false},
		{time.Time{}, 14, false},
	} {
		end, ends := client.User{Days: test.days, ExpiresAt: test.expires}.Expires()
		want := time.Time{}
		if test.ends {
			want = test.expires
		}
		if ends != test.ends || !end.Equal(want) {
			t.Errorf("%v, %d days: Expires() = %v, %t; want %v, %t", test.expires, test.days, end, ends, want, test.ends)
		}
	}
}

func TestStatusToError(t *testing.T) {
	for status, want := range map[int]error{
		200: client.ErrOutcomeUnknown, 202: client.ErrOutcomeUnknown, 204: client.ErrOutcomeUnknown, 300: nil, 304: nil, 307: nil, 402: nil, 405: nil, 413: nil, 415: nil, 418: nil, 451: nil,
		400: registryusers.ErrInvalid,
		401: registryusers.ErrUnauthenticated,
		403: registryusers.ErrForbidden,
		404: registryusers.ErrRegistryNotFound,
		409: registryusers.ErrUserExists,
		422: registryusers.ErrInvalid,
		429: registryusers.ErrTooManyRequests,
		500: registryusers.ErrInternal,
		501: registryusers.ErrNotImplemented,
		502: registryusers.ErrUnavailable,
		503: registryusers.ErrUnavailable,
		504: registryusers.ErrUnavailable,
		599: registryusers.ErrInternal,
	} {
		for _, body := range []string{`{"exception_class":"C","message":"m","request_id":"r"}`, created, "", "<html>"} {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
			_, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
			e := wantError(t, body, err, status)
			got := e.Unwrap()
			if want != nil && !slices.Contains(got, want) || want == nil && len(got) > 0 {
				t.Errorf("%d %s: %v; want %v", status, body, got, want)
			}
			if !strings.Contains(err.Error(), strconv.Itoa(status)) {
				t.Errorf("%d %s: %v; want the status in it", status, body, err)
			}
			s.Close()
		}
	}
	for err, general := range map[error]error{registryusers.ErrRegistryNotFound: registryusers.ErrNotFound, registryusers.ErrUserExists: registryusers.ErrExists} {
		if !errors.Is(err, general) {
			t.Errorf("%v is not %v", err, general)
		}
	}
}

func TestErrorsFieldsAndText(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		header string // X-Request-Id
		body   string
		want   client.Error
		text   string
	}{
		{
			"all", 400, "header-id",
			`{"exception_class":"ValidationError","message":"bad","request_id":"body-id","invalid_fields":{"name":["too long","capital"],"duration":["too much"]}}`,
			client.Error{Class: "ValidationError", Message: "bad", RequestID: "body-id", InvalidFields: map[string][]string{"name": {"too long", "capital"}, "duration": {"too much"}}},
			"create user: bad (400); duration too much; name too long, capital [request body-id]",
		},
		{
			"no request id in the body", 409, "header-id", `{"exception_class":"ConflictError","message":"user already exists"}`,
			client.Error{Class: "ConflictError", Message: "user already exists", RequestID: "header-id"},
			"create user: user already exists (409) [request header-id]",
		},
		{
			"a proxy's page", 502, "", "<html><body>\n<h1>502 Bad Gateway</h1></body></html>",
			client.Error{Message: "bad gateway"},
			"create user: bad gateway (502); outcome unknown, it may have been done or not",
		},
		{
			"half a JSON", 409, "header-id", `{"exception_class":"ConflictError","message":"user alr`,
			client.Error{Message: "conflict", RequestID: "header-id"},
			"create user: conflict (409) [request header-id]",
		},
		{"nothing", 404, "", "", client.Error{Message: "not found"}, "create user: not found (404)"},
		{"null", 404, "", "null", client.Error{Message: "not found"}, "create user: not found (404)"},
		{"another JSON", 500, "", `["x"]`, client.Error{Message: "internal server error"}, "create user: internal server error (500); outcome unknown, it may have been done or not"},
		{"another form", 403, "", `{"detail":"no"}`, client.Error{Message: "forbidden"}, "create user: forbidden (403)"},
		{
			"no content", 204, "", "",
			client.Error{Message: `the server responded "No Content", not "Created": check that the base URL is the API's`},
			`create user: the server responded "No Content", not "Created": check that the base URL is the API's (204); outcome unknown, it may have been done or not`,
		},
		{
			"another success", 200, "", created,
			client.Error{Message: `the server responded "OK", not "Created": check that the base URL is the API's`},
			`create user: the server responded "OK", not "Created": check that the base URL is the API's (200); outcome unknown, it may have been done or not`,
		},
		{
			"half a JSON with success", 201, "header-id", created[:len(created)-10],
			client.Error{Message: "it was done, but the response is not the JSON that the document declares", RequestID: "header-id"},
			"create user: it was done, but the response is not the JSON that the document declares (201) [request header-id]",
		},
		{
			"nothing with success", 201, "", "",
			client.Error{Message: "it was done, but the response is not the JSON that the document declares"},
			"create user: it was done, but the response is not the JSON that the document declares (201)",
		},
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			if test.header != "" {
				w.Header().Set("X-Request-Id", test.header)
			}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		u, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
		e := wantError(t, test.name, err, test.status)
		if e.Class != test.want.Class || e.Message != test.want.Message || e.RequestID != test.want.RequestID || !reflect.DeepEqual(e.InvalidFields, test.want.InvalidFields) {
			t.Errorf("%s: %+v; want %+v", test.name, *e, test.want)
		}
		if got := err.Error(); got != test.text {
			t.Errorf("%s: %q; want %q", test.name, got, test.text)
		}
		if !cmp.Equal(u, client.CreatedUser{}) {
			t.Errorf("%s: CreateUser = %+v; want no user with an error", test.name, u)
		}
	}
}

// A 201 that lacks fields of a user is no success: the secret would be lost silently.
func TestSuccessThatLacksTheUser(t *testing.T) {
	for _, body := range []string{
		`{}`, `null`, `{"message":"welcome"}`,
		`{"id":1,"name":"u","read_only":false,"duration":14,"created_at":"2024-06-18T09:36:53Z","expires_at":"2024-07-02T09:36:53Z"}`,
		`{"id":1,"name":"u","read_only":false,"duration":14,"created_at":"2024-06-18T09:36:53Z","expires_at":"2024-07-02T09:36:53Z","secret":""}`,
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, body)
		})
		u, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u", Days: 14})
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != http.StatusCreated || !strings.Contains(e.Message, "it was done") {
			t.Errorf("201 with %s: %+v, %v; want an *Error that says it was done", body, u, err)
		}
	}
}

// A server's text must not add lines to a log, or control a terminal.
func TestErrorIsOneLineOfText(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"exception_class":"C","message":"one\ntwo\r\u001b[31m","request_id":"a\nb","invalid_fields":{"n\nm":["x\u0000y"]}}`)
	})
	_, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
	wantError(t, "control characters", err, http.StatusBadRequest)
	if text := err.Error(); strings.ContainsFunc(text, unicode.IsControl) || !strings.Contains(text, "one") || !strings.Contains(text, "two") {
		t.Errorf("Error() = %q; want one line, no control characters", text)
	}
}

// transport responds to requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// body is a response's body that counts the bytes read from it.
type body struct {
	io.Reader
	read   int
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// broken is a body that ends with an error.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestResponseBodyIsBounded(t *testing.T) {
	const maxResponseBytes = 1 << 20
	for _, test := range []struct {
		name    string
		status  int
		body    io.Reader
		message string // "": success
		is      error
	}{
		{"the most that is read", 201, strings.NewReader(created + strings.Repeat(" ", maxResponseBytes-len(created))), "", nil},
		{"one byte more", 201, strings.NewReader(created + strings.Repeat(" ", maxResponseBytes-len(created)+1)), "it was done, but the response is larger than 1048576 bytes", nil},
		{"endless", 201, endless{}, "it was done, but the response is larger than 1048576 bytes", nil},
		{"endless after JSON", 201, io.MultiReader(strings.NewReader(created), endless{}), "it was done, but the response is larger than 1048576 bytes", nil},
		{"endless error", 409, endless{}, "conflict", registryusers.ErrUserExists},
		{"endless after an error", 409, io.MultiReader(strings.NewReader(`{"message":"m"}`), endless{}), "conflict", registryusers.ErrUserExists},
		{"broken off", 201, io.MultiReader(strings.NewReader(created), broken{}), "it was done, but the response is incomplete", nil},
		{"broken off error", 404, io.MultiReader(strings.NewReader(`{"message":"m"}`), broken{}), "not found", registryusers.ErrRegistryNotFound},
	} {
		b := &body{Reader: test.body}
		c := newClient(t, "https://registry.example", client.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: test.status, Header: http.Header{}, Body: b, ContentLength: -1, Request: r}, nil
		})}))
		u, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
		if test.message == "" {
			if err != nil || u.ID != 1 {
				t.Errorf("%s: %+v, %v; want the user", test.name, u, err)
			}
		} else {
			e := wantError(t, test.name, err, test.status)
			if e.Message != test.message || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%s: %v, which is %v; want the message %q, and %v", test.name, err, e.Unwrap(), test.message, test.is)
			}
			if !cmp.Equal(u, client.CreatedUser{}) {
				t.Errorf("%s: CreateUser = %+v; want no user with an error", test.name, u)
			}
		}
		if b.read > maxResponseBytes+1 {
			t.Errorf("%s: %d bytes were read; want %d at most", test.name, b.read, maxResponseBytes+1)
		}
		if !b.closed {
			t.Errorf("%s: the body was not closed", test.name)
		}
	}
}

func TestTokenNotSentOnRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var elsewhere, again atomic.Int32
		other := newServer(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/again" {
				again.Add(1)
				return
			}
			target := "/again"
			if r.URL.Path == "/cloud/v1/registries/3/5/1/users" {
				// Another name for this host is another host.
				target = strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + r.URL.Path
			}
			http.Redirect(w, r, target, status)
		})
		follows := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		for name, options := range map[string][]client.Option{
			"default client":       nil,
			"client that follows":  {client.WithHTTPClient(follows)},
			"client of the server": {client.WithHTTPClient(s.Client())},
		} {
			c := newClient(t, s.URL, options...)
			for _, registry := range []int64{1, 2} { // to the other host, and to the same
				_, err := c.CreateUser(t.Context(), registry, client.NewUser{Name: "u"})
				e := wantError(t, name, err, status)
				if e.Unwrap() != nil {
					t.Errorf("%d, %s: %v; want none of the API's errors", status, name, e.Unwrap())
				}
			}
			// The same holds when the client is an option of one call.
			_, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u"}, options...)
			wantError(t, name+" for one call", err, status)
		}
		if elsewhere.Load() != 0 || again.Load() != 0 {
			t.Errorf("%d: %d requests reached the other host and %d the other path; want none", status, elsewhere.Load(), again.Load())
		}
		if err := follows.CheckRedirect(nil, nil); err != nil {
			t.Error("the caller's HTTP client was changed")
		}
	}
}

func TestNoServer(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, *http.Request) {})
	address := s.URL
	s.Close()
	_, err := newClient(t, address).CreateUser(t.Context(), 1, client.NewUser{Name: "u", Secret: registryusers.NewSecret("cHoSeN")})
	if _, ok := errors.AsType[*client.Error](err); ok || err == nil {
		t.Errorf("CreateUser without a server: %v (%T); want an error that is no *Error", err, err)
	}
	if _, ok := errors.AsType[*url.Error](err); !ok || !strings.HasPrefix(fmt.Sprint(err), "client: create user: ") {
		t.Errorf("CreateUser without a server: %v (%T); want the HTTP client's, and the operation", err, err)
	}
	wantNoSecret(t, "no server", err, apiKey, "cHoSeN")
}

func TestCanceledContext(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	c := newClient(t, s.URL)
	_, err := c.CreateUser(ctx, 1, client.NewUser{Name: "u"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("CreateUser canceled while it waits: %v; want %v", err, context.Canceled)
	}
	wantNoSecret(t, "canceled", err, apiKey)
	if _, err := c.CreateUser(ctx, 1, client.NewUser{Name: "u"}); !errors.Is(err, context.Canceled) {
		t.Errorf("CreateUser canceled before: %v; want %v", err, context.Canceled)
	}
}

func TestTimeoutOfTheCallersClient(t *testing.T) {
	release := make(chan struct{})
	s := newServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	_, err := newClient(t, s.URL, client.WithHTTPClient(&http.Client{Timeout: 20 * time.Millisecond})).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("CreateUser of a server that does not respond: %v; want %v", err, context.DeadlineExceeded)
	}
}

// The deadline can pass when half of a response has been read, of any status.
func TestDeadlineWhileAResponseIsRead(t *testing.T) {
	for _, status := range []int{200, 201, 409, 500} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			release := make(chan struct{})
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, created[:20])
				_ = http.NewResponseController(w).Flush()
				<-release
			})
			defer close(release)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := newClient(t, s.URL).CreateUser(ctx, 1, client.NewUser{Name: "u"})
			wantError(t, "half a response", err, status)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v; want one that is %v", err, context.DeadlineExceeded)
			}
			_, err = newClient(t, s.URL, client.WithHTTPClient(&http.Client{Timeout: 50 * time.Millisecond})).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with a timeout of the HTTP client: got %v; want one that is %v", err, context.DeadlineExceeded)
			}
		})
	}
}

func TestUnexpectedSuccessOrRedirectAsksForTheAddress(t *testing.T) {
	for status, words := range map[int]string{
		200: `the server responded "OK", not "Created"`,
		202: `the server responded "Accepted", not "Created"`,
		302: "the server redirects to https://login.example, and the client follows no redirects",
		304: `the server responded "Not Modified"`,
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			if status == 302 {
				w.Header().Set("Location", "https://user:word@login.example/?next=abc")
			}
			w.WriteHeader(status)
		})
		_, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
		wantError(t, words, err, status)
		if !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "check that the base URL is the API's") {
			t.Errorf("%d: got %q, want %q in it, and the question for the base URL", status, err, words)
		}
		wantNoSecret(t, "a redirect", err, "word@", "next=abc")
	}
}

// A shell takes the second half of an unquoted key for a variable.
func TestKeyWithoutADollarIsHintedAt(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	for key, want := range map[string]bool{"1": true, "1$abc": false} {
		_, err := newClient(t, s.URL, client.WithAPIKey(key)).CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
		if !errors.Is(err, registryusers.ErrUnauthenticated) || strings.Contains(err.Error(), "single quotes") != want {
			t.Errorf("key %q: got %v; want ErrUnauthenticated, and the hint at quotes: %t", key, err, want)
		}
	}
}

func TestSecretsThatAServerEchoesAreRedacted(t *testing.T) {
	const custom, override = "cHoSeN-Pw93", "8$oVeRrIdE-Zz"
	for _, status := range []int{201, 200, 307, 400, 401, 409, 500, 502} {
		for _, form := range []string{"as the document says", "half a JSON", "page"} {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				sent, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				echo := r.Header.Get("Authorization") + " " + string(sent)
				w.Header().Set("X-Request-Id", echo)
				w.WriteHeader(status)
				data, err := json.Marshal(map[string]any{
					"exception_class": echo, "message": echo, "request_id": "id " + echo,
					"invalid_fields": map[string][]string{echo: {echo, "why " + echo}},
				})
				if err != nil {
					t.Error(err)
				}
				switch form {
				case "half a JSON":
					data = data[:len(data)-1]
				case "page":
					data = []byte("<html>" + echo)
				}
				_, _ = w.Write(data)
			})
			_, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u", Secret: registryusers.NewSecret(custom)}, client.WithAPIKey(override))
			what := fmt.Sprintf("%d, %s", status, form)
			if e := wantError(t, what, err, status); e.RequestID == "" || status >= 300 && form == "as the document says" && len(e.InvalidFields) != 1 {
				t.Errorf("%s: %+v; want the rest of the server's text kept", what, e)
			}
			wantNoSecret(t, what, err, custom, override)
			s.Close()
		}
	}
}

// A secret that is part of the server's text must not be readable from
// the rest of it: "us[redacted]r not found" shows an e.
func TestRedactingDoesNotRevealASecretInOrdinaryWords(t *testing.T) {
	const message = "user already exists"
	for _, secret := range []string{"e", "us", "already", "already exists", message, "registry", "C", "r"} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"exception_class":"Conflict","message":"`+message+`","request_id":"req-1","invalid_fields":{"name":["`+message+`","why"],"registry":["other"]}}`)
		})
		_, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u", Secret: registryusers.NewSecret(secret)})
		e := wantError(t, secret, err, http.StatusConflict)
		words := []string{e.Class, e.RequestID, e.Message}
		for field, whys := range e.InvalidFields {
			words = append(append(words, field), whys...)
		}
		for _, word := range words {
			if word != "[redacted]" && (strings.Contains(word, "[redacted]") || word != "conflict" && strings.Contains(word, secret)) {
				t.Errorf("secret %q: %q; want the complete text withheld if it contains the secret", secret, word)
			}
		}
		if strings.Contains(message, secret) != (e.Message == "conflict") {
			t.Errorf("secret %q: message %q; want the status's text in place of a text that is only the secret", secret, e.Message)
		}
		if !errors.Is(err, registryusers.ErrUserExists) {
			t.Errorf("secret %q: %v; want ErrUserExists all the same", secret, err)
		}
	}
}

// Redacting must not change the meaning of a response.
func TestRedactingDoesNotChangeTheOutcome(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"exception_class":"ServiceUnavailable","message":"m","request_id":"r"}`)
	})
	_, err := newClient(t, s.URL).CreateUser(t.Context(), 1, client.NewUser{Name: "u", Secret: registryusers.NewSecret("Service")})
	if !errors.Is(err, registryusers.ErrUnavailable) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("got %v; want ErrUnavailable, and no ErrOutcomeUnknown: nothing was done", err)
	}
}

func TestInvalidAPIKeyIsNotShown(t *testing.T) {
	for _, end := range []string{"\n", "\r\nX-Injected: 1", "\x00", " ", "é"} {
		_, err := client.New(client.WithAPIKey(apiKey + end))
		if err == nil {
			t.Errorf("New with a key that ends in %q succeeded", end)
		}
		wantNoSecret(t, "a key that is no header value", err, apiKey)
	}
}

func TestEnvironment(t *testing.T) {
	var got *http.Request
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, created)
	})
	t.Setenv("GCORE_API_KEY", "9$from-the-environment")
	t.Setenv("GCORE_BASE_URL", s.URL+"/env")
	t.Setenv("GCORE_CLOUD_PROJECT_ID", "11")
	t.Setenv("GCORE_CLOUD_REGION_ID", "12")
	for _, test := range []struct {
		options   []client.Option
		key, path string
	}{
		{nil, "9$from-the-environment", "/env/cloud/v1/registries/11/12/1/users"},
		{[]client.Option{client.WithAPIKey(apiKey), client.WithProject(3)}, apiKey, "/env/cloud/v1/registries/3/12/1/users"},
		{[]client.Option{client.WithBaseURL(s.URL), client.WithRegion(5)}, "9$from-the-environment", "/cloud/v1/registries/11/5/1/users"},
	} {
		c, err := client.New(test.options...)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("GCORE_API_KEY", "9$from-the-environment") // read once, in New
		if _, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"}); err != nil {
			t.Fatal(err)
		}
		if key := got.Header.Get("Authorization"); key != "apikey "+test.key || got.URL.Path != test.path {
			t.Errorf("%q %s; want the key %q and %s", key, got.URL.Path, test.key, test.path)
		}
	}
}

func TestDefaultBaseURL(t *testing.T) {
	t.Setenv("GCORE_BASE_URL", "")
	var got string
	c, err := client.New(client.WithAPIKey(apiKey), client.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		got = r.URL.String()
		return &http.Response{StatusCode: http.StatusCreated, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(created)), Request: r}, nil
	})}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"}, client.WithProject(3), client.WithRegion(5)); err != nil {
		t.Fatal(err)
	}
	if want := "https://api.gcore.com/cloud/v1/registries/3/5/1/users"; got != want {
		t.Errorf("the request went to %s; want %s", got, want)
	}
}

func TestBadSettings(t *testing.T) {
	valid := client.WithAPIKey(apiKey)
	base := client.WithBaseURL
	for _, test := range []struct {
		name    string
		env     map[string]string
		options []client.Option
		words   []string
		hidden  string
	}{
		{name: "no key", words: []string{"API key", "GCORE_API_KEY", "WithAPIKey"}},
		{name: "empty key", env: map[string]string{"GCORE_API_KEY": "x"}, options: []client.Option{client.WithAPIKey("")}, words: []string{"API key"}},
		{name: "project", env: map[string]string{"GCORE_CLOUD_PROJECT_ID": "one"}, options: []client.Option{valid}, words: []string{"GCORE_CLOUD_PROJECT_ID", "integer"}},
		{name: "region", env: map[string]string{"GCORE_CLOUD_REGION_ID": "1.0"}, options: []client.Option{valid}, words: []string{"GCORE_CLOUD_REGION_ID", "integer"}},
		{name: "beyond 64 bits", env: map[string]string{"GCORE_CLOUD_REGION_ID": "9223372036854775808"}, options: []client.Option{valid}, words: []string{"GCORE_CLOUD_REGION_ID"}},
		{name: "a key in the wrong variable", env: map[string]string{"GCORE_CLOUD_PROJECT_ID": apiKey}, options: []client.Option{valid}, words: []string{"GCORE_CLOUD_PROJECT_ID"}, hidden: apiKey},
		{name: "base URL of the environment", env: map[string]string{"GCORE_BASE_URL": "registry.example"}, options: []client.Option{valid}, words: []string{"base URL", "https://"}},
		{name: "no HTTP client", options: []client.Option{valid, client.WithHTTPClient(nil)}, words: []string{"WithHTTPClient"}},
		{name: "empty", options: []client.Option{valid, base("")}, words: []string{"base URL"}},
		{name: "no scheme", options: []client.Option{valid, base("registry.example")}, words: []string{"base URL"}},
		{name: "only a path", options: []client.Option{valid, base("/api")}, words: []string{"base URL"}},
		{name: "another scheme", options: []client.Option{valid, base("ftp://registry.example")}, words: []string{"base URL"}},
		{name: "no host", options: []client.Option{valid, base("https://")}, words: []string{"base URL"}},
		{name: "opaque", options: []client.Option{valid, base("https:registry.example")}, words: []string{"base URL"}},
		{name: "broken", options: []client.Option{valid, base("https://[::1")}, words: []string{"base URL"}},
		{name: "control character", options: []client.Option{valid, base("https://registry.example\n")}, words: []string{"base URL"}},
		{name: "query", options: []client.Option{valid, base("https://registry.example/?a=b")}, words: []string{"base URL"}},
		{name: "fragment", options: []client.Option{valid, base("https://registry.example/#a")}, words: []string{"base URL"}},
		{name: "password", options: []client.Option{valid, base("https://user:hunter2@registry.example")}, words: []string{"base URL"}, hidden: "hunter2"},
		{name: "broken with a password", options: []client.Option{valid, base("https://user:hunter2@[::1")}, words: []string{"base URL"}, hidden: "hunter2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			c, err := client.New(test.options...)
			if err == nil {
				t.Fatalf("New = %v; want an error", c)
			}
			for _, word := range append(test.words, "client: ") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("New: %v; want %q in it", err, word)
				}
			}
			if test.hidden != "" {
				wantNoSecret(t, "New", err, test.hidden)
			}
		})
	}
}

func TestTokenNotSentInTheClear(t *testing.T) {
	for _, test := range []struct {
		base string
		ok   bool
	}{
		{"https://registry.example", true},
		{"HTTPS://registry.example:8443/base", true},
		{"http://localhost", true},
		{"http://localhost:8080/", true},
		{"http://127.0.0.1:8080", true},
		{"http://127.1.2.3", true},
		{"http://[::1]:8080", true},
		{"http://registry.example", false},
		{"HTTP://registry.example", false},
		{"http://10.0.0.1", false},
		{"http://192.168.1.1:8080", false},
		{"http://0.0.0.0", false},
		{"http://[::]", false},
		{"http://[2001:db8::1]", false},
		{"http://localhost.registry.example", false},
		{"http://127.0.0.1.registry.example", false},
		{"http://127.1", false}, // Go does not parse it as an address; others may
		{"http://2130706433", false},
	} {
		_, err := client.New(client.WithAPIKey(apiKey), client.WithBaseURL(test.base))
		if (err == nil) != test.ok {
			t.Errorf("New with %s: %v; want success: %t", test.base, err, test.ok)
		}
		if err != nil && !strings.Contains(err.Error(), "WithInsecureHTTP") {
			t.Errorf("New with %s: %v; want the way out in it", test.base, err)
		}
		if _, err := client.New(client.WithBaseURL(test.base), client.WithInsecureHTTP(), client.WithAPIKey(apiKey)); err != nil {
			t.Errorf("New with %s and WithInsecureHTTP: %v", test.base, err)
		}
	}
	// An option of a call cannot send it there either.
	sent := false
	c := newClient(t, "https://registry.example", client.WithHTTPClient(&http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
		sent = true
		return nil, errors.New("no network here")
	})}))
	_, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"}, client.WithBaseURL("http://registry.example"))
	if err == nil || sent || !strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("CreateUser over plain HTTP: %v, sent: %t; want it refused before", err, sent)
	}
}

func TestOptionsOfACallDoNotChangeTheClient(t *testing.T) {
	var got []string
	record := func(name string) *httptest.Server {
		return newServer(t, func(w http.ResponseWriter, r *http.Request) {
			got = append(got, name+" "+r.URL.Path+" "+r.Header.Get("Authorization")+" "+r.UserAgent())
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, created)
		})
	}
	one, other := record("one"), record("other")
	c := newClient(t, one.URL)
	for _, options := range [][]client.Option{
		nil,
		{
			client.WithBaseURL(other.URL), client.WithAPIKey("8$other"), client.WithProject(13), client.WithRegion(15),
			client.WithUserAgent("other"), client.WithInsecureHTTP(), client.WithHTTPClient(&http.Client{}),
		},
		nil,
		{client.WithProject(13)},
		nil,
	} {
		if _, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"}, options...); err != nil {
			t.Fatal(err)
		}
	}
	for _, options := range [][]client.Option{{client.WithAPIKey("")}, {client.WithBaseURL("nonsense")}, {client.WithHTTPClient(nil)}} {
		if _, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"}, options...); err == nil {
			t.Error("CreateUser with a bad option succeeded")
		}
	}
	if _, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"}, client.WithBaseURL("http://registry.example")); err == nil {
		t.Error("WithInsecureHTTP of one call holds for the next")
	}
	plain := "one /cloud/v1/registries/3/5/1/users apikey " + apiKey + " registryusers"
	want := []string{
		plain,
		"other /cloud/v1/registries/13/15/1/users apikey 8$other other",
		plain,
		"one /cloud/v1/registries/13/5/1/users apikey " + apiKey + " registryusers",
		plain,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the requests were\n%s; want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
