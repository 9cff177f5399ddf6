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
	cmd := newCommand("backup FILE", "Write the database and the keys to a new tar file, also while serve runs",
		withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, args []string) error {
			err := dir.Backup(ctx, args[0])
			if errors.Is(err, fs.ErrExist) {
				return usagef("%s exists already, and a backup replaces no file: name a new file", args[0])
			}
			return printLine(out, err, args[0], "contains the database and the keys: keep it secret. Images are separate: copy", dir.Images()+", too.")
		}))
	cmd.Long = `Write the database and the keys to a new tar file, also while serve runs.

The file contains the unencrypted keys: keep it as secret as the data directory.
It does not contain the images: copy the directory images/ of the data directory,
too. 'registryusers admin restore FILE' restores the backup.`
	return cmd
}

func restoreCommand() *cobra.Command {
	cmd := newCommand("restore FILE", "Restore the database and the keys from a backup; serve must be stopped",
		func(cmd *cobra.Command, args []string) error {
			path := cmd.Flag("data").Value.String()
			before, err := datadir.Restore(cmd.Context(), path, args[0])
			if err != nil {
				return err
			}
			text := fmt.Sprintf("The database and the keys of %s are in %s. Images are separate.", args[0], path)
			if before != "" {
				text += fmt.Sprintf("\nThe database and the keys from before are in %s: keep them as secret as the new ones.", before)
			}
			return printLine(cmd.OutOrStdout(), nil, text)
		})
	cmd.Long = `Restore the database and the keys from a backup; serve must be stopped.

The backup is checked first; if it cannot be used, nothing changes. The replaced
database and keys are moved to before-restore-TIME/ in the data directory. Images
are separate: if they are lost, restore the copy of images/, too.`
	return cmd
}
