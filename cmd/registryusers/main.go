// Command registryusers serves the registry users API and calls it.
//
// Exit codes: 0 success, 1 any other failure, 2 wrong usage or settings,
// 3 not found, 4 exists already, 5 denied, 6 unavailable, 7 outcome unknown.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// rootCommand returns the command line with all its commands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "registryusers",
		Short:         "Users for a container registry, created through an API",
		SilenceErrors: true,
		SilenceUsage:  true,
		Long: `Users for a container registry, created through an API.

Exit codes: 0 success, 1 any other failure, 2 wrong usage or settings,
3 not found, 4 exists already, 5 denied, 6 unavailable, 7 outcome unknown: the
server may or may not have carried out the request.

The commands under user call the API of a server, on this machine or another. The
commands under admin manage the data directory of a server on this machine, and
serve runs that server.

` + connectionHelp + `
  REGISTRYUSERS_NAME      a setting of serve, like its flag --name: REGISTRYUSERS_TLS_CERT
                          for --tls-cert; REGISTRYUSERS_CONFIG names a YAML file of
                          settings. admin and jwks use REGISTRYUSERS_DATA
  NO_COLOR                if set, no colours`,
	}
	root.AddCommand(serveCommand(), adminCommand(), userCommand(), jwksCommand(), versionCommand())
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return applySettings(cmd, os.Environ())
	}
	root.SetFlagErrorFunc(flagError)
	return root
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	started := false // the checks of flags, arguments and settings have passed
	noteStart(root, &started)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, paint(stderr, red, "registryusers:"), err)
	var advised advisedError
	if errors.As(err, &advised) {
		fmt.Fprintln(stderr, advised.next)
	}
	if !started {
		fmt.Fprintln(stderr, "Run 'registryusers --help' for the commands, or one of them with --help for its flags.")
		return 2
	}
	return exitCode(err)
}

// noteStart makes every command under cmd set started when it starts to run.
func noteStart(cmd *cobra.Command, started *bool) {
	for _, sub := range cmd.Commands() {
		noteStart(sub, started)
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
	}
}

// usageError is an error of usage or settings that a command finds when it runs.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// advisedError is an error with advice on what to do next.
type advisedError struct {
	error
	next string
}

func (e advisedError) Unwrap() error { return e.error }

func advise(err error, next string) error {
	if err == nil || next == "" {
		return err
	}
	return advisedError{err, next}
}

func exitCode(err error) int {
	var usage usageError
	var unreachable *url.Error
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown):
		return 7
	case errors.As(err, &usage), errors.Is(err, registryusers.ErrInvalid):
		return 2
	case errors.Is(err, registryusers.ErrNotFound):
		return 3
	case errors.Is(err, registryusers.ErrExists):
		return 4
	case errors.Is(err, registryusers.ErrUnauthenticated), errors.Is(err, registryusers.ErrForbidden):
		return 5
	case errors.Is(err, registryusers.ErrUnavailable), errors.Is(err, registryusers.ErrTooManyRequests),
		errors.As(err, &unreachable):
		return 6
	}
	return 1
}

func versionCommand() *cobra.Command {
	return newCommand("version", "Print the version", func(cmd *cobra.Command, _ []string) error {
		version := "unknown"
		if info, ok := debug.ReadBuildInfo(); ok {
			version = info.Main.Version + " " + info.GoVersion
		}
		return printLine(cmd.OutOrStdout(), nil, "registryusers", version)
	})
}
