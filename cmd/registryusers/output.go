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

// format is the value of the flag --output: how a command prints its results.
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
	cmd.Flags().VarP(f, "output", "o", "output format: table, for people, or json, for programs")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // fails only if there is no such flag
}

// row is one printed result: its cells in a table, and its value in JSON.
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
	_ = w.Flush() // a Buffer does not fail
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

// The ECMA-48 codes of the colours of a terminal.
const (
	bold = "1"
	red  = "31"
)

// paint colours text if out is a terminal and neither NO_COLOR nor TERM=dumb is set.
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

// userJSON is a user in JSON, with the names of the API.
type userJSON struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	ReadOnly  bool      `json:"read_only"`
	Duration  int64     `json:"duration"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Secret    string    `json:"secret,omitempty"` // only of a created user
}
