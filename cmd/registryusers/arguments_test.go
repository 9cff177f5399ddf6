package main

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A mistake on a command line is described without the words of the libraries
// that read it.
func TestCommandLineErrorsAreInPlainWords(t *testing.T) {
	commands := 0
	refuse := func(args ...string) {
		t.Helper()
		root := rootCommand()
		eachCommand(root, func(cmd *cobra.Command) {
			if cmd.RunE != nil {
				cmd.RunE = func(*cobra.Command, []string) error { return nil }
			}
		})
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		err := root.ExecuteContext(t.Context())
		if err == nil {
			return
		}
		for _, phrase := range []string{"arg(s)", "flag(s)", "in the group", "accepts", "requires", "invalid argument", "strconv", "parsing"} {
			if strings.Contains(err.Error(), phrase) {
				t.Errorf("%q: got %q, want no %q in it", args, err, phrase)
			}
		}
	}
	eachCommand(rootCommand(), func(cmd *cobra.Command) {
		commands++
		path := strings.Fields(cmd.CommandPath())[1:]
		var flags, required []string
		add := func(f *pflag.Flag) {
			value := map[string]string{"int64": "1", "int": "1", "bool": "true", "duration": "1s"}[f.Value.Type()]
			flags = append(flags, "--"+f.Name+"="+cmp.Or(value, f.DefValue))
			if f.Name == "days" || f.Name == "registry" && f.Value.Type() == "int64" {
				required = append(required, "--"+f.Name+"=1")
			}
			refuse(slices.Concat(path, []string{"--" + f.Name + "=?"})...)
		}
		cmd.LocalFlags().VisitAll(add)
		cmd.InheritedFlags().VisitAll(add)
		for n := range 4 {
			arguments := slices.Concat(path, strings.Fields("a b c")[:n])
			refuse(arguments...)
			refuse(slices.Concat(arguments, flags)...)
			for i := range flags {
				for _, second := range flags[i+1:] {
					if n < 2 {
						refuse(slices.Concat(arguments, required, []string{flags[i], second})...)
					}
				}
			}
		}
	})
	if commands < 25 {
		t.Errorf("got %d commands, want all", commands)
	}
}

// eachCommand calls f with a command and all below it.
func eachCommand(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, f)
	}
}
