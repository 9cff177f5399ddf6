package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/datadir"
)

func restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore the database and the keys from a backup; serve must be stopped",
		Long: `Restore the database and the keys from a backup; serve must be stopped.

The backup is checked first; if it cannot be used, nothing changes. The replaced
database and keys are moved to before-restore-TIME/ in the data directory. Images
are separate: if they are lost, restore the copy of images/, too.`,
		Args: oneArgument("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := cmd.Flag("data").Value.String()
			before, err := datadir.Restore(cmd.Context(), path, args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if _, err := fmt.Fprintf(out, "The database and the keys of %[2]s are in %[1]s. Images are separate.\n", path, args[0]); err != nil || before == "" {
				return err
			}
			_, err = fmt.Fprintf(out, "The database and the keys from before are in %s: keep them as secret as the new ones.\n", before)
			return err
		},
	}
}
