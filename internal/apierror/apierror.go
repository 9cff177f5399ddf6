// Package apierror translates between the API's errors and HTTP: from an error
// to the status and the body of its response, which [Write] sends, and from the
// status and the error_code of a response to its error.
package apierror

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/registryusers/registryusers"
)

// table goes from the specific to the general, so that the first match gives
// an error's own text. The classes are those of the vendor's service. An
// error_code never changes its meaning: it tells a specific error from others of
// its status.
var table = []struct {
	err       error
	code      int
	class     string
	errorCode string // error_code in the body, or ""
}{
	{registryusers.ErrIdempotencyKeyReused, http.StatusUnprocessableEntity, "ValidationError", "idempotency_key_reused"},
	{registryusers.ErrInvalid, http.StatusBadRequest, "ValidationError", ""},
	{registryusers.ErrUnauthenticated, http.StatusUnauthorized, "token_not_valid", ""},
	{registryusers.ErrForbidden, http.StatusForbidden, "ForbiddenError", ""},
	{registryusers.ErrRegistryNotFound, http.StatusNotFound, "NotFoundError", "registry_not_found"},
	{registryusers.ErrUserNotFound, http.StatusNotFound, "NotFoundError", "user_not_found"},
	{registryusers.ErrKeyNotFound, http.StatusNotFound, "NotFoundError", "api_key_not_found"},
	{registryusers.ErrNotFound, http.StatusNotFound, "NotFoundError", ""},
	{registryusers.ErrRegistryExists, http.StatusConflict, "ConflictError", "registry_exists"},
	{registryusers.ErrUserExists, http.StatusConflict, "ConflictError", "user_exists"},
	{registryusers.ErrUserChanged, http.StatusConflict, "ConflictError", "user_changed"},
	{registryusers.ErrExists, http.StatusConflict, "ConflictError", ""},
	{registryusers.ErrTooManyRequests, http.StatusTooManyRequests, "HTTPError", ""},
	{registryusers.ErrUnavailable, http.StatusServiceUnavailable, "ServiceUnavailable", ""},
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

// Of returns the status and the body of the response to err. The body never
// quotes err, which may say more than the caller may know: its message is that of
// the sentinel that err is, [registryusers.ErrInternal] if it is none.
func Of(err error) (status int, body Body) {
	for _, row := range table {
		if !errors.Is(err, row.err) {
			continue
		}
		body = Body{ErrorCode: row.errorCode, ExceptionClass: row.class, Message: row.err.Error()}
		if invalid, ok := errors.AsType[*registryusers.InvalidFieldsError](err); ok {
			body.Message, body.InvalidFields = InvalidRequest, invalid.Fields
		}
		return row.code, body
	}
	return Of(registryusers.ErrInternal)
}

// Err returns the error of a response: the specific one if errorCode is that of
// an error with this status, else the general one of the status, or nil if the
// status has none.
func Err(status int, errorCode string) error {
	for _, row := range table {
		if errorCode != "" && row.errorCode == errorCode && row.code == status {
			return row.err
		}
	}
	switch status {
	case http.StatusUnprocessableEntity:
		return registryusers.ErrInvalid
	case http.StatusNotFound:
		return registryusers.ErrNotFound
	case http.StatusConflict:
		return registryusers.ErrExists
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return registryusers.ErrUnavailable
	}
	for _, row := range table {
		if row.code == status {
			return row.err
		}
	}
	if status >= 500 {
		return registryusers.ErrInternal
	}
	return nil
}

// noStore is shared by all responses: nothing writes to it.
var noStore = []string{"no-store"}

// NoSuchPath is the body of a 404 for a path where nothing is served.
var NoSuchPath = Body{Message: "no such path", ErrorCode: "no_such_path"}

// Write writes an error response with its headers, and returns the body that it
// wrote. The status fills in a class or a message that body lacks. From 500 on,
// the message is the status's too: what failed inside is for the log. A
// Retry-After that w's header has stays, nil for none; else a 429 or 503 gets one
// of a second.
func Write(w http.ResponseWriter, status int, body Body) Body {
	if body.ExceptionClass == "" {
		body.ExceptionClass = class(status)
	}
	if status >= 500 {
		body.Message, body.ErrorCode, body.InvalidFields = message(status)+"; the server's log says more under this request_id", "", nil
	}
	if body.Message == "" {
		body.Message = message(status)
	}
	header := w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Location", "X-Content-Type-Options"} {
		header.Del(name) // set for another response, before this one was decided
	}
	header.Set("Content-Type", "application/json")
	if header.Get("X-Request-Id") != body.RequestID {
		header.Set("X-Request-Id", body.RequestID)
	}
	if header["Cache-Control"] == nil {
		header["Cache-Control"] = noStore
	}
	switch status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "apikey")
	case http.StatusConflict:
		header.Set("x-should-retry", "false") // the vendor's Go SDK repeats a 409 otherwise
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if _, isSet := header["Retry-After"]; !isSet {
			header.Set("Retry-After", "1")
		}
	}
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // strings always encode; the client may have gone
	return body
}

// class returns the exception class of a status.
func class(status int) string {
	for _, row := range table {
		if row.code == status {
			return row.class
		}
	}
	if status >= 500 {
		return "InternalServerError"
	}
	return "HTTPError"
}

// message returns the message of a status.
func message(status int) string {
	err := Err(status, "")
	if status == http.StatusGatewayTimeout {
		err = registryusers.ErrOutcomeUnknown
	}
	switch {
	case err != nil:
		return err.Error()
	case http.StatusText(status) != "":
		return http.StatusText(status)
	}
	return fmt.Sprintf("status %d", status)
}
