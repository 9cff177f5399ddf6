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
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
)

// DefaultBaseURL is the document's server, the vendor's service.
const DefaultBaseURL = apiclient.ServerURLHTTPSAPIGcoreCom

// DefaultTimeout bounds one call, from the connection to the last byte of the
// answer, when the caller brings no HTTP client.
const DefaultTimeout = 60 * time.Second

// Client calls the API. It is safe for concurrent use.
type Client struct{ config config }

type config struct {
	http         *http.Client
	baseURL      string
	key          registryusers.Secret
	project      int64
	region       int64
	userAgent    string
	insecureHTTP bool
	err          error // of an option or an environment variable
}

// An Option changes one setting, of a client or of a single call.
type Option func(*config)

// WithAPIKey sets the API key, "<id>$<secret>". Default: GCORE_API_KEY.
func WithAPIKey(key string) Option {
	return func(c *config) { c.key = registryusers.NewSecret(key) }
}

// WithBaseURL sets where the API is, without the document's paths. Default:
// GCORE_BASE_URL, or [DefaultBaseURL]. It must be https, unless the host is
// loopback or [WithInsecureHTTP] is given.
func WithBaseURL(url string) Option { return func(c *config) { c.baseURL = url } }

// WithProject sets the project's id. Default: GCORE_CLOUD_PROJECT_ID.
func WithProject(id int64) Option { return func(c *config) { c.project = id } }

// WithRegion sets the region's id. Default: GCORE_CLOUD_REGION_ID.
func WithRegion(id int64) Option { return func(c *config) { c.region = id } }

// WithHTTPClient sets the HTTP client that sends the requests: for timeouts,
// proxies, and transports that trace or measure. Its CheckRedirect is not
// used: a redirect is never followed, so the API key goes nowhere else. Default:
// one with [DefaultTimeout].
func WithHTTPClient(client *http.Client) Option { return func(c *config) { c.http = client } }

// WithUserAgent sets the header User-Agent. Default: "registryusers".
func WithUserAgent(name string) Option { return func(c *config) { c.userAgent = name } }

// WithInsecureHTTP allows plain HTTP to a host that is not loopback: whoever
// listens on the way reads the API key and the secrets.
func WithInsecureHTTP() Option { return func(c *config) { c.insecureHTTP = true } }

// New returns a client. Without options it takes its settings from the
// environment: GCORE_API_KEY, GCORE_BASE_URL, GCORE_CLOUD_PROJECT_ID,
// GCORE_CLOUD_REGION_ID. It fails if there is no API key or a setting is not
// valid, and does not connect. Project and region may also come with a call.
func New(options ...Option) (*Client, error) {
	c := config{
		http:      &http.Client{Timeout: DefaultTimeout},
		baseURL:   DefaultBaseURL,
		key:       registryusers.NewSecret(os.Getenv("GCORE_API_KEY")),
		userAgent: "registryusers",
	}
	if url := os.Getenv("GCORE_BASE_URL"); url != "" {
		c.baseURL = url
	}
	c.project = c.environment("GCORE_CLOUD_PROJECT_ID")
	c.region = c.environment("GCORE_CLOUD_REGION_ID")
	c, err := c.with(options)
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

// environment returns an id from the environment, or 0.
func (c *config) environment(name string) int64 {
	value := os.Getenv(name)
	if value == "" {
		return 0
	}
	id, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		c.err = fmt.Errorf("client: the environment's %s must be an integer", name)
	}
	return id
}

// with returns the settings with the options applied, checked.
func (c config) with(options []Option) (config, error) {
	for _, option := range options {
		option(&c)
	}
	if c.err != nil {
		return c, c.err
	}
	if c.key.Reveal() == "" {
		return c, errors.New("client: there is no API key: set GCORE_API_KEY, or use WithAPIKey")
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
	return c, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// call returns the settings for one call, and the generated client for them.
func (c *Client) call(options []Option) (config, *apiclient.Client, error) {
	config := c.config
	if len(options) > 0 {
		var err error
		if config, err = config.with(options); err != nil {
			return config, nil, err
		}
	}
	if config.project == 0 || config.region == 0 {
		return config, nil, fmt.Errorf("client: %w: set GCORE_CLOUD_PROJECT_ID and GCORE_CLOUD_REGION_ID, or use WithProject and WithRegion", registryusers.ErrInvalid)
	}
	api, err := config.api()
	return config, api, err
}

func (c config) api() (*apiclient.Client, error) {
	return apiclient.NewClient(c.baseURL, apiclient.WithHTTPClient(c.http), apiclient.WithRequestEditorFn(
		func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "apikey "+c.key.Reveal())
			r.Header.Set("Accept", "application/json")
			r.Header.Set("User-Agent", c.userAgent)
			return nil
		}))
}
