package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/internal/accounts"
)

func userCommand() *cobra.Command {
	user := group("user", "Create users through the API", userCreateCommand())
	user.Long = "Create users through the API of this program's server or of the vendor's service.\n\n" + connectionHelp
	return user
}

func userCreateCommand() *cobra.Command {
	var o createOptions
	cmd := newCommand("create NAME --registry ID --days N", "Create a user and print it with its secret, which is shown only once",
		func(cmd *cobra.Command, args []string) error { return o.create(cmd, args[0]) })
	cmd.Long = `Create a user and print it with its secret, which is shown only once.

NAME has at most 16 characters, which must be lower-case letters and digits.

` + connectionHelp
	cmd.Example = `  registryusers user create ci --data data --days 30
  registryusers user create ci --registry 1 --days 30 --secret-only | docker login HOST -u ci --password-stdin
  pass show registry/ci | registryusers user create ci --registry 1 --days -1 --secret-stdin`
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	flags := cmd.Flags()
	o.connection.add(cmd)
	flags.Int64Var(&o.registry, "registry", 0, "id of the registry (required, unless --data is given)")
	flags.Int64Var(&o.days, "days", 0, "days until the user expires, at most 365; 0 expires at once, -1 never expires (required)")
	requireFlag(cmd, "days")
	flags.BoolVar(&o.readOnly, "read-only", false, "allow only pulls")
	flags.BoolVar(&o.secretStdin, "secret-stdin", false, "read a custom secret from standard input, without a line break at its end, instead of generating one")
	flags.BoolVar(&o.secretOnly, "secret-only", false, "print only the secret, for a pipe")
	outputFlag(cmd, &o.output)
	excludeFlags(cmd, "secret-only", "output")
	flags.StringVar(&o.idempotencyKey, "idempotency-key", "", "key of an earlier command whose outcome is unknown; the same command with this key has the same result within 24 hours (default: a new key)")
	flags.StringVar(&o.dockerConfig, "docker-config", "", "docker configuration file to add the login to, for docker, crane, skopeo and podman (\"config.json\" in $DOCKER_CONFIG)")
	flags.StringVar(&o.registryHost, "registry-host", "", "HOST[:PORT] of the registry, for --docker-config (default: the API's)")
	return cmd
}

type createOptions struct {
	connection                 connectionFlags
	registry, days             int64
	readOnly                   bool
	secretStdin, secretOnly    bool
	output                     string
	idempotencyKey             string
	dockerConfig, registryHost string
}

func (o *createOptions) create(cmd *cobra.Command, name string) error {
	if o.idempotencyKey == "" {
		o.idempotencyKey = rand.Text() // printed if the outcome is unknown
	}
	connection, err := o.connection.find()
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("registry") {
		if o.registry = connection.registry; o.registry == 0 {
			return usagef("--registry ID is missing; where the server runs, 'registryusers admin registry ls' lists the registries")
		}
	}
	c, err := connection.client()
	if err != nil {
		return err
	}
	if o.registryHost == "" {
		o.registryHost = connection.host
	}
	if o.dockerConfig != "" {
		if err := checkDockerConfig(cmd.Context(), o.dockerConfig, o.registryHost, name); err != nil {
			return err
		}
	}
	n := client.NewUser{Name: name, Days: o.days, ReadOnly: o.readOnly}
	if o.secretStdin {
		if n.Secret, err = readSecret(cmd.InOrStdin()); err != nil {
			return err
		}
	}
	u, err := c.CreateUser(cmd.Context(), o.registry, n, client.WithIdempotencyKey(o.idempotencyKey))
	if err != nil {
		return advise(err, o.next(err, connection))
	}
	if err := o.print(cmd.OutOrStdout(), u); err != nil {
		return fmt.Errorf("the user was created, but its secret could not be printed (repeat the command with --idempotency-key %s within 24 hours): %w", o.idempotencyKey, err)
	}
	if o.dockerConfig == "" {
		return nil
	}
	if err := addLogin(cmd.Context(), o.dockerConfig, o.registryHost, u.Name, u.Secret); err != nil {
		return fmt.Errorf("the user was created, but its login could not be written: %w", err)
	}
	return nil
}

// next returns what to do about an error of the create call, or "".
func (o *createOptions) next(err error, c connection) string {
	var response *client.Error
	switch {
	case errors.As(err, &response) && response.Status < 400 && response.Status != 201: // not the API's response
		return c.next(err)
	case errors.Is(err, client.ErrOutcomeUnknown) && !errors.Is(err, registryusers.ErrExists):
		return fmt.Sprintf("Repeat the command with --idempotency-key %s within 24 hours: if the user was created, the response has its secret.", o.idempotencyKey)
	case errors.Is(err, registryusers.ErrIdempotencyKeyReused):
		return "The idempotency key was used for another request: repeat the same request, or leave --idempotency-key out."
	case errors.Is(err, registryusers.ErrUserChanged):
		return "Leave --idempotency-key out to create a new user."
	case errors.As(err, &response) && response.InvalidFields["name"] != nil:
		return "A name has at most 16 characters, which must be lower-case letters and digits."
	case errors.Is(err, registryusers.ErrInvalid):
		return "'registryusers user create --help' lists the valid values of each flag."
	case errors.Is(err, registryusers.ErrForbidden):
		return "The API key is not valid for this project: check GCORE_CLOUD_PROJECT_ID."
	case errors.Is(err, registryusers.ErrRegistryNotFound):
		return "Check --registry, GCORE_CLOUD_PROJECT_ID and GCORE_CLOUD_REGION_ID; where the server runs, 'registryusers admin registry ls' lists the registries."
	case errors.Is(err, registryusers.ErrExists):
		return "Choose another name; where the server runs, 'registryusers admin user' lists and removes users, and generates new secrets."
	}
	return c.next(err)
}

func (o *createOptions) print(out io.Writer, u client.CreatedUser) error {
	if o.secretOnly {
		return printLine(out, nil, u.Secret.Reveal())
	}
	if o.output == asJSON {
		return printJSON(out, userJSON{u.ID, u.Name, u.ReadOnly, u.Days, u.CreatedAt, u.ExpiresAt, u.Secret.Reveal()})
	}
	end, isEnding := u.Expires()
	return printRows(out, asTable, "ID\tNAME\tACCESS\tEXPIRES\tSECRET", []row{
		{cells: fmt.Sprintf("%d\t%s\t%s\t%s\t%s", u.ID, u.Name, rights(u.ReadOnly), formatExpiry(end, isEnding), u.Secret.Reveal())},
	})
}

// maxSecretInput is how many bytes of a secret are read at most, more than a secret
// may have.
const maxSecretInput = 64 << 10

// readSecret reads a secret, without a line break at its end.
func readSecret(in io.Reader) (registryusers.Secret, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxSecretInput))
	if err != nil {
		return registryusers.Secret{}, fmt.Errorf("--secret-stdin: %w", err)
	}
	secret := string(bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")))
	if secret == "" {
		return registryusers.Secret{}, usagef("--secret-stdin: standard input is empty; without the flag a secret is generated")
	}
	if accounts.CheckSecret(secret) != nil {
		return registryusers.Secret{}, usagef("--secret-stdin: the secret must be one line of 1 to %d bytes, in UTF-8 and without control characters", accounts.MaxSecret)
	}
	return registryusers.NewSecret(secret), nil
}
