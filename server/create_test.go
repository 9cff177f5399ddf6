package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/observe"
)

func TestCreateThroughTheWire(t *testing.T) {
	s := newService(t, created)
	server := httptest.NewServer(s)
	defer server.Close()

	r, err := http.NewRequest(http.MethodPost, server.URL+usersPath,
		strings.NewReader(`{"name":"user1","duration":14,"read_only":true,"secret":"s3cret"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "apikey token")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Request-Id", "theirs")
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}

	const want = `{"created_at":"2026-05-07T20:33:46.548242Z","duration":14,"expires_at":"2026-05-21T20:33:46.548242Z",` +
		`"id":7,"name":"user1","read_only":true,"secret":"s3cret"}` + "\n"
	if response.StatusCode != 201 || string(body) != want {
		t.Errorf("response:\ngot  %d %s\nwant 201 %s", response.StatusCode, body, want)
	}
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: got %q, want application/json", got)
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of a response with a secret: got %q, want no-store", got)
	}
	id := response.Header.Get("X-Request-Id")
	if id == "" || id == "theirs" {
		t.Errorf("X-Request-Id: got %q, want one of the server's own", id)
	}
	server.Close() // waits for the handler, which logs last
	line := s.log.line(t, id)
	if line.Status != 201 || line.Operation != "CreateUser" || line.Method != "POST" || line.Level != "INFO" {
		t.Errorf("log line: got %+v, want POST CreateUser 201 at INFO", line)
	}
	if log := s.log.String(); strings.Contains(log, "s3cret") || strings.Contains(log, "token") || strings.Contains(log, "theirs") {
		t.Errorf("the log quotes the request:\n%s", log)
	}
}

// The validated value is the one that is used: the implementation gets the value that
// the document's schema accepted, however it is spelled.
func TestCreateBindsTheValueThatWasValidated(t *testing.T) {
	user := func(name string, duration int64) models.CreateUserRequest {
		return models.CreateUserRequest{Name: name, Duration: duration}
	}
	readOnly := user("a", 1)
	readOnly.ReadOnly = true
	for _, test := range []struct {
		body string
		want models.CreateUserRequest
	}{
		{`{"name":"user1","duration":14}`, user("user1", 14)},
		{`{"name":"user1","duration":14.0}`, user("user1", 14)},
		{`{"name":"user1","duration":1.4e1}`, user("user1", 14)},
		{`{"name":"user1","duration":140E-1}`, user("user1", 14)},
		{`{"name":"user1","duration":-1}`, user("user1", -1)},
		{`{"name":"user1","duration":-1.0}`, user("user1", -1)},
		{`{"name":"user1","duration":-0}`, user("user1", 0)},
		{`{"name":"user1","duration":0e999999999}`, user("user1", 0)},
		{`{"name":"user1","duration":365}`, user("user1", 365)},
		{`{"name":"","duration":1}`, user("", 1)},
		{`{"name":"0123456789abcdef","duration":1}`, user("0123456789abcdef", 1)},
		{`{"name":"\u0061","duration":1}`, user("a", 1)},
		{`{"n\u0061me":"a","duration":1}`, user("a", 1)},
		{" \t\r\n{\"name\":\"a\",\"duration\":1}\n ", user("a", 1)},
		{`{"name":"a","duration":1,"read_only":false,"secret":""}`, user("a", 1)},
		{`{"name":"a","duration":1,"read_only":true}`, readOnly},
		// Names that only resemble the document's are unknown fields.
		{`{"name":"a","duration":1,"NAME":"OTHER","Duration":900,"READ_ONLY":true,"Secret":"x"}`, user("a", 1)},
		{`{"Name":"OTHER","DURATION":900,"read_Only":true,"name":"a","duration":1}`, user("a", 1)},
		{`{"name":"a","duration":1,"more":{"name":"b","list":[null,1.5,"é",{}]}}`, user("a", 1)},
	} {
		s := newService(t, created)
		w := s.send(call{body: strings.NewReader(test.body)})
		if w.Code != 201 || len(s.calls) != 1 {
			t.Errorf("body %s: got %d %s, want 201", test.body, w.Code, w.Body)
			continue
		}
		if got := *s.calls[0].Body; got.Name != test.want.Name || got.Duration != test.want.Duration ||
			got.ReadOnly != test.want.ReadOnly || got.Secret.Reveal() != "" {
			t.Errorf("body %s: got %+v, want %+v", test.body, got, test.want)
		}
	}
}

func TestCreateSecretArrivesExactly(t *testing.T) {
	for _, secret := range []string{"plain", "  ", "\x00\x7f", `"\<>&`, "é\U0001F511", "\u2028"} {
		body, err := json.Marshal(map[string]any{"name": "a", "duration": 1, "secret": secret})
		if err != nil {
			t.Fatal(err)
		}
		s := newService(t, created)
		w := s.send(call{body: bytes.NewReader(body)})
		if w.Code != 201 {
			t.Errorf("body %s: got %d %s, want 201", body, w.Code, w.Body)
			continue
		}
		if got := s.calls[0].Body.Secret.Reveal(); got != secret {
			t.Errorf("body %s: got secret %q, want %q", body, got, secret)
		}
		var response struct{ Secret string }
		if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil || response.Secret != secret {
			t.Errorf("body %s: got secret %q in the response (%v), want %q", body, response.Secret, err, secret)
		}
	}
}

func TestCreateIDs(t *testing.T) {
	for _, test := range []struct {
		ids  string
		want [3]int64
	}{
		{"1/2/3", [3]int64{1, 2, 3}},
		{"0/0/0", [3]int64{0, 0, 0}},
		{"-1/-2/-3", [3]int64{-1, -2, -3}},
		{"%31/%32/1%30", [3]int64{1, 2, 10}},
		{"9223372036854775807/-9223372036854775808/9007199254740993", [3]int64{math.MaxInt64, math.MinInt64, 1<<53 + 1}},
	} {
		s := newService(t, created)
		w := s.send(call{path: "/cloud/v1/registries/" + test.ids + "/users"})
		if w.Code != 201 || len(s.calls) != 1 {
			t.Errorf("ids %s: got %d %s, want 201", test.ids, w.Code, w.Body)
			continue
		}
		if got := [3]int64{s.calls[0].ProjectID, s.calls[0].RegionID, s.calls[0].RegistryID}; got != test.want {
			t.Errorf("ids %s: got %v, want %v", test.ids, got, test.want)
		}
	}
}

func TestRequestIDIsTheServersOwn(t *testing.T) {
	theirs := "theirs"
	s := newService(t, responding(apiserver.CreateUser201JSONResponse{
		Headers: apiserver.CreateUser201ResponseHeaders{XRequestID: &theirs},
	}))
	seen := map[string]bool{theirs: true, marker: true, "": true}
	for range 3 {
		id := s.send(call{}).Header().Values("X-Request-Id")
		if len(id) != 1 || seen[id[0]] {
			t.Fatalf("X-Request-Id: got %q, want one that is new", id)
		}
		seen[id[0]] = true
		s.log.line(t, id[0])
	}
}

// The implementation and the authenticator see the id of the response, alone and behind
// a handler that observes the request already.
func TestRequestIDIsTheResponses(t *testing.T) {
	type key struct{}
	var ids []string
	s := newService(t, func(ctx context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
		ids = append(ids, RequestID(ctx), RequestID(context.WithoutCancel(ctx)))
		return created(ctx, r)
	}, withAuthenticator(func(ctx context.Context, _ AuthenticationRequest) (context.Context, error) {
		ids = append(ids, RequestID(ctx))
		return context.WithValue(ctx, key{}, "caller"), nil
	}))
	for name, handler := range map[string]http.Handler{
		"alone":    s,
		"observed": observe.Handler(s, observe.Options{Logger: slog.New(slog.DiscardHandler)}),
	} {
		ids = nil
		server := httptest.NewServer(handler)
		response, err := server.Client().Do(toServer(t, server.URL, call{}))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		server.Close()
		id := response.Header.Get("X-Request-Id")
		if want := []string{id, id, id}; response.StatusCode != 201 || id == "" || !slices.Equal(ids, want) {
			t.Errorf("%s: got %d, and the ids %q of the contexts, want a 201 and %q", name, response.StatusCode, ids, want)
		}
	}
	if id := RequestID(t.Context()); id != "" {
		t.Errorf("outside of a request: got %q, want none", id)
	}
}

func TestConcurrentCallersGetTheirOwnResponses(t *testing.T) {
	handler, err := New(creator{create: created}, Options{Authenticator: anyone, Logger: slog.New(slog.DiscardHandler), ValidateResponses: true})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			name := fmt.Sprintf("user%d", i)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, call{body: strings.NewReader(fmt.Sprintf(`{"name":%q,"duration":%d}`, name, i))}.request())
			var got models.CreatedUser
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Name != name || got.Duration != int64(i) {
				t.Errorf("%s: got %d %s (%v), want its own user", name, w.Code, w.Body, err)
			}
		})
	}
	group.Wait()
}

func TestLoggerDefaultsToSlogs(t *testing.T) {
	s := newService(t, created)
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewJSONHandler(s.log, nil)))
	handler, err := New(creator{create: created}, Options{Authenticator: anyone})
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = handler
	s.log.line(t, s.send(call{}).Header().Get("X-Request-Id"))
}

func TestSchemeMatchesInAnyCase(t *testing.T) {
	for _, header := range []string{"apikey 1$t", "APIKey 1$t", "APIKEY 1$t", "ApiKey 1$t", "apikey   1$t  "} {
		var token string
		s := newService(t, created, withAuthenticator(func(ctx context.Context, r AuthenticationRequest) (context.Context, error) {
			token = r.Token.Reveal()
			return ctx, nil
		}))
		if w := s.send(call{header: http.Header{"Authorization": {header}}}); w.Code != 201 || token != "1$t" {
			t.Errorf("Authorization %q: got %d, token %q; want 201, 1$t", header, w.Code, token)
		}
	}
}

func TestNoTokenIsNotAuthenticated(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []string
	}{
		{"no header", nil},
		{"an empty header", []string{""}},
		{"the scheme alone", []string{"apikey"}},
		{"the scheme and spaces", []string{"apikey   "}},
		{"two headers", []string{"apikey " + marker, "apikey " + marker}},
		{"two headers, one empty", []string{"apikey " + marker, ""}},
		{"another scheme", []string{"Bearer " + marker}},
		{"a longer scheme", []string{"apikeys " + marker}},
		{"a tab for the space", []string{"apikey\t" + marker}},
		{"no scheme", []string{marker}},
		{"a leading space", []string{" apikey " + marker}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, created, withAuthenticator(func(context.Context, AuthenticationRequest) (context.Context, error) {
				t.Error("the authenticator was called")
				return nil, registryusers.ErrUnauthenticated
			}))
			w := s.send(call{header: http.Header{"Authorization": test.values}, body: unread{t}})
			s.wantError(t, w, 401, "not_authenticated")
			wantHeader(t, w, "WWW-Authenticate", "apikey")
			s.wantCalls(t, 0)
		})
	}
}

func TestAuthenticatorsErrorDecides(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		class  string
	}{
		{registryusers.ErrUnauthenticated, 401, "token_not_valid"},
		{fmt.Errorf("%s: %w", "key 12", registryusers.ErrUnauthenticated), 401, "token_not_valid"},
		{registryusers.ErrForbidden, 403, "ForbiddenError"},
		{registryusers.ErrTooManyRequests, 429, "HTTPError"},
		{registryusers.ErrUnavailable, 503, "ServiceUnavailable"},
		{context.Canceled, 503, "ServiceUnavailable"},
		{errors.New("the disk is full"), 500, "InternalServerError"},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			s := newService(t, created, withAuthenticator(func(context.Context, AuthenticationRequest) (context.Context, error) {
				return nil, test.err
			}))
			w := s.send(call{body: unread{t}})
			got := s.wantError(t, w, test.status, test.class)
			if strings.Contains(got.Message, "key 12") || strings.Contains(got.Message, "disk") {
				t.Errorf("message: got %q, want it without the cause", got.Message)
			}
			if test.status == 401 {
				wantHeader(t, w, "WWW-Authenticate", "apikey")
			}
			s.wantCalls(t, 0)
		})
	}
}

func TestIdentityReachesTheImplementation(t *testing.T) {
	type key struct{}
	var got any
	s := newService(t, func(ctx context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
		got = ctx.Value(key{})
		return created(ctx, r)
	}, withAuthenticator(func(ctx context.Context, r AuthenticationRequest) (context.Context, error) {
		return context.WithValue(ctx, key{}, "caller of "+r.Token.Reveal()), nil
	}))
	s.send(call{})
	if want := "caller of " + marker; got != want {
		t.Errorf("identity: got %v, want %s", got, want)
	}
}

// An authenticator sees whose connection a request came over and what it asks for, also
// behind a handler that says whose address the client's is.
func TestTheAuthenticatorSeesTheRequest(t *testing.T) {
	var got []string
	s := newService(t, created, withAuthenticator(func(ctx context.Context, r AuthenticationRequest) (context.Context, error) {
		got = append(got, r.Request.Method, r.Request.URL.Path, r.Request.RemoteAddr, r.Request.Header.Get("X-Tenant"), r.Request.Host)
		return ctx, nil
	}))
	for _, handler := range []http.Handler{s, observe.Handler(s, observe.Options{Logger: slog.New(slog.DiscardHandler)})} {
		for _, path := range []string{usersPath, "/nowhere"} {
			got = nil
			r := call{method: "PATCH", path: path, header: http.Header{"X-Tenant": {"a"}}, body: unread{t}}.request()
			r.RemoteAddr = "192.0.2.7:5"
			handler.ServeHTTP(httptest.NewRecorder(), r)
			if want := []string{"PATCH", path, "192.0.2.7:5", "a", "example.com"}; !slices.Equal(got, want) {
				t.Errorf("the authenticator saw %q, want %q", got, want)
			}
		}
	}
}

// A request that is wrong in every way is corrected step by step; each
// response reveals only what the caller may know at that step.
func TestOrderOfErrors(t *testing.T) {
	authenticated := false
	s := newService(t, failing(registryusers.ErrUserExists), withAuthenticator(func(ctx context.Context, _ AuthenticationRequest) (context.Context, error) {
		if !authenticated {
			return nil, registryusers.ErrUnauthenticated
		}
		return ctx, nil
	}))
	c := call{
		method: "PUT",
		path:   "/cloud/v1/registries/x/2/03/nowhere",
		header: http.Header{"Authorization": nil, "Content-Type": {"text/plain"}},
		body:   unread{t},
	}
	s.wantError(t, s.send(c), 401, "not_authenticated")

	c.header["Authorization"] = []string{"apikey " + marker}
	s.wantError(t, s.send(c), 401, "token_not_valid")

	authenticated = true
	s.wantError(t, s.send(c), 404, "NotFoundError")

	c.path = "/cloud/v1/registries/x/2/03/users"
	s.wantError(t, s.send(c), 405, "HTTPError")

	c.method = "POST"
	s.wantError(t, s.send(c), 400, "ValidationError", "project_id", "registry_id")

	c.path = usersPath
	s.wantError(t, s.send(c), 415, "HTTPError")

	c.header["Content-Type"] = []string{"application/json"}
	c.body = strings.NewReader(strings.Repeat("?", MaxBodyBytes+1))
	s.wantError(t, s.send(c), 413, "HTTPError")

	c.body = strings.NewReader("?")
	s.wantError(t, s.send(c), 400, "ValidationError")

	c.body = strings.NewReader(`{"name":1,"duration":900}`)
	s.wantError(t, s.send(c), 400, "ValidationError", "duration", "name")
	s.wantCalls(t, 0)

	c.body = nil
	s.wantError(t, s.send(c), 409, "ConflictError")
	s.wantCalls(t, 1)
}

func TestBadBody(t *testing.T) {
	with := func(name, duration string) string { return `{"name":` + name + `,"duration":` + duration + `}` }
	name := func(text string) string { return with(text, "14") }
	duration := func(text string) string { return with(`"`+marker+`"`, text) }
	for _, test := range []struct {
		name, body string
		fields     []string
	}{
		{"capitals", name(`"M0RK3R"`), []string{"name"}},
		{"17 characters", name(`"m0rk3r0123456789a"`), []string{"name"}},
		{"newline at the name's end", name(`"m0rk3r\n"`), []string{"name"}},
		{"newline at the name's start", name(`"\nm0rk3r"`), []string{"name"}},
		{"NUL in the name", name(`"m0rk3r\u0000"`), []string{"name"}},
		{"space in the name", name(`"m0rk3r "`), []string{"name"}},
		{"wide digits in the name", name(`"m0rk3r１"`), []string{"name"}},
		{"name null", name(`null`), []string{"name"}},
		{"name a number", name(markerNumber), []string{"name"}},
		{"name an array", name(`["m0rk3r"]`), []string{"name"}},
		{"duration -2", duration(`-2`), []string{"duration"}},
		{"duration 366", duration(`366`), []string{"duration"}},
		{"duration far above", duration(markerNumber), []string{"duration"}},
		{"duration far below", duration("-" + markerNumber), []string{"duration"}},
		{"duration 1.5", duration(`1.5`), []string{"duration"}},
		{"duration a fraction", duration(markerNumber + ".5"), []string{"duration"}},
		{"duration a string", duration(`"14"`), []string{"duration"}},
		{"duration another string", duration(`"m0rk3r"`), []string{"duration"}},
		{"duration null", duration(`null`), []string{"duration"}},
		{"duration true", duration(`true`), []string{"duration"}},
		{"duration an object", duration(`{"m0rk3r":14}`), []string{"duration"}},
		{"duration 1e400", duration(`1e400`), nil},
		{"duration 1e999999999", duration(`1e999999999`), nil},
		{"duration 2^53", duration(`9007199254740992`), nil},
		{"duration nearly 14", duration(`14.0000000000000000000001`), nil},
		{"duration nearly another", duration(markerNumber + ".0000000000000000000001"), nil},
		{"duration Infinity", duration(`Infinity`), nil},
		{"duration 014", duration(`014`), nil},
		{"duration +14", duration(`+14`), nil},
		{"duration in hexadecimal", duration(`0xe`), nil},
		{"read_only a string", `{"name":"m0rk3r","duration":14,"read_only":"m0rk3r"}`, []string{"read_only"}},
		{"read_only null", `{"name":"m0rk3r","duration":14,"read_only":null}`, []string{"read_only"}},
		{"secret null", `{"name":"m0rk3r","duration":14,"secret":null}`, []string{"secret"}},
		{"secret a number", `{"name":"m0rk3r","duration":14,"secret":` + markerNumber + `}`, []string{"secret"}},
		{"no name", `{"duration":14,"secret":"m0rk3r"}`, []string{"name"}},
		{"no duration", `{"name":"m0rk3r"}`, []string{"duration"}},
		{"no field", `{}`, []string{"duration", "name"}},
		{"name in another case", `{"Name":"m0rk3r","duration":14}`, []string{"name"}},
		{"all fields wrong", `{"name":"M0RK3R","duration":-2,"read_only":1,"secret":[]}`, []string{"duration", "name", "read_only", "secret"}},
		{"empty", ``, nil},
		{"white space", " \n", nil},
		{"null", `null`, nil},
		{"array", `[]`, nil},
		{"array of the object", `[` + validBody + `]`, nil},
		{"string", `"m0rk3r"`, nil},
		{"number", markerNumber, nil},
		{"broken off", `{"name":"m0rk3r","duration":14`, nil},
		{"broken off in a name", `{"m0rk3r`, nil},
		{"comma at the end", `{"name":"m0rk3r","duration":14,}`, nil},
		{"comment", `{"name":"m0rk3r",/**/"duration":14}`, nil},
		{"single quotes", `{'name':'m0rk3r','duration':14}`, nil},
		{"not JSON", `m0rk3r`, nil},
		{"a form", `name=m0rk3r&duration=14`, nil},
		{"bytes after the value", validBody + ` m0rk3r`, nil},
		{"a brace after the value", validBody + `}`, nil},
		{"a second value", validBody + validBody, nil},
		{"NUL after the value", validBody + "\x00", nil},
		{"repeated key", `{"name":"m0rk3r","name":"m0rk3r","duration":14}`, nil},
		{"repeated key, escaped", `{"name":"m0rk3r","n\u0061me":"m0rk3r","duration":14}`, nil},
		{"repeated key of no field", `{"name":"m0rk3r","duration":14,"m0rk3r":1,"m0rk3r":2}`, nil},
		{"repeated key, deep", `{"name":"m0rk3r","duration":14,"x":[{"m0rk3r":1,"m0rk3r":1}]}`, nil},
		{"invalid UTF-8 in a value", "{\"name\":\"m0rk3r\",\"duration\":14,\"secret\":\"m0rk3r\xff\"}", nil},
		{"invalid UTF-8 in a key", "{\"name\":\"m0rk3r\",\"duration\":14,\"m0rk3r\xc0\xaf\":1}", nil},
		{"surrogate in UTF-8", "{\"name\":\"m0rk3r\",\"duration\":14,\"secret\":\"m0rk3r\xed\xa0\x80\"}", nil},
		{"lone high surrogate", `{"name":"m0rk3r","duration":14,"secret":"m0rk3r\ud800"}`, nil},
		{"lone low surrogate", `{"name":"m0rk3r","duration":14,"secret":"m0rk3r\udc00"}`, nil},
		{"surrogates in the wrong order", `{"name":"m0rk3r","duration":14,"secret":"m0rk3r\udc00\ud800"}`, nil},
		{"control character in a string", "{\"name\":\"m0rk3r\n\",\"duration\":14}", nil},
		{"byte order mark", "\ufeff" + validBody, nil},
		{"UTF-16", "{\x00\"\x00n\x00", nil},
		{"20,000 levels", `{"name":"m0rk3r","duration":14,"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, created)
			w := s.send(call{body: strings.NewReader(test.body)})
			s.wantError(t, w, 400, "ValidationError", test.fields...)
			s.wantCalls(t, 0)
			if t.Failed() && len(test.body) < 200 {
				t.Logf("input: %q", test.body)
			}
		})
	}
}

// watching is a body that inspects the buffers it is read into.
type watching struct {
	io.Reader
	look func(buffer []byte)
}

func (w watching) Read(p []byte) (int, error) {
	w.look(p)
	return w.Reader.Read(p)
}

func (watching) Close() error { return nil }

// The buffers that bodies are read into are reused by other requests: the
// next body's reader finds nothing of the previous body, which may contain a secret.
func TestBodiesAreClearedFromTheBuffers(t *testing.T) {
	for name, text := range map[string]string{
		"valid":           validBody,
		"invalid":         invalidBody,
		"not JSON":        validBody + "m0rk3r",
		"the general way": `{"n\u0061me":"u","duration":1,"secret":"m0rk3r"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, created)
			seen := map[*byte]bool{}
			again := 0
			for range 100 { // a pool may forget a buffer
				r := call{}.request()
				r.ContentLength = int64(len(text))
				r.Body = watching{strings.NewReader(text), func(buffer []byte) {
					if seen[&buffer[0]] {
						again++
					}
					seen[&buffer[0]] = true
					if bytes.Contains(buffer, []byte("m0rk3r")) {
						t.Fatalf("in the buffer before the body is read: %q", bytes.Trim(buffer, "\x00"))
					}
				}}
				s.ServeHTTP(httptest.NewRecorder(), r)
			}
			if again == 0 {
				t.Error("no buffer was reused: the test proves nothing")
			}
		})
	}
}

// keeping is a response writer that keeps the buffers that are written to it.
type keeping struct {
	httptest.ResponseRecorder
	buffers [][]byte
}

func (k *keeping) Write(p []byte) (int, error) {
	k.buffers = append(k.buffers, p)
	return k.ResponseRecorder.Write(p)
}

// The buffers that responses are encoded into are reused too.
func TestResponsesAreClearedFromTheBuffers(t *testing.T) {
	w := &keeping{ResponseRecorder: *httptest.NewRecorder()}
	newService(t, created, withoutValidation).ServeHTTP(w, call{}.request())
	if w.Code != 201 || !strings.Contains(w.Body.String(), `"secret":"m0rk3r"`) || len(w.buffers) == 0 {
		t.Fatalf("got %d %s in %d writes, want a secret in a 201", w.Code, w.Body, len(w.buffers))
	}
	for _, buffer := range w.buffers {
		if text := bytes.Trim(buffer[:cap(buffer)], "\x00"); len(text) > 0 {
			t.Errorf("in the buffer after the response: %q", text)
		}
	}
}

func TestBodyBreaksOff(t *testing.T) {
	s := newService(t, created)
	w := s.send(call{body: io.MultiReader(strings.NewReader(validBody[:20]), errorReader{errors.New("connection lost")})})
	got := s.wantError(t, w, 400, "ValidationError")
	if line := s.log.line(t, got.RequestID); line.Error != "connection lost" || strings.Contains(got.Message, "lost") {
		t.Errorf("got message %q, error %q in the log; want the cause only in the log", got.Message, line.Error)
	}
	s.wantCalls(t, 0)
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestContentType(t *testing.T) {
	type values = []string
	for _, test := range []struct {
		name     string
		types    values
		encoding values
		status   int
	}{
		{"plain", values{"application/json"}, nil, 201},
		{"in capitals", values{"Application/JSON"}, nil, 201},
		{"UTF-8", values{"application/json; charset=utf-8"}, nil, 201},
		{"UTF-8, quoted, in capitals", values{`application/json;Charset="UTF-8"`}, nil, 201},
		{"another parameter", values{"application/json; v=1"}, nil, 201},
		{"missing", nil, nil, 415},
		{"empty", values{""}, nil, 415},
		{"given twice", values{"application/json", "application/json"}, nil, 415},
		{"given twice, one wrong", values{"application/json", "text/m0rk3r"}, nil, 415},
		{"two in one", values{"application/json, text/m0rk3r"}, nil, 415},
		{"text", values{"text/m0rk3r"}, nil, 415},
		{"a form", values{"application/x-www-form-urlencoded"}, nil, 415},
		{"problem+json", values{"application/problem+json"}, nil, 415},
		{"any", values{"*/*"}, nil, 415},
		{"merge-patch", values{"application/merge-patch+json"}, nil, 415},
		{"longer", values{"application/jsonm0rk3r"}, nil, 415},
		{"UTF-16", values{"application/json; charset=utf-16"}, nil, 415},
		{"empty charset", values{`application/json; charset=""`}, nil, 415},
		{"two charsets", values{"application/json; charset=utf-8; charset=m0rk3r"}, nil, 415},
		{"broken parameter", values{"application/json; m0rk3r"}, nil, 415},
		{"gzip", values{"application/json"}, values{"gzip"}, 415},
		{"unknown encoding", values{"application/json"}, values{"m0rk3r"}, 415},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, created)
			c := call{header: http.Header{"Content-Type": test.types, "Content-Encoding": test.encoding}}
			if test.status == 201 {
				if w := s.send(c); w.Code != 201 {
					t.Errorf("Content-Type %q: got %d %s, want 201", test.types, w.Code, w.Body)
				}
				s.wantCalls(t, 1)
				return
			}
			c.body = unread{t}
			s.wantError(t, s.send(c), test.status, "HTTPError")
			s.wantCalls(t, 0)
		})
	}
}

func TestBodyLimit(t *testing.T) {
	full := validBody + strings.Repeat(" ", MaxBodyBytes-len(validBody))
	for _, test := range []struct {
		name   string
		body   io.Reader
		status int
	}{
		{"at the limit", strings.NewReader(full), 201},
		{"at the limit, chunked", withoutLength(full), 201},
		{"over the limit", strings.NewReader(full + " "), 413},
		{"over the limit, chunked", withoutLength(full + " "), 413},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, created)
			server := httptest.NewServer(s)
			defer server.Close()
			r, err := http.NewRequest(http.MethodPost, server.URL+usersPath, test.body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = call{}.request().Header
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			w := record(t, response)
			server.Close() // waits for the handler, which logs last
			if test.status == 201 {
				if w.Code != 201 {
					t.Errorf("got %d %s, want 201", w.Code, w.Body)
				}
				s.wantCalls(t, 1)
				return
			}
			s.wantError(t, w, test.status, "HTTPError")
			s.wantCalls(t, 0)
		})
	}
}

func TestDeclaredLengthOverTheLimitIsRefusedUnread(t *testing.T) {
	s := newService(t, created)
	r := call{body: unread{t}}.request()
	r.ContentLength = MaxBodyBytes + 1
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	s.wantError(t, w, 413, "HTTPError")
	s.wantCalls(t, 0)
}

func TestBadIDs(t *testing.T) {
	s := newService(t, created)
	for _, id := range []string{
		"1.0", "+1", "01", "-0", "00", "-01", "0x1", "1e0", "1_0", "%20", "1%20", "%201", "1%0A", "1%00", "%2B1", "%30%31",
		"9223372036854775808", "-9223372036854775809", "18446744073709551617", "null", "-", "1%2F2", "%2e%2e", "1;2", "1,2", "m0rk3r",
		markerNumber + ".0", "%EF%BC%91", "%ff", strings.Repeat("9", 4000),
	} {
		for place, field := range []string{"project_id", "region_id", "registry_id"} {
			ids := []string{"1", "2", "3"}
			ids[place] = id
			w := s.send(call{path: "/cloud/v1/registries/" + strings.Join(ids, "/") + "/users", body: unread{t}})
			s.wantError(t, w, 400, "ValidationError", field)
			if t.Failed() {
				t.Fatalf("input: %.40q for %s", id, field)
			}
		}
	}
	w := s.send(call{path: "/cloud/v1/registries/01/+2/0x3/users", body: unread{t}})
	s.wantError(t, w, 400, "ValidationError", "project_id", "region_id", "registry_id")
	s.wantCalls(t, 0)
}

func TestWrongMethod(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "M0RK3R"} {
		t.Run(method, func(t *testing.T) {
			s := newService(t, created)
			w := s.send(call{method: method, body: unread{t}})
			got := s.wantError(t, w, 405, "HTTPError")
			wantHeader(t, w, "Allow", "POST")
			want := method
			if method == "post" || method == "M0RK3R" {
				want = "other" // a caller may send any word as the method
			}
			if line := s.log.line(t, got.RequestID); line.Method != want {
				t.Errorf("method in the log: got %q, want %q", line.Method, want)
			}
			s.wantCalls(t, 0)
		})
	}
}

// http.ServeMux would redirect some of these to a path that exists. A response
// this small is sent after the handler's return, so the log is complete then.
func TestUnknownPathIsNeverARedirect(t *testing.T) {
	s := newService(t, created)
	server := httptest.NewServer(s)
	defer server.Close()
	for _, path := range []string{
		"/", "//", "/m0rk3r", "/cloud/v1/registries", usersPath + "/", usersPath + "/7", "/" + usersPath,
		"/cloud//v1/registries/1/2/3/users", "/cloud/v1/registries/1//2/3/users", "/cloud/v1/registries//2/3/users",
		"/cloud/v1/registries/1/2/3/./users", "/cloud/v1/registries/1/../1/2/3/users", "/cloud/v1/registries/1/2/3/users/..",
		"/cloud/v1/../v1/registries/1/2/3/users", "/../cloud/v1/registries/1/2/3/users",
		"/CLOUD/v1/registries/1/2/3/users", "/cloud/v1/registries/1/2/3/users%2F", "/cloud%2Fv1/registries/1/2/3/users",
		"/cloud/v1/registries/m0rk3r/..%2f/users",
	} {
		for _, method := range []string{"POST", "GET"} {
			w := record(t, raw(t, server, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: m0rk3r\r\nAuthorization: apikey m0rk3r\r\nConnection: close\r\n\r\n", method, path)))
			s.wantError(t, w, 404, "NotFoundError")
			if got := w.Header().Get("Location"); got != "" {
				t.Errorf("Location: got %q, want none", got)
			}
			if t.Failed() {
				t.Fatalf("input: %s %s", method, path)
			}
		}
	}
	server.Close()
	s.wantCalls(t, 0)
}

// raw sends text as it is, which http.Client would not, and reads one response.
func raw(t *testing.T, server *httptest.Server, text string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// record reads a response from the wire, to its end.
func record(t *testing.T, response *http.Response) *httptest.ResponseRecorder {
	t.Helper()
	defer response.Body.Close()
	w := httptest.NewRecorder()
	maps.Copy(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	if _, err := w.Body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return w
}

func wantHeader(t *testing.T, w *httptest.ResponseRecorder, name, want string) {
	t.Helper()
	if got := w.Result().Header.Values(name); len(got) != 1 || got[0] != want {
		t.Errorf("header %s: got %q, want %q", name, got, want)
	}
}

// A server's request always has a body, but one that http.NewRequest makes may have none.
func TestARequestWithoutABody(t *testing.T) {
	s := newService(t, created)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"apikey token"}, "Content-Type": {"application/json"}}
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != http.StatusBadRequest {
		t.Errorf("got %d %s, want 400", w.Code, w.Body)
	}
}
