package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newCommand returns a command. If the second word of its use line is no flag, it is
// the name of the command's one argument; otherwise the command takes no arguments.
func newCommand(use, short string, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: checkArguments, RunE: run}
}

func checkArguments(cmd *cobra.Command, args []string) error {
	words := strings.Fields(cmd.Use)
	takesOne := len(words) > 1 && !strings.HasPrefix(words[1], "-")
	switch {
	case !takesOne && len(args) > 0:
		return fmt.Errorf("%s takes no arguments, not %d", cmd.CommandPath(), len(args))
	case takesOne && len(args) == 0:
		return fmt.Errorf("%s: the argument %s is missing", cmd.CommandPath(), words[1])
	case takesOne && len(args) > 1:
		return fmt.Errorf("%s takes one argument, %s, not %d", cmd.CommandPath(), words[1], len(args))
	}
	return nil
}

// choice is the value of a flag that is one of several words.
type choice struct {
	value *string
	words []string
}

// choiceFlag adds a flag whose value is one of the words; the first is the default.
func choiceFlag(cmd *cobra.Command, value *string, name, shorthand, usage string, words ...string) {
	*value = words[0]
	cmd.Flags().VarP(choice{value, words}, name, shorthand, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // fails only if there is no such flag
}

// String, Set and Type implement [pflag.Value].
func (c choice) String() string { return *c.value }
func (c choice) Type() string   { return strings.Join(c.words, "|") }
func (c choice) Set(text string) error {
	if !slices.Contains(c.words, text) {
		return fmt.Errorf("must be %s", strings.Join(c.words, " or "))
	}
	*c.value = text
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
