package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/ociregistry"
)

func gcCommand() *cobra.Command {
	return newCommand("gc", "Remove blobs that no manifest names and that are older than 24 hours; serve must be stopped",
		withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, _ []string) error {
			removed, err := ociregistry.GarbageCollect(ctx, dir.Images(), time.Now(), slog.Default())
			_, printErr := fmt.Fprintf(out, "removed: blobs %d (%d bytes), links to them %d, abandoned uploads %d\n",
				removed.Blobs, removed.Bytes, removed.Links, removed.Uploads)
			return errors.Join(err, printErr)
		}))
}
