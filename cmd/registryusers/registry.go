package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
)

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
