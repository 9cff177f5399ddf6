// Package client calls the registry users API, on this project's server or the
// vendor's service.
//
//	c, err := client.New() // the API key, project and region come from the environment
//	...
//	user, err := c.CreateUser(ctx, registryID, client.NewUser{Name: "ci", Duration: 30})
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
// GCORE_CLOUD_PROJECT_ID and GCORE_CLOUD_REGION_ID. Without GCORE_BASE_URL and
// [WithBaseURL] the client calls the document's server, the vendor's service at
// https://api.gcore.com.
//
// # Idempotent retries
//
// The client repeats a call when a connection breaks and when the server responds
// 408, 429 or 5xx, as [WithRetry] says. All tries of a call carry one
// Idempotency-Key, by which the server recognizes a repeat. Only after an
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
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
)

// DefaultBaseURL is the URL of the document's server: the vendor's service.
const DefaultBaseURL = apiclient.ServerURLHTTPSAPIGcoreCom

// DefaultTimeout limits one try of a call, from the connection to the last byte of
// the response, unless [WithHTTPClient] is given. [WithRetry] and the call's
// context limit all tries together.
const DefaultTimeout = 60 * time.Second

// Client calls the API. It is safe for concurrent use. [New] returns one.
type Client struct{ config config }

type config struct {
	http           *http.Client
	baseURL        string
	key            registryusers.Secret
	source         func(context.Context) (registryusers.Secret, error) // nil: use key
	project        id
	region         id
	tries          int
	budget         time.Duration
	idempotencyKey string // "": each call makes a new one
	logger         *slog.Logger
	userAgent      []string // the values of the header, one
	insecureHTTP   bool
	err            error // of the last invalid option

	api *apiclient.Client // built from baseURL and http
}

// id is the id of a project or a region.
type id struct {
	value int64 // 0: not set
	err   error // why the environment's value is not valid, or nil
}

// An Option changes one setting of a client or of a single call.
type Option func(*config)

// WithAPIKey sets the API key, "<id>$<secret>" in visible ASCII characters.
// Default: GCORE_API_KEY.
func WithAPIKey(key string) Option {
	return func(c *config) { c.key, c.source = registryusers.NewSecret(key), nil }
}

// WithAPIKeySource makes the client get its API key from source, for keys that
// change while the program runs. The client calls source once for each call, and
// again after a response of 401: if the key has changed, the client repeats the
// request with the new key, within the tries of [WithRetry]. Concurrent calls call
// source concurrently. If source fails, the call fails with an error that wraps
// source's.
func WithAPIKeySource(source func(ctx context.Context) (registryusers.Secret, error)) Option {
	return func(c *config) { c.source = source }
}

// WithBaseURL sets the API's URL, without the document's paths. Default:
// GCORE_BASE_URL, or [DefaultBaseURL] (https://api.gcore.com, the vendor's
// service) if that is not set. A program for another server must set one of the
// two, or it sends its API key to the vendor. The URL must be https, unless the
// host is loopback or [WithInsecureHTTP] is given.
func WithBaseURL(url string) Option { return func(c *config) { c.baseURL = url } }

// WithProject sets the project's id. Default: GCORE_CLOUD_PROJECT_ID.
func WithProject(project int64) Option {
	return func(c *config) { c.project = id{value: project} }
}

// WithRegion sets the region's id. Default: GCORE_CLOUD_REGION_ID.
func WithRegion(region int64) Option {
	return func(c *config) { c.region = id{value: region} }
}

// WithHTTPClient sets the HTTP client that sends the requests, for example to set
// timeouts or a proxy, or to trace requests. Its CheckRedirect is not used: the
// client never follows a redirect, so that the API key goes to no other server.
// Default: an HTTP client with [DefaultTimeout].
func WithHTTPClient(client *http.Client) Option { return func(c *config) { c.http = client } }

// WithRetry sets the number of tries of a call, including the first, and their
// budget: no try starts later than budget after the call's start. Before each
// repeat the client waits for a random time: up to 250 ms before the second try,
// then up to twice the previous limit, at most 8 s. If the server's Retry-After is
// longer, the client waits for that time instead, or gives up if the budget does
// not allow it. Default: [DefaultTries], [DefaultBudget].
func WithRetry(tries int, budget time.Duration) Option {
	return func(c *config) { c.tries, c.budget = tries, budget }
}

// WithoutRetry limits a call to one try.
func WithoutRetry() Option { return WithRetry(1, 0) }

// WithIdempotencyKey sets the Idempotency-Key of one call, 1 to 255 visible ASCII
// characters. If the call's outcome is unknown, the caller, or another process,
// can repeat it with the same key within 24 hours. It is an option of a call; [New]
// refuses it. Default: a new key for each call.
func WithIdempotencyKey(key string) Option {
	return func(c *config) {
		c.idempotencyKey = key
		if !isVisible(key) || len(key) > 255 {
			c.err = fmt.Errorf("client: %w: an Idempotency-Key must be 1 to 255 visible ASCII characters", registryusers.ErrInvalid)
		}
	}
}

// WithLogger sets the logger that gets one record, at level Info, for every
// failed try that the client repeats, with the error. It gets no secret. Default:
// no logging.
func WithLogger(logger *slog.Logger) Option { return func(c *config) { c.logger = logger } }

// WithUserAgent sets the header User-Agent. Default: "registryusers".
func WithUserAgent(name string) Option {
	return func(c *config) { c.userAgent = []string{name} }
}

// WithInsecureHTTP allows plain HTTP to a host that is not loopback. Everyone on
// the network path can then read the API key and the secrets.
func WithInsecureHTTP() Option { return func(c *config) { c.insecureHTTP = true } }

// New returns a client. Without options it takes its settings from the
// environment: GCORE_API_KEY, GCORE_BASE_URL (default: [DefaultBaseURL]),
// GCORE_CLOUD_PROJECT_ID and GCORE_CLOUD_REGION_ID. It fails if there is no API key
// or a setting is not valid. It does not connect. Project and region may also be
// options of a call.
func New(options ...Option) (*Client, error) {
	c := config{
		http:      &http.Client{Timeout: DefaultTimeout},
		baseURL:   DefaultBaseURL,
		key:       registryusers.NewSecret(os.Getenv("GCORE_API_KEY")),
		tries:     DefaultTries,
		budget:    DefaultBudget,
		userAgent: []string{"registryusers"},
	}
	if url := os.Getenv("GCORE_BASE_URL"); url != "" {
		c.baseURL = url
	}
	c.project = environment("GCORE_CLOUD_PROJECT_ID")
	c.region = environment("GCORE_CLOUD_REGION_ID")
	c, err := c.with(options)
	if err == nil && c.idempotencyKey != "" {
		err = fmt.Errorf("client: %w: WithIdempotencyKey is an option of a call: with one key for all calls, each would get the first one's response", registryusers.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// Host returns the host of the client's base URL, with the port if the URL has one.
func (c *Client) Host() string {
	base, err := url.Parse(c.config.baseURL)
	if err != nil {
		return "" // unreachable: New refuses such a URL
	}
	return base.Host
}

// environment returns the id in an environment variable.
func environment(name string) id {
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

// with applies the options and returns the settings, or an error if they are not valid.
func (c config) with(options []Option) (config, error) {
	for _, option := range options {
		option(&c)
	}
	for _, err := range []error{c.err, c.project.err, c.region.err} {
		if err != nil {
			return c, err
		}
	}
	if c.source == nil {
		if err := checkKey(c.key); err != nil {
			return c, err
		}
	}
	if c.tries < 1 || c.budget < 0 {
		return c, fmt.Errorf("client: %w: WithRetry needs at least one try and a budget of at least 0", registryusers.ErrInvalid)
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.http == nil {
		return c, errors.New("client: WithHTTPClient needs an HTTP client, not nil")
	}
	base, err := url.Parse(c.baseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return c, errors.New("client: the base URL must be of the form https://HOST[:PORT][/PATH]")
	}
	if base.Scheme == "http" && !c.insecureHTTP && !isLoopback(base.Hostname()) {
		return c, errors.New("client: the base URL is plain HTTP to a host that is not loopback, which would expose the API key: use https, or WithInsecureHTTP")
	}
	direct := *c.http
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &direct
	c.api, err = apiclient.NewClient(c.baseURL, apiclient.WithHTTPClient(c.http))
	return c, err
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
	if key.Reveal() == "" {
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

// call returns the settings for one call.
func (c *Client) call(options []Option) (*config, error) {
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
