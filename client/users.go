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

// NewUser is a user to create.
type NewUser struct {
	// Name is at most 16 lowercase letters and digits, none is possible too,
	// and unique in its registry.
	Name string
	// Duration is how many days the user lasts, -1 to 365: 0 ends at once, -1 never.
	Duration int64
	// ReadOnly lets the user pull and not push.
	ReadOnly bool
	// Secret is the user's secret, in UTF-8. The zero Secret has the server
	// generate one. This project's server takes up to 1,024 bytes without control
	// characters.
	Secret registryusers.Secret
}

// User is a user of a registry.
type User struct {
	ID        int64  // 1 or more
	Name      string // as the server answers; the vendor's has the registry in it
	ReadOnly  bool
	Duration  int64 // days; -1 never ends
	CreatedAt time.Time
	ExpiresAt time.Time            // see [User.Expires]
	Secret    registryusers.Secret // told once, when it is made
}

// Expires returns when the user ends, and whether it ends at all. Servers
// write "never" as a date, and not all the same one: this project's server
// 9999-12-30, older versions of it 9999-12-31, the vendor's 1969-12-31. Every date
// of 1969 or before, and of 9999 or after, means never.
func (u User) Expires() (end time.Time, ends bool) {
	if year := u.ExpiresAt.UTC().Year(); u.Duration == -1 || year >= 9999 || year <= 1969 {
		return time.Time{}, false
	}
	return u.ExpiresAt, true
}

// These have the fields of the generated models: a conversion that no longer
// compiles says that the document's have changed.
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

// No header of a success is told to the caller so far.
var _ = apiclient.CreateUserResponse201Headers(createdHeaders{})

// The one parameter beside the path goes with every request: see attempt.
var _ = models.CreateUserParams(createParams{})

var createUser = operation[models.CreatedUser]{
	name:     "create user",
	success:  201,
	complete: func(u models.CreatedUser) bool { return u.ID > 0 && !u.Secret.IsZero() },
	errors:   map[int]error{404: registryusers.ErrRegistryNotFound, 409: registryusers.ErrUserExists},
}

// CreateUser creates a user in a registry and returns it with its secret,
// which no later call tells. The options are for this call alone.
//
// A try that fails is repeated, as [WithRetry] says, on connection errors and
// answers of 408, 429 and 5xx. Every try has the same Idempotency-Key, new for
// each call, so that a server that knows the header creates one user at most,
// and answers a repeat as it did the first time.
//
// What can be seen to be wrong beforehand is [registryusers.ErrInvalid], and is
// not sent. An answer that is not success is an [*Error], which is one of
// [registryusers.ErrInvalid], [registryusers.ErrUnauthenticated],
// [registryusers.ErrForbidden], [registryusers.ErrRegistryNotFound],
// [registryusers.ErrUserExists], [registryusers.ErrIdempotencyKeyReused],
// [registryusers.ErrUserChanged], [registryusers.ErrTooManyRequests],
// [registryusers.ErrUnavailable] and [registryusers.ErrInternal], under
// [errors.Is]. Without an answer (no connection, ctx done) the error is the
// HTTP client's.
//
// Either is also [ErrOutcomeUnknown] if the user may have been created without
// an answer that told; never if no request was sent. With [registryusers.ErrUserExists], after such a try: the
// user that exists may be this call's, of a server that does not know the
// header (the vendor's may not), and its secret cannot be had.
func (c *Client) CreateUser(ctx context.Context, registryID int64, user NewUser, options ...Option) (User, error) {
	config, err := c.call(options)
	if err != nil {
		return User{}, err
	}
	if !utf8.ValidString(user.Name) || !utf8.ValidString(user.Secret.Reveal()) { // JSON would change it
		return User{}, fmt.Errorf("client: create user: %w: name and secret must be UTF-8", registryusers.ErrInvalid)
	}
	body := models.CreateUserRequest(createBody{
		Duration: user.Duration,
		Name:     user.Name,
		ReadOnly: user.ReadOnly,
		Secret:   registryusers.SecretText(user.Secret),
	})
	model, err := do(ctx, config, &createUser, func(ctx context.Context, edit apiclient.RequestEditorFn) (*http.Response, error) {
		return config.api.CreateUser(ctx, config.project.value, config.region.value, registryID, nil, body, edit)
	}, user.Secret)
	if err != nil {
		return User{}, err
	}
	created := createdUser(model)
	return User{
		ID:        created.ID,
		Name:      created.Name,
		ReadOnly:  created.ReadOnly,
		Duration:  created.Duration,
		CreatedAt: created.CreatedAt,
		ExpiresAt: created.ExpiresAt,
		Secret:    created.Secret.Secret(),
	}, nil
}
