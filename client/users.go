package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
	"github.com/registryusers/registryusers/gen/models"
)

// Never is the value of Days of a user that never expires.
const Never = -1

// NewUser is a user to create.
type NewUser struct {
	// Name is 0 to 16 lowercase letters and digits, unique in its registry.
	Name string
	// Days is the time until the user expires, 1 to 365 days, or [Never]. Always set
	// it: 0, the value of a Days that is not set, creates a user that expires at once
	// and can never log in.
	Days int64
	// ReadOnly users can pull, and cannot push.
	ReadOnly bool
	// Secret is a custom secret in UTF-8. With the zero Secret the server generates
	// one. This project's server accepts up to 1,024 bytes without control
	// characters.
	Secret registryusers.Secret
}

// User is a user of a registry.
type User struct {
	ID        int64  // 1 or more
	Name      string // as the server returns it; the vendor's service puts the registry in front
	ReadOnly  bool
	Days      int64 // from CreatedAt to ExpiresAt, or [Never]
	CreatedAt time.Time
	ExpiresAt time.Time // see [User.Expires]
}

// CreatedUser is a user with its secret, which only the call that creates the user
// returns.
type CreatedUser struct {
	User
	Secret registryusers.Secret
}

// Expires returns when the user expires, and whether it expires at all. Servers
// write "never" as different dates: this project's server as 9999-12-30, older
// versions of it as 9999-12-31, the vendor's as 1969-12-31. Expires takes every
// date in or before 1969, or in or after 9999, as never.
func (u User) Expires() (end time.Time, ends bool) {
	if year := u.ExpiresAt.UTC().Year(); u.Days == Never || year >= 9999 || year <= 1969 {
		return time.Time{}, false
	}
	return u.ExpiresAt, true
}

// These types have the fields of the generated models: a conversion that no longer
// compiles shows that the document's fields have changed.
type (
	createParams struct{ IdempotencyKey string }
	createBody   struct {
		Duration int64
		Name     string
		ReadOnly bool
		Secret   registryusers.SecretText
	}
	createdUser struct {
		CreatedAt time.Time
		Duration  int64
		ExpiresAt time.Time
		ID        int64
		Name      string
		ReadOnly  bool
		Secret    registryusers.SecretText
	}
	createdHeaders struct{ IdempotentReplayed, XRequestID *string }
)

// The headers of a success are not returned to the caller.
var _ = apiclient.CreateUserResponse201Headers(createdHeaders{})

// Idempotency-Key is the only parameter outside the path; every request that is not a
// GET has it.
var _ = models.CreateUserParams(createParams{})

var createUser = operation[models.CreatedUser]{
	name:     "create user",
	success:  201,
	complete: func(u models.CreatedUser) bool { return u.ID > 0 && !u.Secret.IsZero() },
	errors:   map[int]error{404: registryusers.ErrRegistryNotFound, 409: registryusers.ErrUserExists},
}

// CreateUser creates a user in a registry and returns it with its secret, which
// no later call returns. The options apply to this call only.
//
// CreateUser tries again, as [WithRetry] says, after connection errors and
// responses of 408, 429 and 5xx. All tries of a call carry one Idempotency-Key,
// new for each call, so that a server that supports the header creates at most one
// user, and responds to a repeat as to the first request.
//
// Arguments that the client itself finds invalid are [registryusers.ErrInvalid],
// and no request is sent. A response that is not a success is an [*Error], for
// which [errors.Is] finds one of
// [registryusers.ErrInvalid], [registryusers.ErrUnauthenticated],
// [registryusers.ErrForbidden], [registryusers.ErrRegistryNotFound],
// [registryusers.ErrUserExists], [registryusers.ErrIdempotencyKeyReused],
// [registryusers.ErrUserChanged], [registryusers.ErrTooManyRequests],
// [registryusers.ErrUnavailable] and [registryusers.ErrInternal]. Without a
// response (no connection, ctx done) the error wraps the HTTP client's.
//
// Either error is also [ErrOutcomeUnknown] if the user may have been created and
// no response said so; never if no request was sent. If it is both
// ErrOutcomeUnknown and [registryusers.ErrUserExists], this call may have created
// the user that exists, on a server that does not support the header (the
// vendor's may not), and its secret is lost.
func (c *Client) CreateUser(ctx context.Context, registryID int64, user NewUser, options ...Option) (CreatedUser, error) {
	config, err := c.settings(options)
	if err != nil {
		return CreatedUser{}, err
	}
	if !utf8.ValidString(user.Name) || !utf8.ValidString(user.Secret.Reveal()) { // encoding/json would replace the bytes
		return CreatedUser{}, fmt.Errorf("client: create user: %w: name and secret must be UTF-8", registryusers.ErrInvalid)
	}
	body := models.CreateUserRequest(createBody{
		Duration: user.Days,
		Name:     user.Name,
		ReadOnly: user.ReadOnly,
		Secret:   registryusers.SecretText{Secret: user.Secret},
	})
	model, err := send(ctx, config, &createUser, registryID, func() (*http.Request, error) {
		return apiclient.NewCreateUserRequest(config.server, config.project.value, config.region.value, registryID, nil, models.CreateUserRequest{})
	}, body, user.Secret)
	if err != nil {
		return CreatedUser{}, err
	}
	created := createdUser(model)
	return CreatedUser{
		User: User{
			ID:        created.ID,
			Name:      created.Name,
			ReadOnly:  created.ReadOnly,
			Days:      created.Duration,
			CreatedAt: created.CreatedAt,
			ExpiresAt: created.ExpiresAt,
		},
		Secret: created.Secret.Secret,
	}, nil
}
