package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers"
)

type config struct {
	baseURL        string
	key            registryusers.Secret
	source         func(context.Context) (registryusers.Secret, error) // nil: use key
	project        id
	region         id
	tries          int
	budget         time.Duration
	idempotencyKey string // "": each call makes a new one
	logger         *slog.Logger
	insecureHTTP   bool
	http           *http.Client  // nil: one of the package's own
	timeout        time.Duration // 0: the default
	middleware     []func(http.RoundTripper) http.RoundTripper
	headers        map[string]registryusers.Secret // by canonical name; values may be secrets
	query          url.Values
	err            error // of the last invalid option

	// What is made of the settings.
	server     string                    // baseURL with a slash at its end
	tryTimeout time.Duration             // 0: none
	sender     *http.Client              // http with the middleware; nil: not made yet
	last       *atomic.Pointer[endpoint] // of the last call with these settings
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
// a proxy. Its CheckRedirect is not used: the client never follows a redirect, so
// that the API key goes to no other server. Default: an HTTP client of the package's
// own, which uses [http.DefaultTransport].
func WithHTTPClient(client *http.Client) Option {
	return func(c *config) {
		c.http, c.sender = client, nil
		if client == nil {
			c.err = errors.New("client: WithHTTPClient needs an HTTP client, not nil")
		}
	}
}

// WithTimeout limits each try of a call to d, more than 0: from the connection to
// the last byte of the response. [WithRetry] and the call's context limit all tries
// together. Default: [DefaultTimeout], or none with [WithHTTPClient], whose Timeout
// applies in any case.
func WithTimeout(d time.Duration) Option {
	return func(c *config) {
		c.timeout = d
		if d <= 0 {
			c.err = fmt.Errorf("client: %w: WithTimeout needs a time of more than 0", registryusers.ErrInvalid)
		}
	}
}

// WithMiddleware wraps the transport that sends the requests, for example to trace
// them. Each try passes through the first middleware first, then the second, and so
// on; those of the client come before those of a call. The client calls wrap in
// [New], and again in each call that has this option or WithHTTPClient.
//
// A RoundTripper of wrap sees the API key and the secrets. It must not change the
// request (clone it), follow a redirect, or repeat a request. If it fails without
// having sent the request, the client takes the outcome as unknown.
func WithMiddleware(wrap func(http.RoundTripper) http.RoundTripper) Option {
	return func(c *config) { c.middleware, c.sender = append(slices.Clip(c.middleware), wrap), nil }
}

// WithHeader sets a header of every request, in place of one with the same name.
// The API key, the Idempotency-Key and what describes the body cannot be set. The
// value is not printed with the client, but a call's error has it if the server
// repeats it. Default: the headers in GCORE_CUSTOM_HEADERS.
func WithHeader(name, value string) Option {
	return func(c *config) {
		if err := c.setHeader(name, value); err != nil {
			c.err = fmt.Errorf("client: %w", err)
		}
	}
}

// WithQuery adds a query parameter to the URL of every request, in place of one
// with the same name, even one that a call's arguments set. URLs, and so the texts of
// errors, show it.
func WithQuery(name, value string) Option {
	return func(c *config) {
		query := url.Values{}
		maps.Copy(query, c.query)
		query.Set(name, value)
		c.query = query
	}
}

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
// refuses it. A call that only reads sends no key. Default: a new key for each call.
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
func WithUserAgent(name string) Option { return WithHeader("User-Agent", name) }

// WithInsecureHTTP allows plain HTTP to a host that is not loopback. Everyone on
// the network path can then read the API key and the secrets.
func WithInsecureHTTP() Option { return func(c *config) { c.insecureHTTP = true } }

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
	base, err := url.Parse(c.baseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return c, errors.New("client: the base URL must be of the form https://HOST[:PORT][/PATH]")
	}
	if base.Scheme == "http" && !c.insecureHTTP && !isLoopback(base.Hostname()) {
		return c, errors.New("client: the base URL is plain HTTP to a host that is not loopback, which would expose the API key: use https, or WithInsecureHTTP")
	}
	if c.tryTimeout = c.timeout; c.http == nil && c.timeout == 0 {
		c.tryTimeout = DefaultTimeout
	}
	c.server, c.last = strings.TrimSuffix(c.baseURL, "/")+"/", new(atomic.Pointer[endpoint])
	if c.sender == nil {
		c.sender, err = c.newSender()
	}
	return c, err
}

// newSender returns the HTTP client with the middleware around its transport.
func (c *config) newSender() (*http.Client, error) {
	var sender http.Client
	if c.http != nil {
		sender = *c.http
	}
	sender.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, wrap := range slices.Backward(c.middleware) {
		if sender.Transport == nil {
			sender.Transport = http.DefaultTransport
		}
		if wrap != nil {
			sender.Transport = wrap(sender.Transport)
		}
		if wrap == nil || sender.Transport == nil {
			return nil, errors.New("client: WithMiddleware needs a function that returns a RoundTripper, not nil")
		}
	}
	return &sender, nil
}

// setHeaders sets the headers in text, one "Name: value" on each line.
func (c *config) setHeaders(text string) error {
	number := 0
	for line := range strings.Lines(text) {
		number++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("line %d must be of the form \"Name: value\"", number)
		}
		if err := c.setHeader(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

// setHeader sets a header of the requests. Its errors do not show the value.
func (c *config) setHeader(name, value string) error {
	if !isVisible(name) || strings.ContainsAny(name, `"(),/:;<=>?@[\]{}`) {
		return fmt.Errorf("%w: a header's name must be letters, digits and some signs, such as -", registryusers.ErrInvalid)
	}
	switch name = http.CanonicalHeaderKey(name); name {
	case "Authorization", "Idempotency-Key", "Content-Type", "Content-Length", "Transfer-Encoding", "Trailer", "Host":
		return fmt.Errorf("%w: the client itself sets the header %s", registryusers.ErrInvalid, name)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return fmt.Errorf("%w: the header %s must not have control characters", registryusers.ErrInvalid, name)
	}
	headers := map[string]registryusers.Secret{}
	maps.Copy(headers, c.headers)
	headers[name] = registryusers.NewSecret(value)
	c.headers = headers
	return nil
}
