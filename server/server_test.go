package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/testkit"
)

const (
	usersPath = "/cloud/v1/registries/1/2/3/users"

	// marker and markerNumber mark the caller's input. No response that is
	// an error and no log line may contain them. A request id, which is random,
	// has no digit 0, so it cannot contain them by chance.
	marker       = "m0rk3r"
	markerNumber = "90210987"

	validBody = `{"name":"m0rk3r","duration":14,"secret":"m0rk3r"}`
)

// createFunc is the function of an implementation that creates a user.
type createFunc func(context.Context, CreateUserRequestObject) (CreateUserResponseObject, error)

// creator is an implementation that has no other operation.
type creator struct {
	Unimplemented
	create createFunc
}

func (c creator) CreateUser(ctx context.Context, r CreateUserRequestObject) (CreateUserResponseObject, error) {
	return c.create(ctx, r)
}

var createdAt = time.Date(2026, 5, 7, 20, 33, 46, 548242000, time.UTC)

// created returns the response to r that the document declares.
func created(_ context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
	return apiserver.CreateUser201JSONResponse{Body: models.CreatedUser{
		ID:        7,
		Name:      r.Body.Name,
		ReadOnly:  r.Body.ReadOnly,
		Duration:  r.Body.Duration,
		CreatedAt: createdAt,
		ExpiresAt: createdAt.AddDate(0, 0, int(r.Body.Duration)),
		Secret:    r.Body.Secret,
	}}, nil
}

func failing(err error) createFunc {
	return func(context.Context, apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
		return nil, err
	}
}

func responding(response apiserver.CreateUserResponseObject) createFunc {
	return func(context.Context, apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
		return response, nil
	}
}

// anyone accepts every token.
var anyone = AuthenticatorFunc(func(ctx context.Context, _ AuthenticationRequest) (context.Context, error) {
	return ctx, nil
})

// service is a handler under test, its log, and the calls that reached the
// implementation.
type service struct {
	http.Handler
	log   *logBuffer
	calls []apiserver.CreateUserRequestObject
}

// newService serves create. edits change the options, which are the strictest by default.
func newService(t *testing.T, create createFunc, edits ...func(*Options)) *service {
	t.Helper()
	s := &service{log: &logBuffer{}}
	counted := createFunc(func(ctx context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
		s.calls = append(s.calls, r)
		return create(ctx, r)
	})
	handler, err := New(creator{create: counted}, s.options(edits...))
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = handler
	return s
}

func (s *service) options(edits ...func(*Options)) Options {
	options := Options{
		Authenticator:     anyone,
		Logger:            slog.New(slog.NewJSONHandler(s.log, nil)),
		ValidateResponses: true,
	}
	for _, edit := range edits {
		edit(&options)
	}
	return options
}

func withAuthenticator(f AuthenticatorFunc) func(*Options) {
	return func(o *Options) { o.Authenticator = f }
}

func withoutValidation(o *Options) { o.ValidateResponses = false }

// logBuffer keeps the log. It may be read while a server writes.
type logBuffer struct{ testkit.Log }

// logLine has the fields of a log line that the tests check.
type logLine struct {
	Level     string
	RequestID string `json:"request_id"`
	Method    string
	Status    int
	Operation string
	Class     string `json:"exception_class"`
	Error     string
	Stack     string
}

// line returns the log's only line with this request id.
func (b *logBuffer) line(t *testing.T, id string) logLine {
	t.Helper()
	var found []logLine
	for text := range strings.Lines(b.String()) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %s: %v", text, err)
		}
		if line.RequestID == id {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		t.Fatalf("log lines with request_id %q: got %d, want 1; the log:\n%s", id, len(found), b)
	}
	return found[0]
}

// call is a request: by default, a valid create.
type call struct {
	method string
	path   string
	header http.Header // replaces these of the valid create; no values: absent
	body   io.Reader
}

func (c call) request() *http.Request {
	if c.method == "" {
		c.method = http.MethodPost
	}
	if c.path == "" {
		c.path = usersPath
	}
	if c.body == nil {
		c.body = strings.NewReader(validBody)
	}
	r := httptest.NewRequest(c.method, c.path, c.body)
	// All parts of a request that a caller can set and that the server ignores.
	r.URL.RawQuery = marker + "=" + marker
	r.Header.Set("X-Request-Id", marker)
	r.Header.Set("User-Agent", marker)
	r.Header.Set("Authorization", "apikey "+marker)
	r.Header.Set("Content-Type", "application/json")
	maps.Copy(r.Header, c.header)
	return r
}

func (s *service) send(c call) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, c.request())
	return w
}

// wantError checks that w is an error in the document's form, that it is
// logged, that neither quotes the request, and that it names these fields.
func (s *service) wantError(t *testing.T, w *httptest.ResponseRecorder, status int, class string, fields ...string) models.Error {
	t.Helper()
	if w.Code != status {
		t.Errorf("status: got %d, want %d; body: %s", w.Code, status, w.Body)
	}
	header := w.Result().Header
	if got := header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: got %q, want application/json", got)
	}
	if got := header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: got %q, want no-store", got)
	}
	var body models.Error
	decoder := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if body.ExceptionClass != class {
		t.Errorf("exception_class: got %q, want %q", body.ExceptionClass, class)
	}
	if body.Message == "" {
		t.Errorf("message: got none; body: %s", w.Body)
	}
	if got := slices.Sorted(maps.Keys(body.InvalidFields)); !slices.Equal(got, fields) {
		t.Errorf("invalid_fields: got %v, want %v", got, fields)
	}
	for name, why := range body.InvalidFields {
		if len(why) == 0 || slices.Contains(why, "") {
			t.Errorf("invalid_fields: %s: got %q, want a reason", name, why)
		}
	}
	if id := header.Get("X-Request-Id"); id == "" || id != body.RequestID {
		t.Errorf("request_id: got %q in the body, %q in the header; want one id", body.RequestID, id)
	}
	line := s.log.line(t, body.RequestID)
	level := "INFO"
	if status >= 500 {
		level = "ERROR"
	}
	if line.Status != status || line.Class != class || line.Level != level {
		t.Errorf("log line: got %+v, want status %d, class %s, level %s", line, status, class, level)
	}
	wantUnquoted(t, "the response", w.Body.String())
	for name, values := range header {
		wantUnquoted(t, "header "+name, strings.Join(values, " "))
	}
	wantUnquoted(t, "the log", s.log.String())
	return body
}

func wantUnquoted(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range []string{marker, markerNumber} {
		if strings.Contains(strings.ToLower(text), secret) {
			t.Errorf("%s quotes the request: got %q, want no %q", what, text, secret)
		}
	}
}

func (s *service) wantCalls(t *testing.T, n int) {
	t.Helper()
	if len(s.calls) != n {
		t.Errorf("calls of the implementation: got %d, want %d", len(s.calls), n)
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.ErrUnexpectedEOF
}

// withoutLength hides a reader's length, so that the body is sent chunked.
func withoutLength(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }
