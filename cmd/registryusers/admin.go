package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
)

func adminCommand() *cobra.Command {
	admin := group("admin", "Manage the data directory of a server, also while serve runs",
		group("registry", "Create and list registries", registryCreateCommand(), registryListCommand()),
		group("key", "Create, list and remove API keys", keyCreateCommand(), keyListCommand(), keyRemoveCommand()),
		group("user", "List, change and remove users", userListCommand(), userRemoveCommand(), userSetCommand()),
		group("token-key", "Add, use, list and remove the keys that sign tokens", tokenKeyAddCommand(), tokenKeyUseCommand(), tokenKeyListCommand(), tokenKeyRemoveCommand()),
		checkCommand(), backupCommand(), restoreCommand(), gcCommand())
	addConfigFlag(admin)
	admin.PersistentFlags().String("data", "data", "directory of the database and the keys")
	return admin
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Look for damage in the database, also while serve runs",
		Args:  noArguments,
		RunE: withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, _ []string) error {
			findings, err := dir.Store.QuickCheck(ctx)
			if err != nil {
				return err
			}
			if findings != "" {
				return fmt.Errorf("the database is damaged; restore it from a backup:\n%s", findings)
			}
			_, err = fmt.Fprintln(out, "ok")
			return err
		}),
	}
}

// group returns a command that only has subcommands. Without one of them it fails,
// so that a mistyped command does not seem to have worked.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s has no command %q; see --help", cmd.CommandPath(), args[0])
			}
			return usagef("%s needs a command; see --help", cmd.CommandPath())
		},
	}
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
		if !datadir.Exists(path) && cmd.Name() != "create" {
			return usagef("there is no data directory %s: name it with --data", path)
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
	case errors.Is(err, registryusers.ErrKeyNotFound):
		return "'registryusers admin key ls' lists the API keys."
	}
	return ""
}

// listCommand returns a command "ls" that prints the rows that find returns.
func listCommand(short string, titles []string, find func(context.Context, *datadir.Dir) ([]row, error)) *cobra.Command {
	var output format
	cmd := &cobra.Command{
		Use:   "ls",
		Short: short,
		Args:  noArguments,
		RunE: withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, _ []string) error {
			rows, err := find(ctx, dir)
			if err != nil {
				return err
			}
			return printRows(out, output, titles, rows)
		}),
	}
	outputFlag(cmd, &output)
	return cmd
}

func registryCreateCommand() *cobra.Command {
	var project, region int64
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a registry and print its id",
		Args:  oneArgument("NAME"),
		RunE: withAccounts(func(ctx context.Context, s *accounts.Service, out io.Writer, args []string) error {
			r, err := s.CreateRegistry(ctx, project, region, args[0])
			if errors.Is(err, registryusers.ErrInvalid) {
				return advise(err, "A registry's name is 2 to 24 lower-case letters, digits and dashes; it begins with a letter and does not end with a dash. --project and --region must be 1 or more.")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(out, r.ID)
			return err
		}),
	}
	cmd.Flags().Int64Var(&project, "project", 1, "id of the registry's project")
	cmd.Flags().Int64Var(&region, "region", 1, "id of the registry's region")
	return cmd
}

func registryListCommand() *cobra.Command {
	type registry struct {
		ID        int64     `json:"id"`
		ProjectID int64     `json:"project_id"`
		RegionID  int64     `json:"region_id"`
		Name      string    `json:"name"`
		CreatedAt time.Time `json:"created_at"`
	}
	return listCommand("List the registries", []string{"ID", "PROJECT", "REGION", "NAME", "CREATED"},
		func(ctx context.Context, dir *datadir.Dir) ([]row, error) {
			registries, err := dir.Accounts().Registries(ctx)
			rows := make([]row, 0, len(registries))
			for _, r := range registries {
				rows = append(rows, row{
					[]any{r.ID, r.ProjectID, r.RegionID, r.Name, day(r.CreatedAt)},
					registry{r.ID, r.ProjectID, r.RegionID, r.Name, r.CreatedAt},
				})
			}
			return rows, err
		})
}

func keyCreateCommand() *cobra.Command {
	var project int64
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create an API key and print its token, which is shown only once",
		Args:  noArguments,
		RunE: withAccounts(func(ctx context.Context, s *accounts.Service, out io.Writer, _ []string) error {
			_, token, err := s.CreateKey(ctx, project)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(out, token.Reveal())
			return err
		}),
	}
	cmd.Flags().Int64Var(&project, "project", 0, "id of the only project that the key is valid for (default: all)")
	return cmd
}

func keyListCommand() *cobra.Command {
	type key struct {
		ID        int64     `json:"id"`
		ProjectID int64     `json:"project_id,omitempty"` // absent: all
		CreatedAt time.Time `json:"created_at"`
	}
	return listCommand("List the API keys, without their tokens", []string{"ID", "PROJECT", "CREATED"},
		func(ctx context.Context, dir *datadir.Dir) ([]row, error) {
			keys, err := dir.Accounts().Keys(ctx)
			rows := make([]row, 0, len(keys))
			for _, k := range keys {
				project := "all"
				if k.ProjectID != 0 {
					project = strconv.FormatInt(k.ProjectID, 10)
				}
				rows = append(rows, row{[]any{k.ID, project, day(k.CreatedAt)}, key{k.ID, k.ProjectID, k.CreatedAt}})
			}
			return rows, err
		})
}

func keyRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID",
		Short: "Remove an API key, which stops working at once",
		Args:  oneArgument("ID"),
		RunE: withAccounts(func(ctx context.Context, s *accounts.Service, _ io.Writer, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usagef("the id of an API key must be a number; 'registryusers admin key ls' lists the keys")
			}
			return s.DeleteKey(ctx, id)
		}),
	}
}

func userListCommand() *cobra.Command {
	type user struct {
		ID        int64     `json:"id"`
		Name      string    `json:"name"`
		ReadOnly  bool      `json:"read_only"`
		Duration  int64     `json:"duration"`
		CreatedAt time.Time `json:"created_at"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	var registry int64
	cmd := listCommand("List a registry's users", []string{"ID", "NAME", "ACCESS", "CREATED", "EXPIRES"},
		func(ctx context.Context, dir *datadir.Dir) ([]row, error) {
			users, err := dir.Accounts().Users(ctx, registry)
			rows := make([]row, 0, len(users))
			for _, u := range users {
				rows = append(rows, row{
					[]any{u.ID, strconv.Quote(u.Name), access(u.ReadOnly), day(u.CreatedAt), ends(u.ExpiresAt, u.Duration != -1)},
					user{u.ID, u.Name, u.ReadOnly, u.Duration, u.CreatedAt, u.ExpiresAt},
				})
			}
			return rows, err
		})
	cmd.Use = "ls --registry ID"
	registryFlag(cmd, &registry)
	return cmd
}

func userRemoveCommand() *cobra.Command {
	var registry int64
	cmd := &cobra.Command{
		Use:   "rm NAME --registry ID",
		Short: "Remove a user, whose access ends at once",
		Args:  oneArgument("NAME"),
		RunE: withAccounts(func(ctx context.Context, s *accounts.Service, _ io.Writer, args []string) error {
			u, err := s.User(ctx, registry, args[0])
			if err != nil {
				return err
			}
			return s.DeleteUser(ctx, u)
		}),
	}
	registryFlag(cmd, &registry)
	return cmd
}

func userSetCommand() *cobra.Command {
	var (
		registry, days      int64
		readOnly, newSecret bool
	)
	cmd := &cobra.Command{
		Use:   "set NAME --registry ID",
		Short: "Change a user's duration, access and secret, all together or not at all",
		Args:  oneArgument("NAME"),
	}
	registryFlag(cmd, &registry)
	cmd.Flags().Int64Var(&days, "days", 0, "duration in days, from the user's creation; 0 expires at once, -1 never expires")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "allow only pulls; --read-only=false allows pushes again")
	cmd.Flags().BoolVar(&newSecret, "new-secret", false, "generate a new secret and print it; the old one stops working")
	requireFlag(cmd, "days", "read-only", "new-secret")
	cmd.RunE = withAccounts(func(ctx context.Context, s *accounts.Service, out io.Writer, args []string) error {
		u, err := s.User(ctx, registry, args[0])
		if err != nil {
			return err
		}
		update := accounts.UserUpdate{NewSecret: newSecret}
		if cmd.Flags().Changed("days") {
			update.Days = &days
		}
		if cmd.Flags().Changed("read-only") {
			update.ReadOnly = &readOnly
		}
		_, secret, err := s.UpdateUser(ctx, u, update)
		if err != nil || !newSecret {
			return err
		}
		_, err = fmt.Fprintln(out, secret.Reveal())
		return err
	})
	return cmd
}

// registryFlag adds the required flag --registry.
func registryFlag(cmd *cobra.Command, id *int64) {
	cmd.Flags().Int64Var(id, "registry", 0, "id of the registry (required)")
	requireFlag(cmd, "registry")
}
