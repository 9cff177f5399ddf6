package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oapi-codegen/runtime"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/gen/models"
)

var sentinels = []struct {
	err    error
	status int
	class  string
}{
	{registryusers.ErrInvalid, 400, "ValidationError"},
	{registryusers.ErrUnauthenticated, 401, "token_not_valid"},
	{registryusers.ErrForbidden, 403, "ForbiddenError"},
	{registryusers.ErrNotFound, 404, "NotFoundError"},
	{registryusers.ErrRegistryNotFound, 404, "NotFoundError"},
	{registryusers.ErrUserNotFound, 404, "NotFoundError"},
	{registryusers.ErrAPIKeyNotFound, 404, "NotFoundError"},
	{registryusers.ErrExists, 409, "ConflictError"},
	{registryusers.ErrRegistryExists, 409, "ConflictError"},
	{registryusers.ErrUserExists, 409, "ConflictError"},
	{registryusers.ErrTooManyRequests, 429, "HTTPError"},
	{registryusers.ErrInternal, 500, "InternalServerError"},
	{registryusers.ErrNotImplemented, 501, "NotImplemented"},
	{registryusers.ErrUnavailable, 503, "ServiceUnavailable"},
	{registryusers.ErrOutcomeUnknown, 504, "GatewayTimeout"},
	{registryusers.ErrIdempotencyKeyReused, 422, "ValidationError"},
	{registryusers.ErrUserChanged, 409, "ConflictError"},
}

// errorHeaders are the headers that a response of this status has, besides
// Content-Type, X-Request-Id and Cache-Control.
func errorHeaders(status int) http.Header {
	switch status {
	case 401:
		return http.Header{"Www-Authenticate": {"apikey"}}
	case 409:
		return http.Header{"X-Should-Retry": {"false"}}
	case 429, 503:
		return http.Header{"Retry-After": {"1"}}
	}
	return http.Header{}
}

func wantErrorHeaders(t *testing.T, w *httptest.ResponseRecorder, want http.Header) {
	t.Helper()
	got := w.Result().Header.Clone()
	got.Del("Content-Type")
	got.Del("X-Request-Id")
	if cache := got.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("Cache-Control: got %q, want no-store", cache)
	}
	got.Del("Cache-Control")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("headers: got %v, want %v", got, want)
	}
}

func TestStatusOfSentinels(t *testing.T) {
	for _, test := range sentinels {
		t.Run(test.err.Error(), func(t *testing.T) {
			const detail = "row 12 of the table"
			for _, err := range []error{test.err, fmt.Errorf("%s: %w", detail, test.err), errors.Join(errors.New(detail), test.err)} {
				s := newService(t, failing(err))
				w := s.send(call{})
				got := s.wantError(t, w, test.status, test.class)
				wantErrorHeaders(t, w, errorHeaders(test.status))
				if !strings.HasPrefix(got.Message, test.err.Error()) || strings.Contains(w.Body.String(), detail) {
					t.Errorf("error %q: got message %q, want the words of %q", err, got.Message, test.err)
				}
				if strings.Contains(err.Error(), detail) && !strings.Contains(s.log.line(t, got.RequestID).Error, detail) {
					t.Errorf("error %q: the log does not say it: %s", err, s.log)
				}
			}
		})
	}
}

func TestInvalidFieldsAreSent(t *testing.T) {
	const detail = "row 12 of the table"
	fields := map[string][]string{"secret": {"must be shorter", "must be longer"}, "name": {"is reserved"}}
	invalid := &registryusers.Error{Kind: registryusers.ErrInvalid, InvalidFields: fields}
	for _, err := range []error{invalid, fmt.Errorf("%s: %w", detail, invalid)} {
		s := newService(t, failing(err))
		w := s.send(call{})
		got := s.wantError(t, w, 400, "ValidationError", "name", "secret")
		wantErrorHeaders(t, w, errorHeaders(400))
		if !reflect.DeepEqual(got.InvalidFields, fields) || got.Message != "the request is not valid" || strings.Contains(w.Body.String(), detail) {
			t.Errorf("error %q: got %s, want the fields and nothing else of the error", err, w.Body)
		}
	}
	s := newService(t, failing(errors.Join(invalid, context.Canceled)))
	if got := s.wantError(t, s.send(call{}), 504, "GatewayTimeout"); got.InvalidFields != nil {
		t.Errorf("a request that ended: got the fields %v, want none", got.InvalidFields)
	}
}

// An error's own text, fields and wait reach the caller with the status of its kind, and
// its cause only the log. A 500 never tells what broke.
func TestErrorWithItsOwnText(t *testing.T) {
	const detail = "row 12 of the table"
	fields := map[string][]string{"name": {"is reserved"}}
	for _, test := range []struct {
		err        registryusers.Error
		status     int
		class      string
		message    string
		fields     map[string][]string
		retryAfter []string
	}{
		{registryusers.Error{Kind: registryusers.ErrUserExists, Message: "choose another name"}, 409, "ConflictError", "choose another name", nil, nil},
		{registryusers.Error{Kind: registryusers.ErrInvalid, Message: "no such name", InvalidFields: fields}, 400, "ValidationError", "no such name", fields, nil},
		{registryusers.Error{Kind: registryusers.ErrForbidden, RetryAfter: time.Hour}, 403, "ForbiddenError", "forbidden", nil, []string{"3600"}},
		{registryusers.Error{Kind: registryusers.ErrTooManyRequests, Message: "100 a minute", RetryAfter: 1500 * time.Millisecond}, 429, "HTTPError", "100 a minute", nil, []string{"2"}},
		{registryusers.Error{Kind: registryusers.ErrTooManyRequests, RetryAfter: -time.Second}, 429, "HTTPError", "too many requests", nil, []string{"1"}},
		{registryusers.Error{Kind: registryusers.ErrUnavailable, Message: "closed until noon", RetryAfter: math.MaxInt64, InvalidFields: fields}, 503, "ServiceUnavailable", "closed until noon", nil, []string{"2147483647"}},
		{registryusers.Error{Kind: registryusers.ErrNotImplemented, Message: "not in this region"}, 501, "NotImplemented", "not in this region", nil, nil},
		{registryusers.Error{Kind: registryusers.ErrInternal, Message: detail}, 500, "InternalServerError", "internal server error; the server's log has details under this request_id", nil, nil},
		{registryusers.Error{Message: detail}, 500, "InternalServerError", "internal server error; the server's log has details under this request_id", nil, nil},
		{registryusers.Error{Kind: registryusers.ErrUserExists, Message: "choose another name", Cause: context.Canceled}, 504, "GatewayTimeout", "outcome unknown; the server's log has details under this request_id", nil, nil},
	} {
		if test.err.Cause == nil {
			test.err.Cause = errors.New(detail)
		}
		for name, s := range map[string]*service{
			"implementation": newService(t, failing(fmt.Errorf("users: %w", &test.err))),
			"authenticator":  newService(t, created, withAuthenticator(func(context.Context, AuthenticationRequest) (context.Context, error) { return nil, &test.err })),
		} {
			if test.status == 504 && name == "authenticator" { // a 503, because nothing was done
				continue
			}
			w := s.send(call{})
			got := s.wantError(t, w, test.status, test.class, slices.Sorted(maps.Keys(test.fields))...)
			if retry := w.Header()["Retry-After"]; got.Message != test.message || !reflect.DeepEqual(got.InvalidFields, test.fields) || !slices.Equal(retry, test.retryAfter) {
				t.Errorf("%s with %#v: got %s, Retry-After %q, want the message %q, the fields %v, Retry-After %q", name, test.err, w.Body, retry, test.message, test.fields, test.retryAfter)
			}
			if line := s.log.line(t, got.RequestID); strings.Contains(w.Body.String(), detail) || !strings.Contains(line.Error, test.err.Cause.Error()) {
				t.Errorf("%s with %#v: got %s and the log line %+v, want the cause only in the log", name, test.err, w.Body, line)
			}
		}
	}
}

func TestUnknownErrorIsLoggedAndNotSent(t *testing.T) {
	const cause = "dial tcp 10.0.0.7:5432: refused"
	s := newService(t, failing(errors.New(cause)))
	w := s.send(call{})
	got := s.wantError(t, w, 500, "InternalServerError")
	if strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("body: got %s, want it without the cause", w.Body)
	}
	if line := s.log.line(t, got.RequestID); line.Error != cause || line.Operation != "CreateUser" {
		t.Errorf("log line: got %+v, want the error %q of CreateUser", line, cause)
	}
}

// When the context of an implementation ends, it is unknown what it has done:
// 503 would mean that nothing was done, and that a repeat is safe.
func TestContextThatEndedInTheImplementationIsAnUnknownOutcome(t *testing.T) {
	for _, err := range []error{
		context.Canceled,
		context.DeadlineExceeded,
		fmt.Errorf("reading: %w", context.Canceled),
		errors.Join(context.DeadlineExceeded, registryusers.ErrRegistryNotFound), // the second error may be a consequence of the first
	} {
		s := newService(t, failing(err))
		w := s.send(call{})
		got := s.wantError(t, w, 504, "GatewayTimeout")
		wantErrorHeaders(t, w, errorHeaders(504))
		if !strings.HasPrefix(got.Message, registryusers.ErrOutcomeUnknown.Error()) {
			t.Errorf("message: got %q, want the words of %v", got.Message, registryusers.ErrOutcomeUnknown)
		}
	}
}

func TestContextThatEndedBeforeAnythingWasDoneIsUnavailable(t *testing.T) {
	ended := fmt.Errorf("%w: nothing was written: %w", registryusers.ErrUnavailable, context.Canceled)
	s := newService(t, failing(ended))
	w := s.send(call{})
	s.wantError(t, w, 503, "ServiceUnavailable")
	wantErrorHeaders(t, w, errorHeaders(503))
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, ended} {
		s := newService(t, created, withAuthenticator(func(context.Context, AuthenticationRequest) (context.Context, error) { return nil, err }))
		s.wantError(t, s.send(call{}), 503, "ServiceUnavailable")
		s.wantCalls(t, 0)
	}
}

// generated returns the generated response with the status and body.
func generated(status int, body models.Error) apiserver.CreateUserResponseObject {
	theirs, retry := "theirs", "true"
	switch status {
	case 404:
		return apiserver.CreateUser404JSONResponse{Body: body, Headers: apiserver.CreateUser404ResponseHeaders{XRequestID: &theirs}}
	case 409:
		return apiserver.CreateUser409JSONResponse{Body: body, Headers: apiserver.CreateUser409ResponseHeaders{XRequestID: &theirs, XShouldRetry: &retry}}
	case 401:
		return apiserver.CreateUserdefaultJSONResponse{StatusCode: status, Body: body, Headers: apiserver.ErrorResponseHeaders{WWWAuthenticate: &theirs, XRequestID: &theirs}}
	}
	return apiserver.CreateUserdefaultJSONResponse{StatusCode: status, Body: body, Headers: apiserver.ErrorResponseHeaders{XRequestID: &theirs}}
}

func TestGeneratedErrorGetsTheStatusOfItsSentinel(t *testing.T) {
	for _, test := range sentinels {
		t.Run(test.err.Error(), func(t *testing.T) {
			s := newService(t, failing(test.err))
			sentinel := s.send(call{})
			want := s.wantError(t, sentinel, test.status, test.class)
			general := errors.Unwrap(test.err)
			if (want.ErrorCode != "") != (general != nil) {
				t.Errorf("error_code: got %q, want one only for a specific error", want.ErrorCode)
			}
			bodies := []models.Error{{ExceptionClass: test.class, ErrorCode: want.ErrorCode, Message: test.err.Error(), RequestID: "theirs"}}
			if general == nil { // the status says it
				bodies = append(bodies, models.Error{}, models.Error{ExceptionClass: test.class}, models.Error{Message: test.err.Error()})
			}
			for _, body := range bodies {
				s := newService(t, responding(generated(test.status, body)))
				w := s.send(call{})
				got := s.wantError(t, w, test.status, test.class)
				got.RequestID = want.RequestID
				if !reflect.DeepEqual(got, want) {
					t.Errorf("body of %+v:\ngot  %+v\nwant %+v", body, got, want)
				}
				wantErrorHeaders(t, w, errorHeaders(test.status))
				if reordered := strings.NewReplacer(got.RequestID, "", w.Header().Get("X-Request-Id"), ""); reordered.Replace(w.Body.String()) != reordered.Replace(sentinel.Body.String()) {
					t.Errorf("bytes of %+v:\ngot  %s\nwant %s", body, w.Body, sentinel.Body)
				}
			}
		})
	}
}

func TestGeneratedErrorKeepsItsOwnWords(t *testing.T) {
	s := newService(t, responding(apiserver.CreateUserdefaultJSONResponse{StatusCode: 422, Body: models.Error{
		Message:       "no more than 5 <users>",
		InvalidFields: map[string][]string{"name": {"is reserved"}},
	}}))
	w := s.send(call{})
	got := s.wantError(t, w, 422, "ValidationError", "name")
	if !strings.Contains(w.Body.String(), "no more than 5 <users>") || got.Message != "no more than 5 <users>" || got.InvalidFields["name"][0] != "is reserved" {
		t.Errorf("got %s, want the words of the implementation", w.Body)
	}

	seconds := int64(30)
	s = newService(t, responding(apiserver.CreateUserdefaultJSONResponse{StatusCode: 503, Headers: apiserver.ErrorResponseHeaders{RetryAfter: &seconds}}))
	w = s.send(call{})
	s.wantError(t, w, 503, "ServiceUnavailable")
	wantErrorHeaders(t, w, http.Header{"Retry-After": {"30"}})
}

func TestGeneratedServerErrorIsLoggedAndNotSent(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 599} {
		s := newService(t, responding(apiserver.CreateUserdefaultJSONResponse{StatusCode: status, Body: models.Error{
			Message:       "the disk is full",
			InvalidFields: map[string][]string{"disk": {"full"}},
		}}))
		w := s.send(call{})
		class := "InternalServerError"
		switch status {
		case 503:
			class = "ServiceUnavailable"
		case 504:
			class = "GatewayTimeout"
		}
		got := s.wantError(t, w, status, class)
		if strings.Contains(w.Body.String(), "disk") {
			t.Errorf("status %d: got %s, want it without the cause", status, w.Body)
		}
		if line := s.log.line(t, got.RequestID); line.Error != "the disk is full" {
			t.Errorf("status %d: got error %q in the log, want the cause", status, line.Error)
		}
	}
}

// A response that is no error must not be sent as one that the document declares
// for errors, nor the other way round.
func TestDefaultResponseWithoutAnErrorsStatus(t *testing.T) {
	for _, status := range []int{0, 99, 100, 103, 200, 204, 302, 600, 1000, -1} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := newService(t, responding(apiserver.CreateUserdefaultJSONResponse{StatusCode: status, Body: models.Error{
				ExceptionClass: "ConflictError", Message: "user already exists", RequestID: "theirs",
			}}))
			w := s.send(call{})
			got := s.wantError(t, w, 500, "InternalServerError")
			if strings.Contains(got.Message, "exists") {
				t.Errorf("message: got %q, want that of a 500", got.Message)
			}
			if line := s.log.line(t, got.RequestID); !strings.Contains(line.Error, fmt.Sprint(status)) {
				t.Errorf("error in the log: got %q, want it to name the status %d", line.Error, status)
			}
		})
	}
}

func TestNoResponse(t *testing.T) {
	for _, test := range []struct {
		name     string
		response apiserver.CreateUserResponseObject
		log      string
	}{
		{"nil", nil, "returned no response"},
		{"a nil pointer", (*apiserver.CreateUser201JSONResponse)(nil), "using nil"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, edit := range []func(*Options){func(*Options) {}, withoutValidation} {
				s := newService(t, responding(test.response), edit)
				got := s.wantError(t, s.send(call{}), 500, "InternalServerError")
				if line := s.log.line(t, got.RequestID); !strings.Contains(line.Error, test.log) {
					t.Errorf("error in the log: got %q, want %q in it", line.Error, test.log)
				}
			}
		})
	}
}

func TestPanicValueIsNotSent(t *testing.T) {
	type secretive struct{ Secret string }
	for _, test := range []struct {
		name  string
		panic func(apiserver.CreateUserRequestObject)
		log   string
	}{
		{"string", func(r apiserver.CreateUserRequestObject) { panic("cannot store " + r.Body.Secret.Reveal()) }, "type string"},
		{"error", func(r apiserver.CreateUserRequestObject) { panic(errors.New(r.Body.Secret.Reveal())) }, "errorString"},
		{"struct", func(r apiserver.CreateUserRequestObject) { panic(secretive{r.Body.Secret.Reveal()}) }, "secretive"},
		{"nil", func(apiserver.CreateUserRequestObject) { panic(nil) }, "nil"},
		{"nil dereference", func(apiserver.CreateUserRequestObject) { var r *apiserver.CreateUserRequestObject; r.ProjectID++ }, "nil pointer"},
		{"index", func(r apiserver.CreateUserRequestObject) { _ = []int{}[r.ProjectID] }, "index out of range"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, func(_ context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
				test.panic(r)
				return nil, nil
			})
			got := s.wantError(t, s.send(call{}), 500, "InternalServerError")
			line := s.log.line(t, got.RequestID)
			if !strings.Contains(line.Error, test.log) || !strings.HasPrefix(line.Error, "panic") {
				t.Errorf("error in the log: got %q, want a panic and %q", line.Error, test.log)
			}
			if !strings.Contains(line.Stack, "errors_test.go") {
				t.Errorf("stack in the log: got %q, want the place of the panic", line.Stack)
			}
		})
	}
}

func TestPanicOfTheAuthenticator(t *testing.T) {
	s := newService(t, created, withAuthenticator(func(_ context.Context, r AuthenticationRequest) (context.Context, error) {
		panic(r.Token.Reveal())
	}))
	s.wantError(t, s.send(call{}), 500, "InternalServerError")
	s.wantCalls(t, 0)
}

// visit is a response whose Visit method is the function.
type visit func(http.ResponseWriter) error

func (v visit) VisitCreateUserResponse(w http.ResponseWriter) error { return v(w) }

func TestPanicAfterTheHeaderBreaksTheConnectionOff(t *testing.T) {
	halfway := responding(visit(func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":7,`+strings.Repeat(" ", 1<<16)) // more than net/http buffers
		panic(marker)
	}))
	s := newService(t, halfway, withoutValidation)
	server := httptest.NewServer(s)
	defer server.Close()
	response := raw(t, server, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: apikey t\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", usersPath, len(validBody), validBody))
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("got a complete response of %d bytes, want one that breaks off", len(body))
	}
	server.Close() // waits for the handler, which logs last
	if line := s.log.line(t, response.Header.Get("X-Request-Id")); !strings.HasPrefix(line.Error, "panic") || line.Stack == "" {
		t.Errorf("log line: got %+v, want the panic", line)
	}
	wantUnquoted(t, "the log", s.log.String())

	// A response that is being validated has not been sent in part.
	s = newService(t, halfway)
	s.wantError(t, s.send(call{}), 500, "InternalServerError")
}

func TestAbortHandlerPassesThrough(t *testing.T) {
	for _, edit := range []func(*Options){func(*Options) {}, withoutValidation} {
		s := newService(t, func(context.Context, apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
			panic(http.ErrAbortHandler)
		}, edit)
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler {
					t.Errorf("panic: got %v, want http.ErrAbortHandler", got)
				}
			}()
			s.ServeHTTP(w, call{}.request())
		}()
		if w.Body.Len() > 0 {
			t.Errorf("body: got %s, want none", w.Body)
		}
	}
}

// A response that fails after its first byte must not look complete.
func TestErrorAfterTheFirstByteClosesTheConnection(t *testing.T) {
	for _, size := range []int{1, 1 << 16} { // below and above what net/http buffers
		s := newService(t, responding(visit(func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusCreated)
			w.WriteHeader(http.StatusConflict) // too late, and ignored
			_, _ = io.WriteString(w, `{"id":7`+strings.Repeat(" ", size))
			return errors.New("a value cannot be encoded")
		})), withoutValidation)
		server := httptest.NewServer(s)
		response, err := http.DefaultTransport.RoundTrip(toServer(t, server.URL, call{}))
		if err == nil {
			body, readErr := io.ReadAll(response.Body)
			response.Body.Close()
			if readErr == nil {
				t.Errorf("got a complete response %d of %d bytes, want one that breaks off", response.StatusCode, len(body))
			}
		}
		server.Close() // waits for the handler, which logs last
		if log := s.log.String(); !strings.Contains(log, "a value cannot be encoded") || !strings.Contains(log, `"status":201`) {
			t.Errorf("log: got %s, want the status 201 and the error", log)
		}
	}
}

// toServer returns the call's request for a server at the URL.
func toServer(t *testing.T, base string, c call) *http.Request {
	t.Helper()
	r := c.request()
	to, err := r.URL.Parse(base + r.URL.RequestURI())
	if err != nil {
		t.Fatal(err)
	}
	r.URL, r.Host, r.RequestURI = to, "", ""
	return r
}

// The response is a 201 that the document declares, so that only its size
// makes a 500 of it.
func TestResponseTooLargeToBeHeld(t *testing.T) {
	var over error
	s := newService(t, responding(visit(func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		for range maxHeld >> 20 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				t.Errorf("writing up to the limit: %v", err)
			}
		}
		_, over = w.Write([]byte{' '})
		return over
	})))
	got := s.wantError(t, s.send(call{}), 500, "InternalServerError")
	if over == nil {
		t.Error("writing a byte more than the limit: got no error")
	}
	if line := s.log.line(t, got.RequestID); line.Error != "the response is larger than 16777216 bytes, the limit for errors and for validated responses" {
		t.Errorf("error in the log: got %q, want that it is too large", line.Error)
	}
}

// A text error that another handler wrote is replaced.
func TestTextErrorIsBroughtIntoForm(t *testing.T) {
	s := newService(t, responding(visit(func(w http.ResponseWriter) error {
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set("Content-Length", "3")
		w.Header().Set("Content-Encoding", "gzip")
		http.Error(w, marker, http.StatusTeapot)
		return nil
	})))
	w := s.send(call{})
	got := s.wantError(t, w, 418, "HTTPError")
	if got.Message != "I'm a teapot" {
		t.Errorf("message: got %q, want the status's", got.Message)
	}
	wantErrorHeaders(t, w, http.Header{})
}

// The bytes of a body cannot be read again: either the validated value is used, or
// nothing.
func TestBodyThatCannotBeBoundIsNotParsedAgain(t *testing.T) {
	doc := document(t)
	createOperation(doc).OperationID = "Other" // for which no decoder is generated
	s := built(t, doc, func(mux apiserver.ServeMux) {
		mux.HandleFunc("POST /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users", func(w http.ResponseWriter, r *http.Request) {
			var body struct {
				Name []int `json:"name"`
			}
			err := runtime.BindJSONValue(validated(t, r), &body)
			if err == nil {
				t.Errorf("binding: got %+v, want an error", body)
			}
			if data, err := io.ReadAll(r.Body); len(data) > 0 || err != nil {
				t.Errorf("reading the body again: got %q, %v; want nothing", data, err)
			}
			failBinding(w, r, fmt.Errorf("%s: %w", marker, err))
		})
	})
	got := s.wantError(t, s.send(call{}), 400, "ValidationError")
	if line := s.log.line(t, got.RequestID); !strings.HasPrefix(line.Error, "binding") {
		t.Errorf("error in the log: got %q, want that of the binding", line.Error)
	}
}
