package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/app/images"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/ociregistry"
)

type serveOptions struct {
	images  images.Options
	serving images.ServeOptions

	listen, adminListen, data string
	tlsCert, tlsKey           string
	insecureHTTP, isDev       bool
	newDatabase               bool
	storesImages              string
	trustedProxies            []string
	logLevel                  slog.Level
	logFormat                 string
}

func serveCommand() *cobra.Command {
	o := serveOptions{images: images.Options{Reserve: ociregistry.DefaultReserve}}
	cmd := newCommand("serve", "Serve the API, the token service and the registry", func(cmd *cobra.Command, _ []string) error {
		return o.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
	addConfigFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "address to listen on, HOST:PORT; port 0 takes a free one")
	flags.StringVar(&o.data, "data", "data", "directory of the database and the keys; it is created if it is missing")
	flags.BoolVar(&o.newDatabase, "new-database", false, "create an empty database, without users, registries and API keys, beside keys whose database is lost; for one start only: it is refused if there is a database")
	flags.StringVar(&o.images.URL, "url", "", "URL at which clients reach this server (default: from --listen)")
	flags.StringVar(&o.tlsCert, "tls-cert", "", "file of the TLS certificate chain, PEM; it and --tls-key are read again when they change, and on SIGHUP")
	flags.StringVar(&o.tlsKey, "tls-key", "", "file of the TLS key, PEM")
	flags.BoolVar(&o.insecureHTTP, "insecure-http", false, "allow plain HTTP on an address that is not loopback, for example behind a proxy that does TLS")
	flags.BoolVar(&o.isDev, "dev", false, "create a registry and an API key, write them to DATA/dev.json, and print how to use them")
	choiceFlag(cmd, &o.storesImages, "images", "", "on: this server stores images; off: another registry stores them and accepts this server's tokens", "on", "off")
	flags.Var(&sizeFlag{bytes: &o.images.Reserve}, "reserve", "free space that pushes leave on the disk of the images, such as 512MiB; below it, pushes are refused; 0 reserves nothing (default: the larger of 256 MiB and 2 % of the file system)")
	flags.StringVar(&o.images.Service, "token-service", "registryusers", "name of the registry in tokens: their issuer and audience")
	flags.BoolVar(&o.images.TokenCertificate, "token-certificate", false, "put the certificate into tokens, for another registry that verifies them by a certificate bundle")
	flags.StringSliceVar(&o.trustedProxies, "trusted-proxy", nil, "address range (CIDR) of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted; failed logins are counted by the client address that they name")
	flags.StringVar(&o.adminListen, "admin-listen", "", "address of a separate listener for the administrator, HOST:PORT; it serves only the probes, /healthz and /readyz, also when all connections of --listen are in use")
	flags.IntVar(&o.images.Connections.Total, "max-connections", 0, "maximum number of open connections (default: 4096, or what the limit of open files allows); pulls and pushes get the open files that connections leave")
	flags.IntVar(&o.images.Connections.PerAddress, "max-connections-per-address", 0, "maximum number of open connections from one IPv4 address or IPv6 /64, except those of --trusted-proxy (default: a quarter of --max-connections)")
	flags.DurationVar(&o.serving.DrainTimeout, "drain-timeout", 10*time.Second, "how long requests in progress may take when the server is stopped")
	flags.BoolVar(&o.images.BareNames, "bare-names", false, "let users with a custom secret log in with their bare name, if only one such user has it; all registries must be in one project")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "lowest level that is logged: ERROR, WARN, INFO, which includes every request, or DEBUG, which includes probes")
	choiceFlag(cmd, &o.logFormat, "log-format", "", "format of the log", "text", "json")
	flags.BoolVar(&o.images.ValidateResponses, "validate-responses", false, "check every response of the API against the document, and send 500 instead of one that does not match; slow, for tests")
	flags.BoolVar(&o.images.RefuseUnknownFields, "refuse-unknown-fields", false, "refuse API requests whose body has fields that the document does not name, with 400; by default they are ignored and their names logged at level WARN")
	flags.StringVar(&o.serving.AddressFile, "address-file", "", "file to write the listening address to, when the server listens")
	return cmd
}

// serve serves until ctx is done.
func (o *serveOptions) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	logger := o.logger(stderr)
	config, reload, err := o.tls(logger)
	if err != nil {
		return err
	}
	defer onHangup(reload)()
	if err := o.check(); err != nil {
		return err
	}
	listener, err := listen(ctx, "--listen", o.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	if o.adminListen != "" {
		if o.serving.Probes, err = listen(ctx, "--admin-listen", o.adminListen); err != nil {
			return err
		}
		defer o.serving.Probes.Close()
	}
	open := datadir.Open
	if o.newDatabase {
		open = datadir.OpenNew
	}
	dir, err := open(ctx, o.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	o.images.Logger, o.images.Images, o.serving.TLS = logger, o.storesImages == "on", config
	a, err := images.Open(ctx, dir, o.images)
	if o.images.BareNames && errors.Is(err, registryusers.ErrInvalid) {
		return usagef("--bare-names: %w", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	scheme := "http"
	if config != nil {
		scheme = "https"
	}
	base := cmp.Or(o.images.URL, scheme+"://"+reachableAddress(listener.Addr()))
	if o.isDev {
		if err := o.dev(ctx, a, base, stdout); err != nil {
			return err
		}
	}
	if o.serving.Probes != nil {
		logger.Info("serving probes", "url", "http://"+reachableAddress(o.serving.Probes.Addr()))
	}
	logger.Info("serving", "url", base, "data", o.data)
	return a.Serve(ctx, listener, o.serving)
}

func (o *serveOptions) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: o.logLevel}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// check refuses invalid settings, and those that would send secrets unencrypted over
// the network. It parses the addresses of the proxies.
func (o *serveOptions) check() error {
	if o.images.URL != "" {
		u, err := url.Parse(o.images.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return usagef("--url must be of the form https://HOST[:PORT]")
		}
		o.images.URL = u.Scheme + "://" + u.Host
	}
	if o.images.Service == "" {
		return usagef("--token-service must not be empty")
	}
	if o.images.Connections.Total < 0 || o.images.Connections.PerAddress < 0 {
		return usagef("--max-connections and --max-connections-per-address must not be negative")
	}
	if o.serving.DrainTimeout < 0 {
		return usagef("--drain-timeout must not be negative")
	}
	for _, text := range o.trustedProxies {
		proxies, err := netip.ParsePrefix(text)
		if err != nil {
			return usagef("--trusted-proxy %q: must be an address range such as 10.0.0.0/8", text)
		}
		o.images.Connections.Exempt = append(o.images.Connections.Exempt, proxies)
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
