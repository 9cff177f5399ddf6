package apierror_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/server"
)

// rows has every sentinel of the root package, under its name there.
var rows = map[string]struct {
	err     error
	code    int
	class   string
	general error // the general error of the status
}{
	"ErrInvalid":              {registryusers.ErrInvalid, 400, "ValidationError", registryusers.ErrInvalid},
	"ErrIdempotencyKeyReused": {registryusers.ErrIdempotencyKeyReused, 422, "ValidationError", registryusers.ErrInvalid},
	"ErrUnauthenticated":      {registryusers.ErrUnauthenticated, 401, "token_not_valid", registryusers.ErrUnauthenticated},
	"ErrForbidden":            {registryusers.ErrForbidden, 403, "ForbiddenError", registryusers.ErrForbidden},
	"ErrNotFound":             {registryusers.ErrNotFound, 404, "NotFoundError", registryusers.ErrNotFound},
	"ErrRegistryNotFound":     {registryusers.ErrRegistryNotFound, 404, "NotFoundError", registryusers.ErrNotFound},
	"ErrUserNotFound":         {registryusers.ErrUserNotFound, 404, "NotFoundError", registryusers.ErrNotFound},
	"ErrAPIKeyNotFound":       {registryusers.ErrAPIKeyNotFound, 404, "NotFoundError", registryusers.ErrNotFound},
	"ErrExists":               {registryusers.ErrExists, 409, "ConflictError", registryusers.ErrExists},
	"ErrRegistryExists":       {registryusers.ErrRegistryExists, 409, "ConflictError", registryusers.ErrExists},
	"ErrUserExists":           {registryusers.ErrUserExists, 409, "ConflictError", registryusers.ErrExists},
	"ErrUserChanged":          {registryusers.ErrUserChanged, 409, "ConflictError", registryusers.ErrExists},
	"ErrTooManyRequests":      {registryusers.ErrTooManyRequests, 429, "HTTPError", registryusers.ErrTooManyRequests},
	"ErrInternal":             {registryusers.ErrInternal, 500, "InternalServerError", registryusers.ErrInternal},
	"ErrOutcomeUnknown":       {registryusers.ErrOutcomeUnknown, 504, "GatewayTimeout", registryusers.ErrUnavailable},
	"ErrNotImplemented":       {registryusers.ErrNotImplemented, 501, "NotImplemented", registryusers.ErrNotImplemented},
	"ErrUnavailable":          {registryusers.ErrUnavailable, 503, "ServiceUnavailable", registryusers.ErrUnavailable},
}

// declared returns the names of the sentinels that the root package declares.
func declared(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, decl := range file.Decls {
		if vars, ok := decl.(*ast.GenDecl); ok && vars.Tok == token.VAR {
			for _, spec := range vars.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

func TestEverySentinelIsInThisTest(t *testing.T) {
	names := declared(t)
	if len(names) < 15 {
		t.Errorf("sentinels in errors.go: got %q, want 15 or more", names)
	}
	for _, name := range names {
		if _, ok := rows[name]; !ok {
			t.Errorf("%s: in errors.go, but without a row in this test", name)
		}
	}
	for name := range rows {
		if !slices.Contains(names, name) {
			t.Errorf("%s: in this test, but not in errors.go", name)
		}
	}
}

// A sentinel without a row in the package's table would be ErrInternal, and
// one after its general error would lose its own text.
func TestOfGivesEverySentinelItsOwnRow(t *testing.T) {
	for name, want := range rows {
		for form, err := range map[string]error{
			"itself":            want.err,
			"wrapped":           fmt.Errorf("store: %w", want.err),
			"wrapped twice":     fmt.Errorf("api: %w", fmt.Errorf("store: %w", want.err)),
			"joined to a cause": errors.Join(errors.New("disk"), want.err),
		} {
			code, body := apierror.Of(err)
			if code != want.code || body.ExceptionClass != want.class || body.Message != want.err.Error() || body.InvalidFields != nil || body.RequestID != "" {
				t.Errorf("Of(%s, %s): got %d, %+v, want %d, the class %s and only the message %q", name, form, code, body, want.code, want.class, want.err)
			}
		}
	}
}

func TestOfTakesUnknownErrorsForInternalOnes(t *testing.T) {
	for _, err := range []error{
		nil,
		errors.New("the disk is full"),
		errors.New(registryusers.ErrNotFound.Error()), // the same text is not the same error
		context.Canceled,
	} {
		code, body := apierror.Of(err)
		if want := (apierror.Body{ExceptionClass: "InternalServerError", Message: registryusers.ErrInternal.Error()}); code != http.StatusInternalServerError || !reflect.DeepEqual(body, want) {
			t.Errorf("Of(%v): got %d, %+v, want 500, %+v", err, code, body, want)
		}
	}
}

func TestOfTakesTheKnownErrorOfSeveral(t *testing.T) {
	err := errors.Join(registryusers.ErrInternal, registryusers.ErrUserExists)
	if code, body := apierror.Of(err); body.Message != registryusers.ErrUserExists.Error() || code != http.StatusConflict {
		t.Errorf("Of(%v): got %d, %q, want 409, %q", err, code, body.Message, registryusers.ErrUserExists)
	}
}

// An error with its own text keeps the status and the code of its kind, even if its cause
// wraps a sentinel, too.
func TestOfTakesTheKindAndTheTextOfAnError(t *testing.T) {
	fields := map[string][]string{"name": {"is reserved"}}
	for _, test := range []struct {
		err  registryusers.Error
		code int
		want apierror.Body
	}{
		{registryusers.Error{Kind: registryusers.ErrUserExists, Message: "choose another", Cause: registryusers.ErrIdempotencyKeyReused}, 409,
			apierror.Body{ErrorCode: "user_exists", ExceptionClass: "ConflictError", Message: "choose another"}},
		{registryusers.Error{Kind: fmt.Errorf("users: %w", registryusers.ErrInvalid), InvalidFields: fields}, 400,
			apierror.Body{ExceptionClass: "ValidationError", Message: apierror.InvalidRequest, InvalidFields: fields}},
		{registryusers.Error{Kind: registryusers.ErrInvalid, InvalidFields: fields, Message: "no"}, 400,
			apierror.Body{ExceptionClass: "ValidationError", Message: "no", InvalidFields: fields}},
		{registryusers.Error{Cause: registryusers.ErrInvalid}, 500, apierror.Body{ExceptionClass: "InternalServerError", Message: "internal server error"}},
	} {
		code, body := apierror.Of(fmt.Errorf("api: %w", &test.err))
		if code != test.code || !reflect.DeepEqual(body, test.want) {
			t.Errorf("Of(%#v): got %d, %+v, want %d, %+v", test.err, code, body, test.code, test.want)
		}
	}
}

func TestErrGivesTheGeneralErrorOfAStatus(t *testing.T) {
	for _, tt := range []struct {
		code int
		want error
	}{
		{400, registryusers.ErrInvalid},
		{401, registryusers.ErrUnauthenticated},
		{403, registryusers.ErrForbidden},
		{404, registryusers.ErrNotFound},
		{405, nil},
		{408, nil},
		{409, registryusers.ErrExists},
		{410, nil},
		{413, nil},
		{415, nil},
		{418, nil},
		{422, registryusers.ErrInvalid},
		{429, registryusers.ErrTooManyRequests},
		{500, registryusers.ErrInternal},
		{501, registryusers.ErrNotImplemented},
		{502, registryusers.ErrUnavailable},
		{503, registryusers.ErrUnavailable},
		{504, registryusers.ErrUnavailable},
		{507, registryusers.ErrInternal},
		{599, registryusers.ErrInternal},
		{100, nil},
		{200, nil},
		{201, nil},
		{302, nil},
		{0, nil},
		{-1, nil},
	} {
		if got := apierror.Err(tt.code, ""); got != tt.want {
			t.Errorf("Err(%d): got %v, want %v", tt.code, got, tt.want)
		}
	}
}

func TestClassesAreTheVendors(t *testing.T) {
	for _, tt := range []struct {
		code int
		want string
	}{
		{400, "ValidationError"},
		{401, "token_not_valid"},
		{403, "ForbiddenError"},
		{404, "NotFoundError"},
		{405, "HTTPError"},
		{409, "ConflictError"},
		{413, "HTTPError"},
		{415, "HTTPError"},
		{418, "HTTPError"},
		{422, "ValidationError"},
		{429, "HTTPError"},
		{500, "InternalServerError"},
		{501, "NotImplemented"},
		{503, "ServiceUnavailable"},
		{504, "GatewayTimeout"},
	} {
		if got := apierror.Write(httptest.NewRecorder(), tt.code, apierror.Body{}).ExceptionClass; got != tt.want {
			t.Errorf("the class of %d: got %q, want %q", tt.code, got, tt.want)
		}
	}
}

// Both sides of the wire have the same errors: every sentinel that an
// implementation returns is returned by the client, too.
func TestErrorsSurviveTheWire(t *testing.T) {
	for name, want := range rows {
		t.Run(name, func(t *testing.T) {
			err := overTheWire(t, want.err)
			if !errors.Is(err, want.err) {
				t.Errorf("the client's error: got %v, want one that is %s", err, name)
			}
			for other, row := range rows {
				if row.code != want.code || errors.Is(want.err, row.err) || isAssumed(want.err, row.err) {
					continue
				}
				if errors.Is(err, row.err) {
					t.Errorf("the client's error: got %v, which is also %s; want only that of %s", err, other, name)
				}
			}
			var response *client.Error
			if !errors.As(err, &response) || response.Status != want.code || response.Class != want.class {
				t.Errorf("the client's error: got %#v, want the status %d and the class %s", err, want.code, want.class)
			}
			if back := apierror.Err(want.code, ""); back != want.general {
				t.Errorf("Err(%d): got %v, want %v", want.code, back, want.general)
			}
		})
	}
}

// isAssumed reports whether a general error is read as the specific one that
// the document declares for its status.
func isAssumed(general, specific error) bool {
	return general == registryusers.ErrNotFound && specific == registryusers.ErrRegistryNotFound ||
		general == registryusers.ErrExists && specific == registryusers.ErrUserExists
}

// overTheWire returns the error of a client's call that an implementation
// fails with err.
func overTheWire(t *testing.T, err error) error {
	t.Helper()
	handler, newErr := server.New(implementation{err}, server.Options{Authenticator: implementation{}, Logger: slog.New(slog.DiscardHandler), ValidateResponses: true})
	if newErr != nil {
		t.Fatal(newErr)
	}
	s := httptest.NewServer(handler)
	defer s.Close()
	c, newErr := client.New(client.WithBaseURL(s.URL), client.WithAPIKey("1$key"), client.WithProject(1), client.WithRegion(1), client.WithoutRetry())
	if newErr != nil {
		t.Fatal(newErr)
	}
	_, err = c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
	return err
}

// An operation that an implementation leaves to Unimplemented is an error of its own on
// both sides, is known not to be done, and is not repeated.
func TestUnimplementedSurvivesTheWire(t *testing.T) {
	handler, err := server.New(server.Unimplemented{}, server.Options{Authenticator: implementation{}, Logger: slog.New(slog.DiscardHandler), ValidateResponses: true})
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler.ServeHTTP(w, r)
	}))
	defer s.Close()
	c, err := client.New(client.WithBaseURL(s.URL), client.WithAPIKey("1$key"), client.WithProject(1), client.WithRegion(1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateUser(t.Context(), 1, client.NewUser{Name: "u"})
	var response *client.Error
	if !errors.Is(err, registryusers.ErrNotImplemented) || errors.Is(err, registryusers.ErrOutcomeUnknown) || !errors.As(err, &response) || response.Status != 501 || response.Message != "operation not implemented" {
		t.Errorf("the client's error: got %v, want a 501 that is ErrNotImplemented and no ErrOutcomeUnknown", err)
	}
	if got := requests.Load(); got != 1 {
		t.Errorf("requests: got %d, want 1", got)
	}
}

// implementation fails every call with one error, and accepts every API key.
type implementation struct{ err error }

func (i implementation) CreateUser(context.Context, apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
	return nil, i.err
}

func (implementation) Authenticate(ctx context.Context, _ server.AuthenticationRequest) (context.Context, error) {
	return ctx, nil
}

// The values of error_code are part of the API: the document lists them all, and
// no two errors share one.
func TestErrorCodesAreThoseOfTheDocument(t *testing.T) {
	doc, err := apiserver.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	description := doc.Components.Schemas["Error"].Value.Properties["error_code"].Value.Description
	seen := map[string]string{}
	for name, row := range rows {
		_, body := apierror.Of(row.err)
		code := body.ErrorCode
		if code == "" {
			continue
		}
		if seen[code] != "" || !strings.Contains(description, code) {
			t.Errorf("error_code %s of %s: also of %q, or not in the document: %s", code, name, seen[code], description)
		}
		seen[code] = name
		if got := apierror.Err(row.code, code); got != row.err {
			t.Errorf("Err(%d, %s): got %v, want %s", row.code, code, got, name)
		}
		if got := apierror.Err(500, code); got != registryusers.ErrInternal {
			t.Errorf("Err(500, %s): got %v, want the error of the status, which the code does not have", code, got)
		}
	}
	if len(seen) != 7 {
		t.Errorf("error codes: got %v, want one for each of the seven specific errors", seen)
	}
	for _, code := range []string{"", "no_such_path", "later_version"} {
		if got := apierror.Err(404, code); got != registryusers.ErrNotFound {
			t.Errorf("Err(404, %q): got %v, want the general error", code, got)
		}
	}
}

// The document's type of an error response and the one that is written are the
// same on the wire, in both directions.
func TestBodyIsTheDocuments(t *testing.T) {
	for _, want := range []models.Error{
		{},
		{ErrorCode: "user_exists", ExceptionClass: "ConflictError", Message: "a <user> & \"more\"", RequestID: "R"},
		{ExceptionClass: "ValidationError", InvalidFields: map[string][]string{"name": {"too long", "capital"}, "duration": nil}},
	} {
		body := apierror.Body(want) // compiles while the fields are the same
		theirs, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := json.Marshal(body)
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("%+v: got %s, %v, want %s", body, ours, err, theirs)
		}
		recorder := httptest.NewRecorder()
		sent := apierror.Write(recorder, http.StatusConflict, body)
		var got models.Error
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || !reflect.DeepEqual(got, models.Error(sent)) {
			t.Errorf("%+v: read back %+v, %v, want %+v", body, got, err, sent)
		}
	}
}

func TestWriteSetsTheHeaders(t *testing.T) {
	for _, tt := range []struct {
		status int
		before http.Header
		want   map[string]string // beside those of every error response
	}{
		{400, nil, nil},
		{401, nil, map[string]string{"Www-Authenticate": "apikey"}},
		{405, http.Header{"Allow": {"POST"}}, map[string]string{"Allow": "POST"}},
		{409, nil, map[string]string{"X-Should-Retry": "false"}},
		{429, nil, map[string]string{"Retry-After": "1"}},
		{503, nil, map[string]string{"Retry-After": "1"}},
		{503, http.Header{"Retry-After": {"30"}}, map[string]string{"Retry-After": "30"}},
		{503, http.Header{"Retry-After": nil}, nil},
		{404, http.Header{"Content-Length": {"5"}, "Content-Encoding": {"gzip"}, "Location": {"/"}, "X-Content-Type-Options": {"nosniff"}, "Content-Type": {"text/plain"}}, nil},
		{404, http.Header{"Cache-Control": {"private"}}, map[string]string{"Cache-Control": "private"}},
	} {
		want := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "X-Request-Id": {"R"}}
		for name, value := range tt.want {
			want.Set(name, value)
		}
		recorder := httptest.NewRecorder()
		maps.Copy(recorder.Header(), tt.before)
		apierror.Write(recorder, tt.status, apierror.Body{RequestID: "R"})
		got := recorder.Result().Header
		maps.DeleteFunc(got, func(_ string, values []string) bool { return len(values) == 0 }) // not sent
		if recorder.Code != tt.status || !reflect.DeepEqual(got, want) {
			t.Errorf("Write(%d) after %v: got %d, %v, want %v", tt.status, tt.before, recorder.Code, got, want)
		}
	}
}

func TestWriteDoesNotRevealTheCause(t *testing.T) {
	secret := apierror.Body{ErrorCode: "user_exists", Message: "open /var/lib: denied", InvalidFields: map[string][]string{"path": {"/var/lib"}}, RequestID: "R"}
	for _, status := range []int{500, 501, 503, 504, 599} {
		recorder := httptest.NewRecorder()
		body := apierror.Write(recorder, status, secret)
		hint := "; the server's log has details under this request_id"
		if status == 501 {
			hint = "operation not implemented"
		}
		if strings.Contains(recorder.Body.String(), "/var/lib") || body.ErrorCode != "" || !strings.HasSuffix(body.Message, hint) {
			t.Errorf("Write(%d): got %s, want only the status's message", status, recorder.Body)
		}
	}
	recorder := httptest.NewRecorder()
	body := apierror.WritePublic(recorder, 503, secret)
	if body.Message != secret.Message || body.ErrorCode != "" || body.InvalidFields != nil {
		t.Errorf("WritePublic(503): got %s, want the message, and no code and fields of another error", recorder.Body)
	}
}
