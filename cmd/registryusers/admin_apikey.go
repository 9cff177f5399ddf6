package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
)

func keyCreateCommand() *cobra.Command {
	var project int64
	cmd := newCommand("create", "Create an API key and print its token, which is shown only once",
		withAccounts(func(ctx context.Context, s *accounts.Service, out io.Writer, _ []string) error {
			_, token, err := s.CreateAPIKey(ctx, project)
			return printLine(out, err, token.Reveal())
		}))
	cmd.Flags().Int64Var(&project, "project", 0, "id of the only project that the key is valid for (default: all)")
	return cmd
}

func keyListCommand() *cobra.Command {
	type keyJSON struct {
		ID        int64     `json:"id"`
		ProjectID int64     `json:"project_id,omitempty"` // absent: all
		CreatedAt time.Time `json:"created_at"`
	}
	return listCommand("ls", "List the API keys, without their tokens", "ID\tPROJECT\tCREATED",
		func(ctx context.Context, dir *datadir.Dir) ([]accounts.APIKey, error) {
			return dir.Accounts().APIKeys(ctx)
		},
		func(k accounts.APIKey) row {
			project := "all"
			if k.ProjectID != 0 {
				project = strconv.FormatInt(k.ProjectID, 10)
			}
			return row{fmt.Sprintf("%d\t%s\t%s", k.ID, project, formatTime(k.CreatedAt)), keyJSON{k.ID, k.ProjectID, k.CreatedAt}}
		})
}

func keyRemoveCommand() *cobra.Command {
	return newCommand("rm ID", "Remove an API key, which stops working at once",
		withAccounts(func(ctx context.Context, s *accounts.Service, _ io.Writer, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usagef("the id of an API key must be a number; 'registryusers admin key ls' lists the keys")
			}
			return s.DeleteAPIKey(ctx, id)
		}))
}
