package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// format is how a command prints what it found: the flag --output.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
)

// String, Set and Type make a format a flag's value.
func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }
func (f *format) Set(text string) error {
	if *f = format(text); *f != asTable && *f != asJSON {
		return errors.New("must be table or json")
	}
	return nil
}

// outputFlag adds the flag --output.
func outputFlag(cmd *cobra.Command, f *format) {
	*f = asTable
	cmd.Flags().VarP(f, "output", "o", "table, for people, or json, for programs")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
}

// row is one thing that is printed: its cells for people, its value for programs.
type row struct {
	cells []any
	value any
}

// printRows prints rows in columns under the titles, or as a JSON array.
func printRows(out io.Writer, f format, titles []string, rows []row) error {
	if f == asJSON {
		values := make([]any, len(rows))
		for i := range rows {
			values[i] = rows[i].value
		}
		return printJSON(out, values)
	}
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i, title := range titles {
		_, _ = fmt.Fprint(w, tab(i), title)
	}
	_, _ = fmt.Fprintln(w)
	for _, row := range rows {
		for i, cell := range row.cells {
			_, _ = fmt.Fprint(w, tab(i), cell)
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush() // a Buffer takes all
	head, body, _ := bytes.Cut(text.Bytes(), []byte("\n"))
	_, err := fmt.Fprintf(out, "%s\n%s", paint(out, bold, string(head)), body)
	return err
}

func tab(column int) string {
	if column == 0 {
		return ""
	}
	return "\t"
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// The colours of a terminal, as ECMA-48 has them.
const (
	bold = "1"
	red  = "31"
)

// paint colours text, if out is a terminal whose user does not object
// (NO_COLOR, or TERM=dumb).
func paint(out io.Writer, colour, text string) string {
	file, ok := out.(*os.File)
	if !ok || !isatty.IsTerminal(file.Fd()) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func day(t time.Time) string { return t.UTC().Format(time.DateTime) }

func ends(t time.Time, ends bool) string {
	if !ends {
		return "never"
	}
	return day(t)
}

func access(readOnly bool) string {
	if readOnly {
		return "pull"
	}
	return "pull, push"
}
