package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// oneArgument refuses a command line without exactly one argument, by its name.
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

// exclusive refuses a command line that has both flags.
func exclusive(cmd *cobra.Command, one, other string) error {
	if cmd.Flags().Changed(one) && cmd.Flags().Changed(other) {
		return usagef("--%s and --%s cannot be given together", one, other)
	}
	return nil
}

// flagError says what is wrong with a flag without the words of Go's parsers.
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
