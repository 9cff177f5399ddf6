package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/keys"
)

// withKeys returns a RunE that calls f with the token keys of the data directory.
func withKeys(f func(keys *keys.TokenKeys, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
	return withDir(func(_ context.Context, dir *datadir.Dir, out io.Writer, args []string) error {
		keys, err := dir.Keys.TokenKeys(slog.Default())
		if err != nil {
			return err
		}
		return f(keys, out, args)
	})
}

func tokenKeyAddCommand() *cobra.Command {
	return newCommand("add", "Add and publish a key and print its id; it signs after 'token-key use ID'",
		withKeys(func(keys *keys.TokenKeys, out io.Writer, _ []string) error {
			id, err := keys.Add()
			return printLine(out, err, id)
		}))
}

func tokenKeyUseCommand() *cobra.Command {
	return newCommand("use ID", "Make a key sign from now on; other registries must have it before, see 'registryusers jwks'",
		withKeys(func(keys *keys.TokenKeys, _ io.Writer, args []string) error { return keys.Use(args[0]) }))
}

func tokenKeyListCommand() *cobra.Command {
	type keyJSON struct {
		ID    string `json:"id"`
		Signs bool   `json:"signs"`
	}
	return listCommand("ls", "List the ids of the keys, and which key signs", "ID\tSIGNS",
		func(_ context.Context, dir *datadir.Dir) ([]keyJSON, error) {
			keys, err := dir.Keys.TokenKeys(slog.Default())
			if err != nil {
				return nil, err
			}
			ids, signing, err := keys.IDs()
			list := make([]keyJSON, len(ids))
			for i, id := range ids {
				list[i] = keyJSON{id, id == signing}
			}
			return list, err
		},
		func(k keyJSON) row {
			mark := ""
			if k.Signs {
				mark = "yes"
			}
			return row{k.ID + "\t" + mark, k}
		})
}

func tokenKeyRemoveCommand() *cobra.Command {
	return newCommand("rm ID", "Remove a key that does not sign; tokens that it has signed are refused at once",
		withKeys(func(keys *keys.TokenKeys, _ io.Writer, args []string) error { return keys.Remove(args[0]) }))
}
