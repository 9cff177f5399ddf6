// Package apierror translates between the API's errors and HTTP: [Of] and [Write]
// an error to its response, [Err] a response's status and error_code to the error.
package apierror

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/registryusers/registryusers"
)

// row is an error and the status, class and error_code of its response.
type row struct {
	err       error
	code      int
	class     string
	errorCode string // error_code in the body, or ""
}

// table lists the errors, specific ones before general ones, so that the first
// match gives an error's own text. The first row of a status without an error_code
// is the status's own. The classes are those of the vendor's service. An error_code
// distinguishes a specific error from others with its status, and never changes its
// meaning.
var table = []row{
	{registryusers.ErrIdempotencyKeyReused, http.StatusUnprocessableEntity, "ValidationError", "idempotency_key_reused"},
	{registryusers.ErrInvalid, http.StatusBadRequest, "ValidationError", ""},
	{registryusers.ErrInvalid, http.StatusUnprocessableEntity, "ValidationError", ""},
	{registryusers.ErrUnauthenticated, http.StatusUnauthorized, "token_not_valid", ""},
	{registryusers.ErrForbidden, http.StatusForbidden, "ForbiddenError", ""},
	{registryusers.ErrRegistryNotFound, http.StatusNotFound, "NotFoundError", "registry_not_found"},
	{registryusers.ErrUserNotFound, http.StatusNotFound, "NotFoundError", "user_not_found"},
	{registryusers.ErrAPIKeyNotFound, http.StatusNotFound, "NotFoundError", "api_key_not_found"},
	{registryusers.ErrNotFound, http.StatusNotFound, "NotFoundError", ""},
	{registryusers.ErrRegistryExists, http.StatusConflict, "ConflictError", "registry_exists"},
	{registryusers.ErrUserExists, http.StatusConflict, "ConflictError", "user_exists"},
	{registryusers.ErrUserChanged, http.StatusConflict, "ConflictError", "user_changed"},
	{registryusers.ErrExists, http.StatusConflict, "ConflictError", ""},
	{registryusers.ErrTooManyRequests, http.StatusTooManyRequests, "HTTPError", ""},
	{registryusers.ErrNotImplemented, http.StatusNotImplemented, "NotImplemented", ""},
	{registryusers.ErrUnavailable, http.StatusServiceUnavailable, "ServiceUnavailable", ""},
	{registryusers.ErrUnavailable, http.StatusBadGateway, "InternalServerError", ""},
	{registryusers.ErrOutcomeUnknown, http.StatusGatewayTimeout, "GatewayTimeout", ""},
	{registryusers.ErrInternal, http.StatusInternalServerError, "InternalServerError", ""},
}

// Body is the body of an error response. Its fields are those of the document.
type Body struct {
	ErrorCode      string              `json:"error_code,omitempty"`
	ExceptionClass string              `json:"exception_class"`
	InvalidFields  map[string][]string `json:"invalid_fields,omitempty"`
	Message        string              `json:"message"`
	RequestID      string              `json:"request_id"`
}

// InvalidRequest is the message of a response that names invalid fields.
const InvalidRequest = "the request is not valid"

// Of returns the status and the body of the response to err. If err wraps a
// [*registryusers.Error], they are those of its Kind, with its message and fields. Else the
// body never quotes err, whose text may have internal details: its message is the text of
// the sentinel that err wraps, or of [registryusers.ErrInternal] if err wraps none.
func Of(err error) (status int, body Body) {
	own, isOwn := errors.AsType[*registryusers.Error](err)
	if isOwn {
		err = own.Kind
	}
	row := general(http.StatusInternalServerError)
	for _, r := range table {
		if errors.Is(err, r.err) {
			row = r
			break
		}
	}
	body = Body{ErrorCode: row.errorCode, ExceptionClass: row.class, Message: row.err.Error()}
	if isOwn {
		if len(own.InvalidFields) > 0 {
			body.Message, body.InvalidFields = InvalidRequest, own.InvalidFields
		}
		body.Message = cmp.Or(own.Message, body.Message)
	}
	return row.code, body
}

// Err returns the error for a response: the specific error with this status and
// errorCode if there is one, else the status's general error, or nil if the status
// has none.
func Err(status int, errorCode string) error {
	for _, row := range table {
		if errorCode != "" && row.errorCode == errorCode && row.code == status {
			return row.err
		}
	}
	if status == http.StatusGatewayTimeout { // perhaps a proxy's
		return registryusers.ErrUnavailable
	}
	return general(status).err
}

// general returns the row of a status. Its err is nil if the status has no error.
func general(status int) row {
	for _, row := range table {
		if row.errorCode == "" && row.code == status {
			return row
		}
	}
	if status >= 500 {
		return general(http.StatusInternalServerError)
	}
	return row{class: "HTTPError"}
}

// NoSuchPath is the body of a 404 for a path without a route.
var NoSuchPath = Body{Message: "no such path", ErrorCode: "no_such_path"}

// MethodNotAllowed is the body of a 405, whose header Allow lists the methods.
var MethodNotAllowed = Body{Message: "this path does not have this method; the header Allow lists its methods"}

// Write writes an error response with its headers, and returns the body that it
// wrote. If body has no class or no message, Write uses the status's. For 500 and
// more it always uses the status's message, as the cause is for the log only. It
// keeps a Retry-After in w's header (nil: send none); else it sends one of a second
// with 429 and 503.
func Write(w http.ResponseWriter, status int, body Body) Body {
	if status >= 500 {
		body.Message = general(status).err.Error()
		if status != http.StatusNotImplemented {
			body.Message += "; the server's log has details under this request_id"
		}
	}
	return WritePublic(w, status, body)
}

// WritePublic is [Write] for a message that is meant for the caller, which it sends with
// every status.
func WritePublic(w http.ResponseWriter, status int, body Body) Body {
	row := general(status)
	body.ExceptionClass = cmp.Or(body.ExceptionClass, row.class)
	if status >= 500 {
		body.ErrorCode, body.InvalidFields = "", nil
	}
	switch {
	case body.Message != "":
	case row.err != nil:
		body.Message = row.err.Error()
	default:
		body.Message = cmp.Or(http.StatusText(status), fmt.Sprintf("status %d", status))
	}
	header := w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Location", "X-Content-Type-Options"} {
		delete(header, name) // they belong to a response that this one replaces
	}
	header["Content-Type"] = jsonContent
	if ids := header["X-Request-Id"]; len(ids) != 1 || ids[0] != body.RequestID {
		header["X-Request-Id"] = []string{body.RequestID}
	}
	if header["Cache-Control"] == nil {
		header["Cache-Control"] = noStore
	}
	switch status {
	case http.StatusUnauthorized:
		header["Www-Authenticate"] = challenge
	case http.StatusConflict:
		header.Set("x-should-retry", "false") // else the vendor's Go SDK repeats a request after a 409
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if _, isSet := header["Retry-After"]; !isSet {
			header.Set("Retry-After", "1")
		}
	}
	w.WriteHeader(status)
	buffer := buffers.Get().(*[]byte)
	*buffer = body.append((*buffer)[:0])
	_, _ = w.Write(*buffer) // fails only if the client has disconnected
	if cap(*buffer) <= 64<<10 {
		buffers.Put(buffer)
	}
	return body
}

// These are shared by all responses; they must not be changed.
var (
	noStore     = []string{"no-store"}
	jsonContent = []string{"application/json"}
	challenge   = []string{"apikey"}
)

// buffers has buffers for bodies of responses.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// append appends the body's JSON and a new line.
func (body *Body) append(b []byte) []byte {
	b = append(b, '{')
	if body.ErrorCode != "" {
		b = append(quote(append(b, `"error_code":`...), body.ErrorCode), ',')
	}
	b = quote(append(b, `"exception_class":`...), body.ExceptionClass)
	if len(body.InvalidFields) > 0 {
		before := `,"invalid_fields":{`
		names := slices.AppendSeq(make([]string, 0, len(body.InvalidFields)), maps.Keys(body.InvalidFields))
		slices.Sort(names)
		for _, name := range names {
			b = append(quote(append(b, before...), name), ':')
			before = "["
			for _, why := range body.InvalidFields[name] {
				b = quote(append(b, before...), why)
				before = ","
			}
			if before == "[" {
				b = append(b, "null"...)
			} else {
				b = append(b, ']')
			}
			before = ","
		}
		b = append(b, '}')
	}
	b = quote(append(b, `,"message":`...), body.Message)
	b = quote(append(b, `,"request_id":`...), body.RequestID)
	return append(b, '}', '\n')
}

// quote appends text as a JSON string.
func quote(b []byte, text string) []byte {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' { // not as it is
			quoted, _ := json.Marshal(text) // does not fail for a string
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}
