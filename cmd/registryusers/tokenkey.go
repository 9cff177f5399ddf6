package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/keys"
)

// withKeys returns a RunE that calls f with the token keys of the data directory.
func withKeys(f func(keys *keys.Files, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
	return withDir(func(_ context.Context, dir *datadir.Dir, out io.Writer, args []string) error {
		keys, err := dir.Keys.TokenKeys(slog.Default())
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
		Short: "Print the public keys that verify tokens, for another registry",
		Args:  noArguments,
		RunE: withKeys(func(keys *keys.Files, out io.Writer, _ []string) error {
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
	cmd.Flags().BoolVar(&isPEM, "pem", false, "print certificates, the bundle for serve --token-x5c, instead of a JSON Web Key Set")
	return cmd
}

func tokenKeyAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add",
		Short: "Add and publish a key and print its id; it signs after 'token-key use ID'",
		Args:  noArguments,
		RunE: withKeys(func(keys *keys.Files, out io.Writer, _ []string) error {
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
		Short: "Make a key sign from now on; other registries must have it before, see 'registryusers jwks'",
		Args:  oneArgument("ID"),
		RunE: withKeys(func(keys *keys.Files, _ io.Writer, args []string) error {
			return keys.Use(args[0])
		}),
	}
}

func tokenKeyListCommand() *cobra.Command {
	type key struct {
		ID    string `json:"id"`
		Signs bool   `json:"signs"`
	}
	return listCommand("List the ids of the keys, and which key signs", []string{"ID", "SIGNS"},
		func(_ context.Context, dir *datadir.Dir) ([]row, error) {
			keys, err := dir.Keys.TokenKeys(slog.Default())
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
		Short: "Remove a key that does not sign; tokens that it has signed are refused at once",
		Args:  oneArgument("ID"),
		RunE: withKeys(func(keys *keys.Files, _ io.Writer, args []string) error {
			return keys.Remove(args[0])
		}),
	}
}
