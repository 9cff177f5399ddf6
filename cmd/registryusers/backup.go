package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/datadir"
)

func backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the database and the keys to a new tar file, also while serve runs",
		Long: `Write the database and the keys to a new tar file, also while serve runs.

The file contains the unencrypted keys: keep it as secret as the data directory.
It does not contain the images: copy the directory images/ of the data directory,
too. 'registryusers admin restore FILE' restores the backup.`,
		Args: oneArgument("FILE"),
		RunE: withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, args []string) error {
			err := dir.Backup(ctx, args[0])
			if errors.Is(err, fs.ErrExist) {
				return usagef("%s exists already, and a backup replaces no file: name a new file", args[0])
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%s contains the database and the keys: keep it secret. Images are separate: copy %s, too.\n", args[0], dir.Images())
			return err
		}),
	}
}

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
