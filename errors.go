package registryusers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The errors of the API, one name each on both sides of the wire: an
// implementation of the server returns them (or errors that wrap them), and
// [errors.Is] finds them in the client's errors. Each specific error also wraps
// its general error: ErrRegistryNotFound is an ErrNotFound.
var (
	// ErrInvalid: the request does not satisfy the document (400, 422).
	ErrInvalid = errors.New("invalid request")

	// ErrUnauthenticated: the API key is missing or unknown (401).
	ErrUnauthenticated = errors.New("not authenticated")

	// ErrForbidden: the API key is valid, but not for this project (403).
	ErrForbidden = errors.New("forbidden")

	// ErrNotFound: a resource that the request names does not exist (404).
	ErrNotFound         = errors.New("not found")
	ErrRegistryNotFound = fmt.Errorf("registry %w", ErrNotFound)
	ErrUserNotFound     = fmt.Errorf("user %w", ErrNotFound)
	ErrAPIKeyNotFound   = fmt.Errorf("API key %w", ErrNotFound)

	// ErrExists: the resource that the request would create already exists (409).
	ErrExists         = errors.New("already exists")
	ErrRegistryExists = fmt.Errorf("registry %w", ErrExists)
	ErrUserExists     = fmt.Errorf("user %w", ErrExists)

	// ErrIdempotencyKeyReused: a different request used the same Idempotency-Key
	// within the last 24 hours (422). It is an ErrInvalid.
	ErrIdempotencyKeyReused = fmt.Errorf("%w: the Idempotency-Key was used for another request", ErrInvalid)

	// ErrUserChanged: the request repeats an earlier one with its Idempotency-Key,
	// and the user that the earlier one created has since been deleted or has
	// another secret (409). It is an ErrExists.
	ErrUserChanged error = specific{"the user that this Idempotency-Key created has since been deleted or has another secret", ErrExists}

	// ErrTooManyRequests: the caller must wait before the next try (429).
	ErrTooManyRequests = errors.New("too many requests")

	// ErrInternal: the server failed; its log has the cause under the request id (500).
	ErrInternal = errors.New("internal server error")

	// ErrUnavailable: the server cannot handle the request now; a later try may
	// succeed (502, 503, 504). An implementation returns it only if nothing was
	// done (503).
	ErrUnavailable = errors.New("service unavailable")

	// ErrOutcomeUnknown: the request may or may not have been carried out (504).
	// An implementation returns it when it cannot find out, for example because
	// its context ended during a commit; package server treats
	// [context.Canceled] and [context.DeadlineExceeded] as this error. The
	// client's errors also wrap it when no response gave the outcome.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// specific is an error with its own text that wraps a general error.
type specific struct {
	text    string
	general error
}

func (e specific) Error() string { return e.text }
func (e specific) Unwrap() error { return e.general }

// InvalidFieldsError is an [ErrInvalid] that names the invalid fields of the
// request's body and says what is wrong with each. Package server sends Fields as
// invalid_fields, so Fields must not quote what was sent.
type InvalidFieldsError struct {
	Fields map[string][]string // by field name: what the field must be ("must be at least -1")
}

// Error returns the fields in one line, sorted by name.
func (e *InvalidFieldsError) Error() string {
	var text strings.Builder
	text.WriteString(ErrInvalid.Error())
	for i, field := range slices.Sorted(maps.Keys(e.Fields)) {
		text.WriteString([]string{": ", "; "}[min(i, 1)] + field + " " + strings.Join(e.Fields[field], ", "))
	}
	return text.String()
}

// Unwrap returns [ErrInvalid].
func (e *InvalidFieldsError) Unwrap() error { return ErrInvalid }
