package registryusers_test

import (
	"errors"
	"fmt"
	"slices"
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
	{"ErrNotImplemented", registryusers.ErrNotImplemented, "operation not implemented", nil},
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

func TestErrorSaysAllThatIsKnown(t *testing.T) {
	cause := errors.New("row 12")
	fields := map[string][]string{"secret": {"must be short"}, "a": {"is b", "is c"}}
	for want, err := range map[string]*registryusers.Error{
		"internal server error":                               {},
		"internal server error: row 12":                       {Cause: cause},
		"user already exists":                                 {Kind: registryusers.ErrUserExists},
		"choose another name":                                 {Kind: registryusers.ErrUserExists, Message: "choose another name"},
		"invalid request: a is b, is c; secret must be short": {Kind: registryusers.ErrInvalid, InvalidFields: fields},
		"no: a is b, is c; secret must be short: row 12":      {Kind: registryusers.ErrUserExists, Message: "no", InvalidFields: fields, Cause: cause},
	} {
		wrapped := fmt.Errorf("store: %w", err)
		if err.Error() != want || errors.Is(wrapped, cause) != (err.Cause != nil) || slices.Contains(err.Unwrap(), nil) {
			t.Errorf("%#v: got %q, %v, want %q, its cause and no nil", err, err, err.Unwrap(), want)
		}
		for _, sentinel := range sentinels {
			if got, want := errors.Is(wrapped, sentinel.err), err.Kind != nil && errors.Is(err.Kind, sentinel.err); got != want {
				t.Errorf("errors.Is(%#v, %s): got %t, want %t", err, sentinel.name, got, want)
			}
		}
	}
}
