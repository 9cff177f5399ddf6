package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// oneArgument refuses a command line that does not have exactly one argument. Its
// errors name the argument.
func oneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("%s: the argument %s is missing", cmd.CommandPath(), name)
		case len(args) > 1:
			return fmt.Errorf("%s takes one argument, %s, not %d", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}

// noArguments refuses a command line with arguments.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, not %d", cmd.CommandPath(), len(args))
	}
	return nil
}

// requireFlag makes a command require at least one of the flags.
func requireFlag(cmd *cobra.Command, names ...string) {
	checkFlags(cmd, func(flags *pflag.FlagSet) error {
		if slices.ContainsFunc(names, flags.Changed) {
			return nil
		}
		if len(names) == 1 {
			return fmt.Errorf("--%s is missing", names[0])
		}
		return fmt.Errorf("give at least one of --%s", strings.Join(names, ", --"))
	})
}

// excludeFlags makes a command refuse both flags together.
func excludeFlags(cmd *cobra.Command, first, second string) {
	checkFlags(cmd, func(flags *pflag.FlagSet) error {
		if flags.Changed(first) && flags.Changed(second) {
			return fmt.Errorf("--%s and --%s exclude each other: give one of them", first, second)
		}
		return nil
	})
}

// checkFlags adds a check that runs before the command, when its flags have been
// set from the command line and from the settings.
func checkFlags(cmd *cobra.Command, check func(*pflag.FlagSet) error) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if before != nil {
			if err := before(cmd, args); err != nil {
				return err
			}
		}
		return check(cmd.Flags())
	}
}

// flagError returns an error about a flag without the texts of Go's parsers.
func flagError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag := invalid.GetFlag()
	form := ""
	switch flag.Value.Type() {
	case "int", "int64":
		form = "an integer"
	case "bool":
		form = "true or false"
	case "duration":
		form = "a duration, such as 10s"
	default:
		return fmt.Errorf("--%s %q: %w", flag.Name, invalid.GetValue(), invalid.Unwrap())
	}
	return fmt.Errorf("--%s %q: must be %s", flag.Name, invalid.GetValue(), form)
}
