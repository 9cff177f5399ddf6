package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/datadir"
)

func checkCommand() *cobra.Command {
	return newCommand("check", "Look for damage in the database, also while serve runs",
		withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, _ []string) error {
			findings, err := dir.Store.QuickCheck(ctx)
			if findings != "" {
				err = fmt.Errorf("the database is damaged; restore it from a backup:\n%s", findings)
			}
			return printLine(out, err, "ok")
		}))
}
