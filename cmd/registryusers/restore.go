package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/datadir"
)

func restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Put the database and the keys of a backup in place, while serve is stopped",
		Long: `Put the database and the keys of a backup in place, while serve is stopped.

The backup is checked first; if it is not good, nothing changes. The database
and the keys that were there are moved to before-restore-TIME/ in the data
directory. Images are separate: put the copy of images/ back too, if it is lost.`,
		Args: oneArgument("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := cmd.Flag("data").Value.String()
			before, err := datadir.Restore(cmd.Context(), path, args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if _, err := fmt.Fprintf(out, "%s has the database and the keys of %s. Images are separate.\n", path, args[0]); err != nil || before == "" {
				return err
			}
			_, err = fmt.Fprintf(out, "The database and the keys from before are in %s: they are as secret as the new ones.\n", before)
			return err
		},
	}
}
