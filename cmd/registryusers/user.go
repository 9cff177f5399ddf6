package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/internal/accounts"
)

func userCommand() *cobra.Command {
	user := group("user", "Create users through the API", userCreateCommand())
	user.Long = "Create users through the API: this program's server, or the vendor's.\n\n" + connectionHelp
	return user
}

func userCreateCommand() *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create NAME --registry ID --days N",
		Short: "Create a user and print it with its secret, which is shown only once",
		Long: `Create a user and print it with its secret, which is shown only once.

NAME is lower-case letters and digits, at most 16 of them.

` + connectionHelp,
		Example: `  registryusers user create ci --data data --days 30
  registryusers user create ci --registry 1 --days 30 --secret-only | docker login HOST -u ci --password-stdin
  pass show registry/ci | registryusers user create ci --registry 1 --days -1 --secret-stdin`,
		Args:              oneArgument("NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.create(cmd, args[0]) },
	}
	flags := cmd.Flags()
	o.connection.add(cmd)
	flags.Int64Var(&o.registry, "registry", 0, "id of the registry (required, but with --data)")
	flags.Int64Var(&o.days, "days", 0, "days it lasts, up to 365; 0 ends at once, -1 never (required)")
	requireFlag(cmd, "days")
	flags.BoolVar(&o.readOnly, "read-only", false, "let it pull and not push")
	flags.BoolVar(&o.secretStdin, "secret-stdin", false, "read the user's secret from standard input, without a line break at its end, rather than have one made")
	flags.BoolVar(&o.secretOnly, "secret-only", false, "print the secret alone, for a pipe")
	outputFlag(cmd, &o.output)
	excludeFlags(cmd, "secret-only", "output")
	flags.StringVar(&o.idempotencyKey, "idempotency-key", "", "of an earlier create that had no answer: a repeat within 24 hours answers as it would have (default: a new one)")
	flags.StringVar(&o.dockerConfig, "docker-config", "", "file to add the login to, which docker, crane, skopeo and podman read (\"config.json\" in $DOCKER_CONFIG)")
	flags.StringVar(&o.registryHost, "registry-host", "", "HOST[:PORT] of the registry, for --docker-config (default: the API's)")
	return cmd
}

type createOptions struct {
	connection                 connectionFlags
	registry, days             int64
	readOnly                   bool
	secretStdin, secretOnly    bool
	output                     format
	idempotencyKey             string
	dockerConfig, registryHost string
}

func (o *createOptions) create(cmd *cobra.Command, name string) error {
	if o.idempotencyKey == "" {
		o.idempotencyKey = rand.Text() // to be told, should there be no answer
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
		o.registryHost = c.Host()
	}
	if o.dockerConfig != "" {
		if err := checkDockerConfig(cmd.Context(), o.dockerConfig, o.registryHost, name); err != nil {
			return err
		}
	}
	n := client.NewUser{Name: name, Duration: o.days, ReadOnly: o.readOnly}
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
		return fmt.Errorf("the user was created, but not printed (repeat the command with --idempotency-key %s within 24 hours): %w", o.idempotencyKey, err)
	}
	if o.dockerConfig == "" {
		return nil
	}
	if err := addLogin(cmd.Context(), o.dockerConfig, o.registryHost, u.Name, u.Secret); err != nil {
		return fmt.Errorf("the user was created, but its login could not be written: %w", err)
	}
	return nil
}

// next says what to do about an error.
func (o *createOptions) next(err error, c connection) string {
	var response *client.Error
	switch {
	case errors.As(err, &response) && response.Status < 400 && response.Status != 201: // of something else than the API
		return c.next(err)
	case errors.Is(err, client.ErrOutcomeUnknown) && !errors.Is(err, registryusers.ErrExists):
		return fmt.Sprintf("Repeat the command with --idempotency-key %s within 24 hours: if the user was created, the response has its secret.", o.idempotencyKey)
	case errors.Is(err, registryusers.ErrIdempotencyKeyReused):
		return "The idempotency key was used for another request: repeat that one as it was, or leave --idempotency-key out."
	case errors.Is(err, registryusers.ErrUserChanged):
		return "Leave --idempotency-key out to create a user anew."
	case errors.As(err, &response) && response.InvalidFields["name"] != nil:
		return "A name is lower-case letters and digits, at most 16 of them."
	case errors.Is(err, registryusers.ErrInvalid):
		return "'registryusers user create --help' says what each flag may be."
	case errors.Is(err, registryusers.ErrForbidden):
		return "The API key is for another project: check GCORE_CLOUD_PROJECT_ID."
	case errors.Is(err, registryusers.ErrRegistryNotFound):
		return "Check --registry, GCORE_CLOUD_PROJECT_ID and GCORE_CLOUD_REGION_ID; where the server runs, 'registryusers admin registry ls' lists the registries."
	case errors.Is(err, registryusers.ErrExists):
		return "Choose another name; where the server runs, 'registryusers admin user' lists and removes users, and makes new secrets."
	}
	return c.next(err)
}

func (o *createOptions) print(out io.Writer, u client.User) error {
	if o.secretOnly {
		_, err := fmt.Fprintln(out, u.Secret.Reveal())
		return err
	}
	if o.output == asJSON {
		return printJSON(out, struct { // as the API names them
			ID        int64     `json:"id"`
			Name      string    `json:"name"`
			ReadOnly  bool      `json:"read_only"`
			Duration  int64     `json:"duration"`
			CreatedAt time.Time `json:"created_at"`
			ExpiresAt time.Time `json:"expires_at"`
			Secret    string    `json:"secret"`
		}{u.ID, u.Name, u.ReadOnly, u.Duration, u.CreatedAt, u.ExpiresAt, u.Secret.Reveal()})
	}
	end, isEnding := u.Expires()
	return printRows(out, asTable, []string{"ID", "NAME", "ACCESS", "EXPIRES", "SECRET"}, []row{
		{cells: []any{u.ID, u.Name, access(u.ReadOnly), ends(end, isEnding), u.Secret.Reveal()}},
	})
}

// maxSecretInput is the most that is read of a secret, in bytes: more than it may have.
const maxSecretInput = 64 << 10

// readSecret reads a secret to its end, or to the line break there.
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
