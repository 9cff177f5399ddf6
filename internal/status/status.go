// Package status is the one table between the API's errors and HTTP: server
// reads it from error to status, client from status to error.
package status

import (
	"errors"
	"net/http"

	"github.com/registryusers/registryusers"
)

// table goes from the specific to the general, so that the first match gives
// an error's own words. The classes are those of the vendor's service.
var table = []struct {
	err   error
	code  int
	class string
}{
	{registryusers.ErrIdempotencyKeyReused, http.StatusUnprocessableEntity, "ValidationError"},
	{registryusers.ErrInvalid, http.StatusBadRequest, "ValidationError"},
	{registryusers.ErrUnauthenticated, http.StatusUnauthorized, "token_not_valid"},
	{registryusers.ErrForbidden, http.StatusForbidden, "ForbiddenError"},
	{registryusers.ErrRegistryNotFound, http.StatusNotFound, "NotFoundError"},
	{registryusers.ErrUserNotFound, http.StatusNotFound, "NotFoundError"},
	{registryusers.ErrKeyNotFound, http.StatusNotFound, "NotFoundError"},
	{registryusers.ErrNotFound, http.StatusNotFound, "NotFoundError"},
	{registryusers.ErrRegistryExists, http.StatusConflict, "ConflictError"},
	{registryusers.ErrUserExists, http.StatusConflict, "ConflictError"},
	{registryusers.ErrUserChanged, http.StatusConflict, "ConflictError"},
	{registryusers.ErrExists, http.StatusConflict, "ConflictError"},
	{registryusers.ErrTooManyRequests, http.StatusTooManyRequests, "HTTPError"},
	{registryusers.ErrUnavailable, http.StatusServiceUnavailable, "ServiceUnavailable"},
	{registryusers.ErrInternal, http.StatusInternalServerError, "InternalServerError"},
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
