package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/app/images"
	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/connections"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/ociregistry"
	"github.com/registryusers/registryusers/internal/web"
)

type serveOptions struct {
	app      images.Options
	registry ociregistry.Options // used if storesImages is "on"

	listen, data, addressFile string
	tlsCert, tlsKey           string
	insecureHTTP, isDev       bool
	newDatabase               bool
	storesImages              string
	trustedProxies            []string
	adminListen               string
	connections               connections.Limits
	drainTimeout              time.Duration
	logLevel                  slog.Level
	logFormat                 string
}

func serveCommand() *cobra.Command {
	o := serveOptions{registry: ociregistry.Options{Reserve: ociregistry.DefaultReserve}}
	cmd := newCommand("serve", "Serve the API, the token service and the registry", func(cmd *cobra.Command, _ []string) error {
		return o.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
	addConfigFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "address to listen on, HOST:PORT; port 0 takes a free one")
	flags.StringVar(&o.data, "data", "data", "directory of the database and the keys; it is created if it is missing")
	flags.BoolVar(&o.newDatabase, "new-database", false, "create an empty database beside keys whose database is lost; its users, registries and API keys are lost, too; for one start only: it is refused if there is a database")
	flags.StringVar(&o.registry.URL, "url", "", "URL at which clients reach this server (default: from --listen)")
	flags.StringVar(&o.tlsCert, "tls-cert", "", "file of the TLS certificate chain, PEM; it and --tls-key are read again when they change, and on SIGHUP")
	flags.StringVar(&o.tlsKey, "tls-key", "", "file of the TLS key, PEM")
	flags.BoolVar(&o.insecureHTTP, "insecure-http", false, "allow plain HTTP on an address that is not loopback, for example behind a proxy that does TLS")
	flags.BoolVar(&o.isDev, "dev", false, "create a registry and an API key, write them to DATA/dev.json, and print how to use them")
	choiceFlag(cmd, &o.storesImages, "images", "", "on: this server stores images; off: another registry stores them and accepts this server's tokens", "on", "off")
	flags.Var(&sizeFlag{bytes: &o.registry.Reserve}, "reserve", "free space that pushes leave on the disk of the images, such as 512MiB or 0; below it, pushes are refused, so that users can still be removed (default: the larger of 256 MiB and 2 % of the file system); unless it is 0, the larger of 1024 and 2 % of the inodes stay free, too")
	flags.StringVar(&o.app.Service, "service", "registryusers", "name of the registry in tokens: their issuer and audience")
	flags.BoolVar(&o.app.TokenCertificate, "token-x5c", false, "put the certificate into tokens, for another registry that verifies them by a certificate bundle")
	flags.StringSliceVar(&o.trustedProxies, "trusted-proxy", nil, "address range (CIDR) of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted; failed logins are counted by the client address that they name")
	flags.StringVar(&o.adminListen, "admin-listen", "", "address of a separate listener for /healthz and /readyz, HOST:PORT; it responds even when all connections of --listen are in use")
	flags.IntVar(&o.connections.Total, "max-connections", 0, "maximum number of open connections (default: 4096, or what the limit of open files allows); pulls and pushes get the open files that connections leave")
	flags.IntVar(&o.connections.PerAddress, "max-connections-per-address", 0, "maximum number of open connections from one IPv4 address or IPv6 /64, except those of --trusted-proxy (default: a quarter of --max-connections); for an IPv6 /56 the maximum is a third of --max-connections, for a /48 half, or this number if it is larger")
	flags.DurationVar(&o.drainTimeout, "drain-timeout", 10*time.Second, "how long requests in progress may take when the server is stopped")
	flags.BoolVar(&o.app.BareNames, "bare-names", false, "let users with a custom secret log in with their bare name, if only one such user has it; all registries must be in one project")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "lowest level that is logged: ERROR, WARN, INFO, which includes every request, or DEBUG, which includes probes")
	choiceFlag(cmd, &o.logFormat, "log-format", "", "format of the log", "text", "json")
	flags.BoolVar(&o.app.ValidateResponses, "validate-responses", false, "check every response of the API against the document, and send 500 instead of one that does not match; slow, for tests")
	flags.BoolVar(&o.app.RefuseUnknownFields, "refuse-unknown-fields", false, "refuse API requests whose body has fields that the document does not name, with 400; by default they are ignored and their names logged at level WARN")
	flags.StringVar(&o.addressFile, "address-file", "", "file to write the listening address to, when the server listens")
	return cmd
}

// serve serves until ctx is done.
func (o *serveOptions) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	logger := o.logger(stderr)
	o.app.Logger = logger
	config, reload, err := o.tls(logger)
	if err != nil {
		return err
	}
	defer onHangup(reload)()
	if err := o.check(); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("cannot listen (choose another address with --listen): %w", err)
	}
	defer listener.Close()
	open := datadir.Open
	if o.newDatabase {
		open = datadir.OpenNew
	}
	dir, err := open(ctx, o.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if o.storesImages == "on" {
		o.registry.Root = dir.Images()
		o.app.Registry = &o.registry
	}
	a, err := images.Open(ctx, dir, o.app)
	if o.app.BareNames && errors.Is(err, registryusers.ErrInvalid) {
		return usagef("--bare-names: %w", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	defer a.Maintain(ctx, dir.Store)()
	stopAdmin, err := o.serveAdmin(ctx, a.Accounts.Ready, logger)
	if err != nil {
		return err
	}
	defer stopAdmin()
	httpServer := a.Server(web.Options{TLS: config, Proxies: o.connections.Exempt})
	scheme, start := "http", httpServer.Serve
	if config != nil {
		scheme, start = "https", func(l net.Listener) error { return httpServer.ServeTLS(l, "", "") }
	}
	base := cmp.Or(o.registry.URL, scheme+"://"+reachableAddress(listener.Addr()))
	if o.isDev {
		if err := dev(ctx, dir, a.Accounts, base, o.storesImages == "on", stdout); err != nil {
			return err
		}
	}
	if o.addressFile != "" {
		if err := atomicfile.Write(o.addressFile, []byte(listener.Addr().String()+"\n"), 0o600); err != nil {
			return fmt.Errorf("the address file cannot be written: %w", err)
		}
	}
	if o.storesImages == "on" && o.registry.Requests > 0 && o.registry.Requests < ociregistry.MaxRequests/4 {
		logger.Warn("the limit of open files allows few pulls and pushes at a time; raise it (ulimit -n), or lower --max-connections",
			"open_files", connections.OpenFiles(), "max_connections", o.connections.Total, "max_requests", o.registry.Requests)
	}
	logger.Info("serving", "url", base, "data", o.data)

	listener = connections.Limit(listener, httpServer, o.connections, logger)
	served := make(chan error, 1)
	go func() { served <- start(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	logger.Info("shutting down")
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.drainTimeout)
	defer cancel()
	if httpServer.Shutdown(bounded) != nil {
		logger.Warn("requests that were still in progress were cut off", "drain_timeout", o.drainTimeout)
		return httpServer.Close()
	}
	return nil
}

// serveAdmin serves the probes on --admin-listen until stop is called. Without
// --admin-listen it does nothing.
func (o *serveOptions) serveAdmin(ctx context.Context, ready func(context.Context) error, logger *slog.Logger) (stop func(), err error) {
	if o.adminListen == "" {
		return func() {}, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.adminListen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for probes (choose another address with --admin-listen): %w", err)
	}
	server := web.New(web.Handlers{Ready: ready}, web.Options{Logger: logger})
	listener = connections.Limit(listener, server, connections.Limits{Total: maxAdminConnections, PerAddress: maxAdminConnections}, logger)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("the listener for probes (--admin-listen) failed", "error", err)
		}
	}()
	logger.Info("serving probes", "url", "http://"+reachableAddress(listener.Addr()))
	return func() { _ = server.Close() }, nil
}

// maxAdminConnections is the most connections that the admin listener has open.
const maxAdminConnections = 16

func (o *serveOptions) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: o.logLevel}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// check refuses invalid settings, and those that would send secrets unencrypted over
// the network. It fills in defaults.
func (o *serveOptions) check() error {
	if o.registry.URL != "" {
		u, err := url.Parse(o.registry.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return usagef("--url must be of the form https://HOST[:PORT]")
		}
		o.registry.URL = u.Scheme + "://" + u.Host
	}
	if o.app.Service == "" {
		return usagef("--service must not be empty")
	}
	if o.connections.Total < 0 || o.connections.PerAddress < 0 {
		return usagef("--max-connections and --max-connections-per-address must not be negative")
	}
	if o.drainTimeout < 0 {
		return usagef("--drain-timeout must not be negative")
	}
	openFiles := connections.OpenFiles()
	if o.connections.Total == 0 {
		o.connections.Total = connections.Max(openFiles)
	}
	o.registry.Requests = connections.MaxImageRequests(openFiles, o.connections.Total)
	if o.connections.PerAddress == 0 {
		o.connections.PerAddress = max(1, o.connections.Total/4)
	}
	for _, text := range o.trustedProxies {
		proxies, err := netip.ParsePrefix(text)
		if err != nil {
			return usagef("--trusted-proxy %q: must be an address range such as 10.0.0.0/8", text)
		}
		o.connections.Exempt = append(o.connections.Exempt, proxies)
	}
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return usagef("--listen must be of the form HOST:PORT")
	}
	if o.tlsCert == "" && !o.insecureHTTP && !isLoopback(host) {
		return usagef("--listen %s is not a loopback address, and plain HTTP would send API keys and secrets unencrypted over the network: "+
			"give --tls-cert and --tls-key, or --insecure-http behind a proxy that does TLS", o.listen)
	}
	return nil
}

// reachableAddress returns the address at which this machine reaches a listener.
func reachableAddress(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return address.String()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
