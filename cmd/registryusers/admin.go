package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
)

func adminCommand() *cobra.Command {
	admin := group("admin", "Manage the data directory of a server, also while serve runs",
		initCommand(),
		group("registry", "Create and list registries", registryCreateCommand(), registryListCommand()),
		group("key", "Create, list and remove API keys", keyCreateCommand(), keyListCommand(), keyRemoveCommand()),
		group("user", "List, change and remove users", userListCommand(), userRemoveCommand(), userSetCommand()),
		group("token-key", "Add, use, list and remove the keys that sign tokens", tokenKeyAddCommand(), tokenKeyUseCommand(), tokenKeyListCommand(), tokenKeyRemoveCommand()),
		checkCommand(), backupCommand(), restoreCommand(), gcCommand())
	addConfigFlag(admin)
	admin.PersistentFlags().String("data", "data", "directory of the database and the keys")
	return admin
}

func initCommand() *cobra.Command {
	cmd := newCommand("init", "Create the data directory, with an empty database and the keys, and print its path",
		func(cmd *cobra.Command, _ []string) (err error) {
			path := cmd.Flag("data").Value.String()
			if datadir.Exists(path) {
				return usagef("there is already a data directory %s: use it, or name another one with --data", path)
			}
			dir, err := datadir.Open(cmd.Context(), path)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, dir.Close()) }()
			_, err = dir.Keys.TokenKeys(slog.Default()) // creates the first one
			return printLine(cmd.OutOrStdout(), err, path)
		})
	cmd.Long = cmd.Short + `.

Apart from init, only serve creates a data directory. The other commands refuse a
directory that does not exist, because --data may be misspelt.`
	return cmd
}

// group returns a command that only has subcommands. Without one of them it fails,
// so that a mistyped command does not seem to have worked.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := newCommand(name, short, func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("%s has no command %q; see --help", cmd.CommandPath(), args[0])
		}
		return usagef("%s needs a command; see --help", cmd.CommandPath())
	})
	cmd.Args = cobra.ArbitraryArgs
	cmd.AddCommand(commands...)
	return cmd
}

// withAccounts returns a RunE that calls f with the accounts of the data directory.
func withAccounts(f func(ctx context.Context, s *accounts.Service, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
	return withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, args []string) error {
		return f(ctx, dir.Accounts(), out, args)
	})
}

// withDir returns a RunE that calls f with the open data directory.
func withDir(f func(ctx context.Context, dir *datadir.Dir, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		path := cmd.Flag("data").Value.String()
		if !datadir.Exists(path) {
			return usagef("there is no data directory %s: name it with --data, or create it with 'registryusers admin init'", path)
		}
		dir, err := datadir.Open(cmd.Context(), path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dir.Close()) }()
		err = f(cmd.Context(), dir, cmd.OutOrStdout(), args)
		return advise(err, nextAdmin(err))
	}
}

// nextAdmin returns what to do about an error of an admin command, or "".
func nextAdmin(err error) string {
	switch {
	case errors.Is(err, registryusers.ErrRegistryNotFound), errors.Is(err, registryusers.ErrRegistryExists):
		return "'registryusers admin registry ls' lists the registries."
	case errors.Is(err, registryusers.ErrUserNotFound):
		return "'registryusers admin user ls --registry ID' lists a registry's users."
	case errors.Is(err, registryusers.ErrAPIKeyNotFound):
		return "'registryusers admin key ls' lists the API keys."
	}
	return ""
}

// listCommand returns a command that prints a row for each item that find returns.
func listCommand[Item any](use, short string, titles string, find func(context.Context, *datadir.Dir) ([]Item, error), toRow func(Item) row) *cobra.Command {
	var format string
	cmd := newCommand(use, short, withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, _ []string) error {
		items, err := find(ctx, dir)
		if err != nil {
			return err
		}
		rows := make([]row, len(items))
		for i, item := range items {
			rows[i] = toRow(item)
		}
		return printRows(out, format, titles, rows)
	}))
	outputFlag(cmd, &format)
	return cmd
}
