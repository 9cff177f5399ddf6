package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A setting comes from the first of these that has it: the flag, the environment
// (REGISTRYUSERS_TLS_CERT for --tls-cert), the YAML file that --config or
// REGISTRYUSERS_CONFIG names (tls-cert), the default. Only the commands with the
// flag --config have settings; the others call a server, and use the client's
// environment variables.

// addConfigFlag adds the flag --config, so that a command uses settings from the
// environment and a file.
func addConfigFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().String("config", "", "YAML file of settings, named like the flags of serve (environment: REGISTRYUSERS_CONFIG, and REGISTRYUSERS_NAME for each flag --name)")
}

const environmentPrefix = "REGISTRYUSERS_"

// applySettings sets the flags of cmd that the command line does not set.
func applySettings(cmd *cobra.Command, environ []string) error {
	if cmd.Flags().Lookup("config") == nil {
		return nil
	}
	serve, _, err := cmd.Root().Find([]string{"serve"})
	if err != nil {
		return err
	}
	set := func(source, name string, isList bool, values ...string) error {
		if name == "help" || serve.Flag(name) == nil {
			return fmt.Errorf("%s: there is no setting %q", source, name)
		}
		if cmd != serve && name != "data" && name != "config" { // only serve has it
			return nil
		}
		flag := cmd.Flag(name)
		if flag.Changed {
			return nil
		}
		list, takesList := flag.Value.(pflag.SliceValue)
		switch {
		case !isList:
			err = cmd.Flags().Set(name, values[0])
		case takesList:
			err = list.Replace(values)
			flag.Changed = true
		default:
			return fmt.Errorf("%s: %s must have one plain value", source, name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", source, flagError(cmd, err))
		}
		return nil
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		variable, ok := strings.CutPrefix(name, environmentPrefix)
		if !ok {
			continue
		}
		setting := strings.ReplaceAll(strings.ToLower(variable), "_", "-")
		if serve.Flag(setting) == nil && serviceLink.MatchString(variable) {
			continue
		}
		if err := set("environment variable "+name, setting, false, value); err != nil {
			return err
		}
	}
	if path := cmd.Flag("config").Value.String(); path != "" {
		return readSettings(path, set)
	}
	return nil
}

// serviceLink matches the variables that Kubernetes sets in every container of a
// namespace for a service whose name begins with registryusers, such as
// registryusers-web:
// …_SERVICE_HOST, …_SERVICE_PORT[_NAME], …_PORT and …_PORT_80_TCP[_ADDR|_PORT|_PROTO].
var serviceLink = regexp.MustCompile(`^(.+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$`)

// readSettings calls set for each setting of a YAML file, which is one mapping of
// names to scalars or lists of scalars.
func readSettings(path string, set func(source, name string, isList bool, values ...string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("config file: %w", err)
	}
	defer f.Close()
	var document yaml.Node
	decoder := yaml.NewDecoder(io.LimitReader(f, 1<<20))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil // empty
	} else if err != nil {
		return fmt.Errorf("config file %s is not valid YAML: %w", path, err)
	}
	if decoder.Decode(new(yaml.Node)) == nil {
		return fmt.Errorf("config file %s has more than one YAML document: it must have one", path)
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("config file %s must have lines of the form \"name: value\"", path)
	}
	seen := map[string]bool{}
	for pair := range slices.Chunk(root.Content, 2) {
		name, nodes, isList := pair[0].Value, pair[1:], pair[1].Kind == yaml.SequenceNode
		source := fmt.Sprintf("config file %s, line %d", path, pair[0].Line)
		if isList {
			nodes = pair[1].Content
		}
		var values []string
		for _, node := range nodes {
			if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
				return fmt.Errorf("%s: %s must have a plain value or a list of plain values", source, name)
			}
			values = append(values, node.Value)
		}
		switch {
		case name == "config":
			return fmt.Errorf("%s: a config file cannot name another one", source)
		case seen[name]:
			return fmt.Errorf("%s: %s is set twice", source, name)
		}
		seen[name] = true
		if err := set(source, name, isList, values...); err != nil {
			return err
		}
	}
	return nil
}
