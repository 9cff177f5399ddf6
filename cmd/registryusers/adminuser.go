package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
)

func userListCommand() *cobra.Command {
	var registry int64
	cmd := listCommand("List a registry's users", []string{"ID", "NAME", "ACCESS", "CREATED", "EXPIRES"},
		func(ctx context.Context, dir *datadir.Dir) ([]row, error) {
			users, err := dir.Accounts().Users(ctx, registry)
			rows := make([]row, 0, len(users))
			for _, u := range users {
				rows = append(rows, row{
					[]any{u.ID, strconv.Quote(u.Name), access(u.ReadOnly), day(u.CreatedAt), ends(u.ExpiresAt, u.Duration != -1)},
					userJSON{u.ID, u.Name, u.ReadOnly, u.Duration, u.CreatedAt, u.ExpiresAt, ""},
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
