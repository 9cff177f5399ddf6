package registryusers

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
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

	// ErrNotImplemented: the server does not have the operation (501). Nothing was done.
	ErrNotImplemented = errors.New("operation not implemented")

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

// Error is one of this package's errors with a text of its own. An implementation of
// the server, or its Authenticator, returns it, or an error that wraps it, to say more
// to the caller than Kind does. Package server sends Kind's status and error_code with
// Message, InvalidFields and RetryAfter. The client returns its own type for them, in
// which [errors.Is] finds Kind, too.
type Error struct {
	// Kind is one of this package's errors. Any other is an [ErrInternal], whose
	// Message is logged and not sent.
	Kind error

	// Message says to the caller what is wrong and what to do next. It is sent and
	// logged, so it must not have a secret. Default: Kind's text.
	Message string

	// InvalidFields has, by the name of a field of the request's body, what the field
	// must be ("must be at least -1"). It is sent and logged, so it must not quote what
	// was sent. It is not sent with a status of 500 or more. Default: none.
	InvalidFields map[string][]string

	// RetryAfter is how long the caller must wait before the next try, rounded up to a
	// second. Default: one second with 429 and 503, none with other statuses.
	RetryAfter time.Duration

	// Cause is why. It is logged and never sent. If it is the end of a context, the
	// response is that of the end of a context, without Message. Default: none.
	Cause error
}

// Error returns the message, the fields, sorted by name, and the cause in one line.
func (e *Error) Error() string {
	text := cmp.Or(e.Message, cmp.Or(e.Kind, ErrInternal).Error())
	for i, field := range slices.Sorted(maps.Keys(e.InvalidFields)) {
		text += []string{": ", "; "}[min(i, 1)] + field + " " + strings.Join(e.InvalidFields[field], ", ")
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns Kind and Cause, if they are set.
func (e *Error) Unwrap() []error {
	return slices.DeleteFunc([]error{e.Kind, e.Cause}, func(err error) bool { return err == nil })
}
