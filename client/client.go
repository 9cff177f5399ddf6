// Package client calls the registry users API, on this project's server or the
// vendor's service.
//
//	c, err := client.New() // the API key, project and region come from the environment
//	...
//	user, err := c.CreateUser(ctx, registryID, client.NewUser{Name: "ci", Days: 30})
//	switch {
//	case errors.Is(err, registryusers.ErrUserExists): // choose another name
//	case err != nil: // an *Error has the server's response
//	}
//	login(user.Name, user.Secret.Reveal()) // no later call returns the secret
//
// # Settings
//
// An [Option] given to [New] applies to every call of the client; an Option given
// to a call applies to that call. Settings without an option come from the
// environment variables of the vendor's SDKs: GCORE_API_KEY, GCORE_BASE_URL,
// GCORE_CLOUD_PROJECT_ID, GCORE_CLOUD_REGION_ID and GCORE_CUSTOM_HEADERS. Without
// GCORE_BASE_URL and [WithBaseURL] the client calls the document's server, the
// vendor's service at https://api.gcore.com.
//
// # Idempotent retries
//
// The client repeats a call when a connection breaks and when the server responds
// 408, 429 or 5xx, as [WithRetry] says. All tries of a call that changes something
// carry one Idempotency-Key, by which the server recognizes a repeat. Only after an
// [ErrOutcomeUnknown] must the caller find out whether the call was carried out.
//
// # Secrets
//
// The API key and the users' secrets have types that print as "[redacted]"; no
// error and no log line of this package contains them. The client sends the API
// key over TLS only (except to loopback, or with [WithInsecureHTTP]), and never to
// the target of a redirect.
//
// # Tests
//
// Package clienttest is a server for tests of programs that use this package.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
)

// DefaultBaseURL is the URL of the document's server: the vendor's service.
const DefaultBaseURL = apiclient.ServerURLHTTPSAPIGcoreCom

// DefaultTimeout limits one try of a call; see [WithTimeout].
const DefaultTimeout = 60 * time.Second

// Client calls the API. It is safe for concurrent use. [New] returns one; the calls
// of the zero Client return an error.
type Client struct{ config config }

// New returns a client. Without options it takes its settings from the
// environment:
//
//   - GCORE_API_KEY, the API key;
//   - GCORE_BASE_URL, the API's URL (default: [DefaultBaseURL]);
//   - GCORE_CLOUD_PROJECT_ID and GCORE_CLOUD_REGION_ID, which may also be options
//     of a call;
//   - GCORE_CUSTOM_HEADERS, headers for every request: one "Name: value" on each
//     line, as for [WithHeader]. Empty lines are ignored.
//
// New fails if there is no API key or a setting is not valid. It does not connect.
func New(options ...Option) (*Client, error) {
	c := config{
		baseURL: DefaultBaseURL,
		key:     registryusers.NewSecret(os.Getenv("GCORE_API_KEY")),
		project: environmentID("GCORE_CLOUD_PROJECT_ID"),
		region:  environmentID("GCORE_CLOUD_REGION_ID"),
		tries:   DefaultTries,
		budget:  DefaultBudget,
	}
	if url := os.Getenv("GCORE_BASE_URL"); url != "" {
		c.baseURL = url
	}
	if err := c.setHeaders(os.Getenv("GCORE_CUSTOM_HEADERS")); err != nil {
		return nil, fmt.Errorf("client: the environment variable GCORE_CUSTOM_HEADERS: %w", err)
	}
	c, err := c.with(options)
	if err == nil && c.idempotencyKey != "" {
		err = fmt.Errorf("client: %w: WithIdempotencyKey is an option of a call: with one key for all calls, each would get the first one's response", registryusers.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// environmentID returns the id in an environment variable.
func environmentID(name string) id {
	value := os.Getenv(name)
	if value == "" {
		return id{}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return id{err: fmt.Errorf("client: the environment variable %s must be an integer", name)}
	}
	return id{value: n}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// isVisible reports whether text is one or more visible ASCII characters.
func isVisible(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' })
}

func checkKey(key registryusers.Secret) error {
	if key.IsZero() {
		return errors.New("client: there is no API key: set GCORE_API_KEY, or use WithAPIKey")
	}
	if !isVisible(key.Reveal()) {
		return errors.New("client: the API key must be visible ASCII characters, without spaces")
	}
	return nil
}

// currentKey returns the API key to send.
func (c *config) currentKey(ctx context.Context) (registryusers.Secret, error) {
	if c.source == nil {
		return c.key, nil
	}
	key, err := c.source(ctx)
	if err != nil {
		return key, keyError{err}
	}
	if err := checkKey(key); err != nil {
		return key, keyError{err}
	}
	return key, nil
}

// keyError says why the client has no API key to send.
type keyError struct{ error }

func (e keyError) Error() string { return "no API key: " + e.error.Error() }
func (e keyError) Unwrap() error { return e.error }

// settings returns the settings for one call.
func (c *Client) settings(options []Option) (*config, error) {
	config := &c.config
	if len(options) > 0 {
		changed, err := config.with(options)
		if err != nil {
			return nil, err
		}
		config = &changed
	}
	if config.project.value == 0 || config.region.value == 0 {
		return nil, fmt.Errorf("client: %w: set GCORE_CLOUD_PROJECT_ID and GCORE_CLOUD_REGION_ID, or use WithProject and WithRegion", registryusers.ErrInvalid)
	}
	return config, nil
}
