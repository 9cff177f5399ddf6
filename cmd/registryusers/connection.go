package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/internal/app/images"
)

// connectionHelp is the help of the commands that call the API, about its address.
const connectionHelp = `The address of the API comes from --api, from GCORE_BASE_URL, or from --data: the
data directory of a server that was started with --dev, whose dev.json has the
API key, the project, the region and the registry as well. There is no default:
the vendor's service is at ` + client.DefaultBaseURL + `.

Environment:
  GCORE_BASE_URL          address of the API, https://HOST[:PORT]
  GCORE_API_KEY           API key, ID$SECRET; quote it with single quotes
  GCORE_CLOUD_PROJECT_ID  id of the project
  GCORE_CLOUD_REGION_ID   id of the region
  GCORE_CUSTOM_HEADERS    headers for every request, "Name: value" on each line
  SSL_CERT_FILE           certificates of the authorities to trust, PEM (not on
                          macOS and Windows, which have a store of their own)
  HTTPS_PROXY, NO_PROXY   proxy to use, and the hosts to reach without it`

// connectionFlags are the flags of a command that calls the API.
type connectionFlags struct {
	api, data    string
	insecureHTTP bool
}

func (f *connectionFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.api, "api", "", "address of the API, https://HOST[:PORT] (default: GCORE_BASE_URL)")
	flags.StringVar(&f.data, "data", "", "data directory of a server that was started with --dev: its dev.json has the address, the API key, the project, the region and the registry")
	flags.BoolVar(&f.insecureHTTP, "insecure-http", false, "allow plain HTTP to a host that is not loopback")
	excludeFlags(cmd, "api", "data")
}

// connection is the address of the API, and what to call it with.
type connection struct {
	url, host, key                string // host is that of url, with the port
	projectID, regionID, registry int64  // registry 0: unknown
	urlFrom, keyFrom              string // the flag, variable or file that url and key come from
	insecureHTTP                  bool
}

// find returns the connection that the flags and the environment describe. Its
// errors are usage errors.
func (f *connectionFlags) find() (connection, error) {
	c := connection{insecureHTTP: f.insecureHTTP}
	var err error
	if f.data != "" {
		err = c.fromData(f.data)
	} else {
		err = c.fromEnvironment(f.api)
	}
	if err != nil {
		return c, err
	}
	base, err := url.Parse(c.url)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return c, usagef("%s must be of the form https://HOST[:PORT]", c.urlFrom)
	}
	if base.Scheme == "http" && !c.insecureHTTP && !isLoopback(base.Hostname()) {
		return c, usagef("%s is plain HTTP to another host, which would send the API key unencrypted over the network: use https, or --insecure-http", c.urlFrom)
	}
	c.host = base.Host
	return c, nil
}

func (c *connection) fromData(data string) error {
	path := filepath.Join(data, images.DevFileName)
	file, err := images.ReadDevFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return usagef("--data: there is no file %s: 'registryusers serve --dev --data %s' writes it", path, data)
	case err != nil:
		return usagef("--data: %w", err)
	case file.URL == "" || file.APIKey == "":
		return usagef("--data: %s has no address or no API key: start 'registryusers serve --dev --data %s' again", path, data)
	}
	c.url, c.key, c.urlFrom, c.keyFrom = file.URL, file.APIKey, path, path
	c.projectID, c.regionID, c.registry = file.ProjectID, file.RegionID, file.RegistryID
	return nil
}

func (c *connection) fromEnvironment(api string) (err error) {
	c.url, c.urlFrom, c.keyFrom = api, "--api", "GCORE_API_KEY"
	if c.url == "" {
		c.url, c.urlFrom = os.Getenv("GCORE_BASE_URL"), "GCORE_BASE_URL"
	}
	if c.url == "" {
		return usagef("the address of the API is missing: give --api URL, set GCORE_BASE_URL, or name with --data DIR the data directory of a server that was started with --dev (the vendor's service is at %s)", client.DefaultBaseURL)
	}
	if c.key = os.Getenv("GCORE_API_KEY"); c.key == "" {
		return usagef("the API key is missing: set GCORE_API_KEY")
	}
	if c.projectID, err = idFromEnvironment("GCORE_CLOUD_PROJECT_ID"); err != nil {
		return err
	}
	c.regionID, err = idFromEnvironment("GCORE_CLOUD_REGION_ID")
	return err
}

func idFromEnvironment(name string) (int64, error) {
	value := os.Getenv(name)
	if value == "" {
		return 0, usagef("%s is not set", name)
	}
	id, err := strconv.ParseInt(value, 10, 64)
	if err != nil || id == 0 {
		return 0, usagef("%s must be an integer, the id of the project or region", name)
	}
	return id, nil
}

// client returns a client for the connection.
func (c *connection) client() (*client.Client, error) {
	options := []client.Option{
		client.WithBaseURL(c.url), client.WithAPIKey(c.key), client.WithProject(c.projectID), client.WithRegion(c.regionID),
	}
	if c.insecureHTTP {
		options = append(options, client.WithInsecureHTTP())
	}
	apiClient, err := client.New(options...)
	if err != nil {
		return nil, usageError{err}
	}
	return apiClient, nil
}

// next returns what to do about an error of any call, or "" if nothing is known.
func (c *connection) next(err error) string {
	var response *client.Error
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var noTLS tls.RecordHeaderError
	var connecting *net.OpError
	switch {
	case errors.As(err, &authority):
		return "The server's certificate is not trusted on this machine: set SSL_CERT_FILE to the file with its authority's certificate (PEM); on macOS and Windows, add the certificate to the system's store."
	case errors.As(err, &host):
		return "The server's certificate is for another name: check the address, " + c.urlFrom + "."
	case errors.As(err, &invalid):
		return "The server's certificate is not valid: its operator must renew it, unless this machine's clock is wrong."
	case errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		return "The server does not use TLS: check " + c.urlFrom + ", or use http://."
	case errors.As(err, &response) && response.Status < 400,
		errors.Is(err, registryusers.ErrNotFound) && !errors.Is(err, registryusers.ErrRegistryNotFound) && !errors.Is(err, registryusers.ErrUserNotFound):
		return "Check " + c.urlFrom + ": it must be the address of the API, without the path of an operation."
	case errors.Is(err, registryusers.ErrUnauthenticated):
		return "Check " + c.keyFrom + "; where the server runs, 'registryusers admin key create' creates a new one."
	case errors.As(err, &connecting) && connecting.Op == "proxyconnect":
		return "The proxy cannot be reached: check HTTPS_PROXY (HTTP_PROXY for http://); NO_PROXY names the hosts to reach without it."
	case exitCode(err) == 6:
		return "Check " + c.urlFrom + ", and that its server runs; then try again."
	}
	return ""
}
