package registryusers

import (
	"errors"
	"fmt"
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

	// ErrTooManyRequests: the caller must wait before it tries again (429).
	ErrTooManyRequests = errors.New("too many requests")

	// ErrInternal: the server failed; its log says how, under the request id (500).
	ErrInternal = errors.New("internal server error")

	// ErrUnavailable: the server cannot answer now; a later try may succeed
	// (502, 503, 504).
	ErrUnavailable = errors.New("service unavailable")
)
