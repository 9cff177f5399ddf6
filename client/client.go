// Package client calls the registry users API: this project's server and the
// vendor's own service alike.
//
//	c, err := client.New() // the key, project and region from the environment
//	...
//	user, err := c.CreateUser(ctx, registryID, client.NewUser{Name: "ci", Duration: 30})
//	switch {
//	case errors.Is(err, registryusers.ErrUserExists): // pick another name
//	case err != nil: // the rest; an *Error says what the server answered
//	}
//	login(user.Name, user.Secret.Reveal()) // the only time that it is told
//
// # Settings
//
// Every [Option] is for a client, given to [New], or for one call. What no
// option says comes from the environment, by the names that the vendor's SDKs
// use: GCORE_API_KEY, GCORE_BASE_URL, GCORE_CLOUD_PROJECT_ID and
// GCORE_CLOUD_REGION_ID. Without GCORE_BASE_URL and [WithBaseURL] the client
// calls the vendor's service, https://api.gcore.com, as the document says.
//
// # Nothing happens twice
//
// A call is tried again when a connection breaks, and on answers of 408, 429
// and 5xx, as [WithRetry] says. All tries of a call carry one Idempotency-Key, by
// which a server knows them for the same. [ErrOutcomeUnknown] is the one case in
// which the caller has to look.
//
// # Secrets
//
// The API key and the users' secrets are of types that print as "[redacted]";
// no error and no log line of this package holds one. The API key is sent over TLS
// only (but to loopback, or with [WithInsecureHTTP]), and never to where a
// redirect points.
//
// # Tests
//
// Package clienttest, beside this one, is a server for tests.
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

// DefaultBaseURL is the document's server, the vendor's service.
const DefaultBaseURL = apiclient.ServerURLHTTPSAPIGcoreCom

// DefaultTimeout bounds one try of a call, from the connection to the last byte
// of the answer, when the caller brings no HTTP client. All tries together are
// bounded by [WithRetry] and by the call's context.
const DefaultTimeout = 60 * time.Second

// Client calls the API. It is safe for concurrent use. Make one with [New].
type Client struct{ config config }

type config struct {
	http           *http.Client
	baseURL        string
	key            registryusers.Secret
	source         func(context.Context) (registryusers.Secret, error) // nil: key
	project        id
	region         id
	tries          int
	budget         time.Duration
	idempotencyKey string // of a call; "": a new one
	logger         *slog.Logger
	userAgent      []string // one, as a header has it
	insecureHTTP   bool
	err            error // of an option

	api *apiclient.Client // made of the others
}

// id is the id of a project or a region, or why it is not known.
type id struct {
	value int64 // 0: none
	err   error
}

// An Option changes one setting, of a client or of a single call.
type Option func(*config)

// WithAPIKey sets the API key, "<id>$<secret>": visible ASCII characters.
// Default: GCORE_API_KEY.
func WithAPIKey(key string) Option {
	return func(c *config) { c.key, c.source = registryusers.NewSecret(key), nil }
}

// WithAPIKeySource has the API key come from source, for keys that change while
// the program runs. It is asked once for each call, and again after an answer of
// 401: if the key is another by then, the request is repeated with it, within the
// tries of [WithRetry]. Calls ask concurrently. Its error ends the call, and is
// what the call returns.
func WithAPIKeySource(source func(ctx context.Context) (registryusers.Secret, error)) Option {
	return func(c *config) { c.source = source }
}

// WithBaseURL sets where the API is, without the document's paths. Default:
// GCORE_BASE_URL, or else [DefaultBaseURL], https://api.gcore.com, the vendor's
// service: a program for another server must set one of the two, or its API key
// goes to the vendor. It must be https, unless the host is loopback or
// [WithInsecureHTTP] is given.
func WithBaseURL(url string) Option { return func(c *config) { c.baseURL = url } }

// WithProject sets the project's id. Default: GCORE_CLOUD_PROJECT_ID.
func WithProject(project int64) Option {
	return func(c *config) { c.project = id{value: project} }
}

// WithRegion sets the region's id. Default: GCORE_CLOUD_REGION_ID.
func WithRegion(region int64) Option {
	return func(c *config) { c.region = id{value: region} }
}

// WithHTTPClient sets the HTTP client that sends the requests: for timeouts,
// proxies, and transports that trace or measure. Its CheckRedirect is not
// used: a redirect is never followed, so the API key goes nowhere else. Default:
// one with [DefaultTimeout].
func WithHTTPClient(client *http.Client) Option { return func(c *config) { c.http = client } }

// WithRetry sets how often a call is tried, the first time included, and for
// how long: no try begins later than budget after the call did. Between the
// tries it waits for a random time, up to 250 ms at first and twice as long each
// time, to 8 s at most, or for as long as the server's Retry-After says, if that
// is longer and within the budget. Default: [DefaultTries], [DefaultBudget].
func WithRetry(tries int, budget time.Duration) Option {
	return func(c *config) { c.tries, c.budget = tries, budget }
}

// WithoutRetry has a call tried once.
func WithoutRetry() Option { return WithRetry(1, 0) }

// WithIdempotencyKey sets the Idempotency-Key of one call, 1 to 255 visible
// characters: for a call whose outcome is unknown, so that it can be repeated
// with the same key, even by another process, within 24 hours. Give it to the
// call, not to [New]. Default: a new one for each call.
func WithIdempotencyKey(key string) Option {
	return func(c *config) {
		c.idempotencyKey = key
		if !isVisible(key) || len(key) > 255 {
			c.err = fmt.Errorf("client: %w: an Idempotency-Key must be 1 to 255 visible characters", registryusers.ErrInvalid)
		}
	}
}

// WithLogger sets the logger that is told, at level Info, of every try that
// is to be repeated, and why. It gets no secret. Default: none.
func WithLogger(logger *slog.Logger) Option { return func(c *config) { c.logger = logger } }

// WithUserAgent sets the header User-Agent. Default: "registryusers".
func WithUserAgent(name string) Option {
	return func(c *config) { c.userAgent = []string{name} }
}

// WithInsecureHTTP allows plain HTTP to a host that is not loopback: whoever
// listens on the way reads the API key and the secrets.
func WithInsecureHTTP() Option { return func(c *config) { c.insecureHTTP = true } }

// New returns a client. Without options it takes its settings from the
// environment: GCORE_API_KEY, GCORE_BASE_URL (default: [DefaultBaseURL]),
// GCORE_CLOUD_PROJECT_ID, GCORE_CLOUD_REGION_ID. It fails if there is no API key or a setting is not
// valid, and does not connect. Project and region may also come with a call.
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
		err = fmt.Errorf("client: %w: WithIdempotencyKey is for a call: with one key for all, each would be answered as the first", registryusers.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// Host returns the host, and the port if there is one, of the client's base URL.
func (c *Client) Host() string {
	base, err := url.Parse(c.config.baseURL)
	if err != nil {
		return "" // New refused it
	}
	return base.Host
}

// environment returns an id from the environment, if it is there.
func environment(name string) id {
	value := os.Getenv(name)
	if value == "" {
		return id{}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return id{err: fmt.Errorf("client: the environment's %s must be an integer", name)}
	}
	return id{value: n}
}

// with returns the settings with the options applied, checked.
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
		return c, fmt.Errorf("client: %w: WithRetry needs one try or more, and a budget that is not negative", registryusers.ErrInvalid)
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.http == nil {
		return c, errors.New("client: WithHTTPClient needs a client")
	}
	base, err := url.Parse(c.baseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return c, errors.New("client: the base URL must be of the form https://HOST[:PORT][/PATH]")
	}
	if base.Scheme == "http" && !c.insecureHTTP && !isLoopback(base.Hostname()) {
		return c, errors.New("client: the base URL is plain HTTP to another host, which would show the API key: use https, or WithInsecureHTTP")
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

// isVisible reports whether text is visible ASCII characters, one at least.
func isVisible(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' })
}

func checkKey(key registryusers.Secret) error {
	if key.Reveal() == "" {
		return errors.New("client: there is no API key: set GCORE_API_KEY, or use WithAPIKey")
	}
	if !isVisible(key.Reveal()) {
		return errors.New("client: the API key must be visible characters, without spaces")
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

// keyError is why there is no API key to send.
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
