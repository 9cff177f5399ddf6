// Package status is the one table between the API's errors and HTTP: server
// reads it from error to status, client from status to error.
package status

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/registryusers/registryusers"
)

// table goes from the specific to the general, so that the first match gives
// an error's own words. The classes are those of the vendor's service. The codes
// are words that never change their meaning: a specific error has one, by which
// the client tells it from others of its status.
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

// Of returns the status for err, and the sentinel that err answers to,
// [registryusers.ErrInternal] if none. The sentinel's text is fit for the caller; err's may not be.
func Of(err error) (code int, sentinel error) {
	for _, row := range table {
		if errors.Is(err, row.err) {
			return row.code, row.err
		}
	}
	return http.StatusInternalServerError, registryusers.ErrInternal
}

// Code returns the error_code of a sentinel, or "" for one that its status tells.
func Code(sentinel error) string {
	for _, row := range table {
		if row.err == sentinel { //nolint:errorlint // a sentinel itself, not what wraps it
			return row.errorCode
		}
	}
	return ""
}

// ErrOfCode returns the specific error that has the error_code and the status,
// or nil if there is none.
func ErrOfCode(errorCode string, code int) error {
	for _, row := range table {
		if errorCode != "" && row.errorCode == errorCode && row.code == code {
			return row.err
		}
	}
	return nil
}

// Class returns the exception class that an answer of this status carries.
func Class(code int) string {
	for _, row := range table {
		if row.code == code {
			return row.class
		}
	}
	if code >= 500 {
		return "InternalServerError"
	}
	return "HTTPError"
}

// Message returns what an answer of this status says where nobody said more.
func Message(code int) string {
	err := Err(code)
	if code == http.StatusGatewayTimeout {
		err = registryusers.ErrOutcomeUnknown
	}
	switch {
	case err != nil:
		return err.Error()
	case http.StatusText(code) != "":
		return http.StatusText(code)
	}
	return fmt.Sprintf("status %d", code)
}

// Err returns the general error for a status, or nil for one that has none.
func Err(code int) error {
	switch code {
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
		if row.code == code {
			return row.err
		}
	}
	if code >= 500 {
		return registryusers.ErrInternal
	}
	return nil
}
