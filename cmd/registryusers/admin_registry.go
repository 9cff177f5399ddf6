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
	cmd := newCommand("create NAME", "Create a registry and print its id",
		withAccounts(func(ctx context.Context, s *accounts.Service, out io.Writer, args []string) error {
			r, err := s.CreateRegistry(ctx, accounts.Administrator, project, region, args[0])
			if errors.Is(err, registryusers.ErrInvalid) {
				return advise(err, "A registry's name is 2 to 24 lower-case letters, digits and dashes; it begins with a letter and does not end with a dash. --project and --region must be 1 or more.")
			}
			return printLine(out, err, r.ID)
		}))
	cmd.Flags().Int64Var(&project, "project", 1, "id of the registry's project")
	cmd.Flags().Int64Var(&region, "region", 1, "id of the registry's region")
	return cmd
}

func registryListCommand() *cobra.Command {
	type registryJSON struct {
		ID        int64     `json:"id"`
		ProjectID int64     `json:"project_id"`
		RegionID  int64     `json:"region_id"`
		Name      string    `json:"name"`
		CreatedAt time.Time `json:"created_at"`
	}
	return listCommand("ls", "List the registries", "ID\tPROJECT\tREGION\tNAME\tCREATED",
		func(ctx context.Context, dir *datadir.Dir) ([]accounts.Registry, error) {
			return dir.Accounts().Registries(ctx)
		},
		func(r accounts.Registry) row {
			return row{fmt.Sprintf("%d\t%d\t%d\t%s\t%s", r.ID, r.ProjectID, r.RegionID, r.Name, formatTime(r.CreatedAt)), registryJSON(r)}
		})
}
