package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryusers/registryusers/client"
)

func userCommand() *cobra.Command {
	user := group("user", "Create users through the API", userCreateCommand())
	user.Long = `Create users through the API: this program's server, or the vendor's.

The environment says which, and as whom: GCORE_BASE_URL, GCORE_API_KEY,
GCORE_CLOUD_PROJECT_ID, GCORE_CLOUD_REGION_ID.`
	return user
}

func userCreateCommand() *cobra.Command {
	var (
		registry, days int64
		readOnly       bool
		output         string
		insecureHTTP   bool
		dockerConfig   string
		registryHost   string
	)
	cmd := &cobra.Command{
		Use:   "create NAME --registry ID --days N",
		Short: "Create a user and print it with its secret, which is not to be had again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usagef("--output must be table or json")
			}
			var options []client.Option
			if insecureHTTP {
				options = append(options, client.WithInsecureHTTP())
			}
			c, err := client.New(options...)
			if err != nil {
				return usageError{err}
			}
			if registryHost == "" {
				registryHost = c.Host()
			}
			if dockerConfig != "" {
				if err := checkDockerConfig(dockerConfig, registryHost, args[0]); err != nil {
					return err
				}
			}
			u, err := c.CreateUser(cmd.Context(), registry, client.NewUser{Name: args[0], Duration: days, ReadOnly: readOnly})
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(cmd, u)
			} else {
				end, isEnding := u.Expires()
				err = table(cmd.OutOrStdout(), [][]any{
					{"ID", "NAME", "ACCESS", "EXPIRES", "SECRET"},
					{u.ID, u.Name, access(u.ReadOnly), ends(end, isEnding), u.Secret.Reveal()},
				})
			}
			if err != nil || dockerConfig == "" {
				return err
			}
			if err := addLogin(dockerConfig, registryHost, u.Name, u.Secret); err != nil {
				return fmt.Errorf("the user was created, but its login could not be written: %w", err)
			}
			return nil
		},
	}
	registryFlag(cmd, &registry)
	cmd.Flags().Int64Var(&days, "days", 0, "days it lasts, up to 365; 0 ends at once, -1 never (required)")
	_ = cmd.MarkFlagRequired("days") // fails only for a flag that is not there
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "let it pull and not push")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&dockerConfig, "docker-config", "", "file to add the login to, which docker, crane, skopeo and podman read (\"config.json\" in $DOCKER_CONFIG)")
	cmd.Flags().StringVar(&registryHost, "registry-host", "", "HOST[:PORT] of the registry, for --docker-config (default: the API's)")
	cmd.Flags().BoolVar(&insecureHTTP, "insecure-http", false, "allow plain HTTP to a host that is not loopback")
	return cmd
}

// printJSON prints a user with the field names of the API.
func printJSON(cmd *cobra.Command, u client.User) error {
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	err := encoder.Encode(struct {
		ID        int64     `json:"id"`
		Name      string    `json:"name"`
		ReadOnly  bool      `json:"read_only"`
		Duration  int64     `json:"duration"`
		CreatedAt time.Time `json:"created_at"`
		ExpiresAt time.Time `json:"expires_at"`
		Secret    string    `json:"secret"`
	}{u.ID, u.Name, u.ReadOnly, u.Duration, u.CreatedAt, u.ExpiresAt, u.Secret.Reveal()})
	if err != nil {
		return fmt.Errorf("printing the user: %w", err)
	}
	return nil
}
