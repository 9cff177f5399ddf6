package registryusers_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/registryusers/registryusers"
)

// sentinels has every error of the package: its text, and the general
// errors that it also is.
var sentinels = []struct {
	name string
	err  error
	text string
	also []error
}{
	{"ErrInvalid", registryusers.ErrInvalid, "invalid request", nil},
	{"ErrUnauthenticated", registryusers.ErrUnauthenticated, "not authenticated", nil},
	{"ErrForbidden", registryusers.ErrForbidden, "forbidden", nil},
	{"ErrNotFound", registryusers.ErrNotFound, "not found", nil},
	{"ErrRegistryNotFound", registryusers.ErrRegistryNotFound, "registry not found", []error{registryusers.ErrNotFound}},
	{"ErrUserNotFound", registryusers.ErrUserNotFound, "user not found", []error{registryusers.ErrNotFound}},
	{"ErrAPIKeyNotFound", registryusers.ErrAPIKeyNotFound, "API key not found", []error{registryusers.ErrNotFound}},
	{"ErrExists", registryusers.ErrExists, "already exists", nil},
	{"ErrRegistryExists", registryusers.ErrRegistryExists, "registry already exists", []error{registryusers.ErrExists}},
	{"ErrUserExists", registryusers.ErrUserExists, "user already exists", []error{registryusers.ErrExists}},
	{"ErrIdempotencyKeyReused", registryusers.ErrIdempotencyKeyReused, "invalid request: the Idempotency-Key was used for another request", []error{registryusers.ErrInvalid}},
	{"ErrUserChanged", registryusers.ErrUserChanged, "the user that this Idempotency-Key created has since been deleted or has another secret", []error{registryusers.ErrExists}},
	{"ErrTooManyRequests", registryusers.ErrTooManyRequests, "too many requests", nil},
	{"ErrInternal", registryusers.ErrInternal, "internal server error", nil},
	{"ErrOutcomeUnknown", registryusers.ErrOutcomeUnknown, "outcome unknown", nil},
	{"ErrUnavailable", registryusers.ErrUnavailable, "service unavailable", nil},
}

func TestErrorsAreTheirGeneralErrorsAndNoOthers(t *testing.T) {
	for _, one := range sentinels {
		for _, other := range sentinels {
			want := one.err == other.err
			for _, general := range one.also {
				want = want || general == other.err
			}
			for form, err := range map[string]error{"itself": one.err, "wrapped": fmt.Errorf("call: %w", one.err)} {
				if got := errors.Is(err, other.err); got != want {
					t.Errorf("errors.Is(%s %s, %s): got %v, want %v", one.name, form, other.name, got, want)
				}
			}
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, tt := range sentinels {
		if got := tt.err.Error(); got != tt.text {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.text)
		}
	}
}

func TestInvalidFieldsErrorNamesTheFields(t *testing.T) {
	for want, fields := range map[string]map[string][]string{
		"invalid request":                                     nil,
		"invalid request: secret must be short":               {"secret": {"must be short"}},
		"invalid request: a is b, is c; secret must be short": {"secret": {"must be short"}, "a": {"is b", "is c"}},
	} {
		err := error(&registryusers.InvalidFieldsError{Fields: fields})
		if err.Error() != want || !errors.Is(err, registryusers.ErrInvalid) || errors.Is(err, registryusers.ErrIdempotencyKeyReused) {
			t.Errorf("%v: got %q, want %q, and that it is only %v", fields, err, want, registryusers.ErrInvalid)
		}
	}
}
