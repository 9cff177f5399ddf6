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
// the client's errors answer to [errors.Is] with them. The specific ones are
// also their general one: ErrRegistryNotFound is an ErrNotFound.
var (
	// ErrInvalid: the request breaks a rule of the document (400, 422).
	ErrInvalid = errors.New("invalid request")

	// ErrUnauthenticated: no API key, or one that is not known (401).
	ErrUnauthenticated = errors.New("not authenticated")

	// ErrForbidden: the API key is good, but not for this project (403).
	ErrForbidden = errors.New("forbidden")

	// ErrNotFound: what the request names does not exist (404).
	ErrNotFound         = errors.New("not found")
	ErrRegistryNotFound = fmt.Errorf("registry %w", ErrNotFound)
	ErrUserNotFound     = fmt.Errorf("user %w", ErrNotFound)
	ErrKeyNotFound      = fmt.Errorf("API key %w", ErrNotFound)

	// ErrExists: what the request would create exists already (409).
	ErrExists         = errors.New("already exists")
	ErrRegistryExists = fmt.Errorf("registry %w", ErrExists)
	ErrUserExists     = fmt.Errorf("user %w", ErrExists)

	// ErrIdempotencyKeyReused: another request had the same Idempotency-Key
	// within the last 24 hours (422). It is an ErrInvalid.
	ErrIdempotencyKeyReused = fmt.Errorf("%w: the Idempotency-Key was used for another request", ErrInvalid)

	// ErrUserChanged: the request is repeated with its Idempotency-Key, and the
	// user that it created has been removed since, or has another secret (409).
	// It is an ErrExists.
	ErrUserChanged error = specific{"the user that this Idempotency-Key created was removed or given another secret since", ErrExists}

	// ErrTooManyRequests: the caller must wait before it tries again (429).
	ErrTooManyRequests = errors.New("too many requests")

	// ErrInternal: the server failed; its log says how, under the request id (500).
	ErrInternal = errors.New("internal server error")

	// ErrUnavailable: the server cannot answer now; a later try may succeed
	// (502, 503, 504). An implementation returns it only if nothing was done (503).
	ErrUnavailable = errors.New("service unavailable")

	// ErrOutcomeUnknown: the request may have been carried out or not (504). An
	// implementation returns it when it cannot know, as when its context ended
	// during a commit; [context.Canceled] and [context.DeadlineExceeded] count as it.
	// The client's errors are this one too when no answer told.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// specific is an error with a text of its own that is also a general one.
type specific struct {
	text    string
	general error
}

func (e specific) Error() string { return e.text }
func (e specific) Unwrap() error { return e.general }

// InvalidFieldsError is an [ErrInvalid] that says what is wrong with which fields
// of the request's body. Package server sends Fields as invalid_fields, so it
// must not quote what was sent.
type InvalidFieldsError struct {
	Fields map[string][]string // what each field must be, by the field's name
}

// Error returns the fields in one line, by name.
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
