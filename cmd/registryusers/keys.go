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
	"github.com/registryusers/registryusers/internal/token"
)

// withKeys makes a command's RunE of a function that works on the token keys.
func withKeys(f func(keys *token.Keys, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
	return withDir(func(_ context.Context, dir *datadir.Dir, out io.Writer, args []string) error {
		keys, err := token.OpenKeys(dir.Keys(), slog.Default())
		if err != nil {
			return err
		}
		return f(keys, out, args)
	})
}

func jwksCommand() *cobra.Command {
	var isPEM bool
	cmd := &cobra.Command{
		Use:   "jwks",
		Short: "Print the public keys of the tokens, for an outside registry",
		Args:  noArguments,
		RunE: withKeys(func(keys *token.Keys, out io.Writer, _ []string) error {
			if isPEM {
				bundle, err := keys.Certificates()
				if err == nil {
					_, err = out.Write(bundle)
				}
				return err
			}
			set, err := keys.JWKS()
			if err != nil {
				return err
			}
			return printJSON(out, set)
		}),
	}
	addConfigFlag(cmd)
	cmd.Flags().String("data", "data", "directory of the database and the keys")
	cmd.Flags().BoolVar(&isPEM, "pem", false, "print certificates, the bundle that goes with serve --token-x5c, instead of a JSON Web Key Set")
	return cmd
}

func tokenKeyAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add",
		Short: "Add and publish a key, and print its id; it signs once token-key use says so",
		Args:  noArguments,
		RunE: withKeys(func(keys *token.Keys, out io.Writer, _ []string) error {
			id, err := keys.Add()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(out, id)
			return err
		}),
	}
}

func tokenKeyUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "use ID",
		Short: "Have a key sign from now on; outside registries must know it by then, see registryusers jwks",
		Args:  oneArgument("ID"),
		RunE: withKeys(func(keys *token.Keys, _ io.Writer, args []string) error {
			return keys.Use(args[0])
		}),
	}
}

func tokenKeyListCommand() *cobra.Command {
	type key struct {
		ID    string `json:"id"`
		Signs bool   `json:"signs"`
	}
	return listCommand("List the keys' ids, and which of them signs", []string{"ID", "SIGNS"},
		func(_ context.Context, dir *datadir.Dir) ([]row, error) {
			keys, err := token.OpenKeys(dir.Keys(), slog.Default())
			if err != nil {
				return nil, err
			}
			ids, signing, err := keys.IDs()
			rows := make([]row, 0, len(ids))
			for _, id := range ids {
				signs, mark := id == signing, ""
				if signs {
					mark = "yes"
				}
				rows = append(rows, row{[]any{id, mark}, key{id, signs}})
			}
			return rows, err
		})
}

func tokenKeyRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID",
		Short: "Remove a key that does not sign: the tokens that it signed are refused from now on",
		Args:  oneArgument("ID"),
		RunE: withKeys(func(keys *token.Keys, _ io.Writer, args []string) error {
			return keys.Remove(args[0])
		}),
	}
}

func gcCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Remove the blobs that no manifest names, if they are older than 24 hours; serve must be stopped",
		Args:  noArguments,
		RunE: withDir(func(ctx context.Context, dir *datadir.Dir, out io.Writer, _ []string) error {
			removed, err := ociregistry.GarbageCollect(ctx, dir.Images(), time.Now(), slog.Default())
			_, printErr := fmt.Fprintf(out, "removed: blobs %d (%d bytes), links to them %d, abandoned uploads %d\n",
				removed.Blobs, removed.Bytes, removed.Links, removed.Uploads)
			return errors.Join(err, printErr)
		}),
	}
}
