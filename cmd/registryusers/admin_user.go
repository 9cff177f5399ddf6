package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
)

func userListCommand() *cobra.Command {
	var registry int64
	cmd := listCommand("ls --registry ID", "List a registry's users", "ID\tNAME\tACCESS\tCREATED\tEXPIRES",
		func(ctx context.Context, dir *datadir.Dir) ([]accounts.User, error) {
			ref, err := findRegistry(ctx, dir.Accounts(), registry)
			if err != nil {
				return nil, err
			}
			return dir.Accounts().Users(ctx, accounts.Administrator, ref)
		},
		func(u accounts.User) row {
			return row{
				fmt.Sprintf("%d\t%q\t%s\t%s\t%s", u.ID, u.Name, rights(u.ReadOnly), formatTime(u.CreatedAt), formatExpiry(u.ExpiresAt, u.Duration != -1)),
				userJSON{u.ID, u.Name, u.ReadOnly, u.Duration, u.CreatedAt, u.ExpiresAt, ""},
			}
		})
	registryFlag(cmd, &registry)
	return cmd
}

func userRemoveCommand() *cobra.Command {
	var registry int64
	cmd := newCommand("rm NAME --registry ID", "Remove a user, whose access ends at once",
		withAccounts(func(ctx context.Context, s *accounts.Service, _ io.Writer, args []string) error {
			ref, u, err := findUser(ctx, s, registry, args[0])
			if err != nil {
				return err
			}
			return s.DeleteUser(ctx, accounts.Administrator, ref, u.ID)
		}))
	registryFlag(cmd, &registry)
	return cmd
}

func userSetCommand() *cobra.Command {
	var (
		registry, days      int64
		readOnly, newSecret bool
	)
	cmd := newCommand("set NAME --registry ID", "Change a user's duration, access and secret, all together or not at all", nil)
	registryFlag(cmd, &registry)
	cmd.Flags().Int64Var(&days, "days", 0, "duration in days, from the user's creation; 0 expires at once, -1 never expires")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "allow only pulls; --read-only=false allows pushes again")
	cmd.Flags().BoolVar(&newSecret, "new-secret", false, "generate a new secret and print it; the old one stops working")
	requireFlag(cmd, "days", "read-only", "new-secret")
	cmd.RunE = withAccounts(func(ctx context.Context, s *accounts.Service, out io.Writer, args []string) error {
		ref, u, err := findUser(ctx, s, registry, args[0])
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
		_, secret, err := s.UpdateUser(ctx, accounts.Administrator, ref, u.ID, update)
		if !newSecret {
			return err
		}
		return printLine(out, err, secret.Reveal())
	})
	return cmd
}

// findRegistry returns what refers to the registry with an id. ErrRegistryNotFound.
func findRegistry(ctx context.Context, s *accounts.Service, id int64) (accounts.RegistryRef, error) {
	registries, err := s.Registries(ctx)
	if err != nil {
		return accounts.RegistryRef{}, err
	}
	i := slices.IndexFunc(registries, func(r accounts.Registry) bool { return r.ID == id })
	if i < 0 {
		return accounts.RegistryRef{}, registryusers.ErrRegistryNotFound
	}
	return registries[i].Ref(), nil
}

// findUser returns the user of a name in the registry with an id, and what refers to
// the registry. ErrRegistryNotFound, ErrUserNotFound.
func findUser(ctx context.Context, s *accounts.Service, registryID int64, name string) (accounts.RegistryRef, accounts.User, error) {
	ref, err := findRegistry(ctx, s, registryID)
	if err != nil {
		return ref, accounts.User{}, err
	}
	u, err := s.User(ctx, accounts.Administrator, ref, name)
	return ref, u, err
}

// registryFlag adds the required flag --registry.
func registryFlag(cmd *cobra.Command, id *int64) {
	cmd.Flags().Int64Var(id, "registry", 0, "id of the registry (required)")
	requireFlag(cmd, "registry")
}
