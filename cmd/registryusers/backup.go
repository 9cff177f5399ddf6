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
