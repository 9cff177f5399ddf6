package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/internal/keys"
)

func jwksCommand() *cobra.Command {
	var isPEM bool
	cmd := newCommand("jwks", "Print the public keys that verify tokens, for another registry",
		withKeys(func(keys *keys.TokenKeys, out io.Writer, _ []string) error {
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
		}))
	addConfigFlag(cmd)
	cmd.Flags().String("data", "data", "directory of the database and the keys")
	cmd.Flags().BoolVar(&isPEM, "pem", false, "print certificates, the bundle for serve --token-certificate, instead of a JSON Web Key Set")
	return cmd
}
