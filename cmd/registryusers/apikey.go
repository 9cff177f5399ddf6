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
