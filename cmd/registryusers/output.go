package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// The values of the flag --output: how a command prints its results.
const (
	asTable = "table"
	asJSON  = "json"
)

// outputFlag adds the flag --output.
func outputFlag(cmd *cobra.Command, format *string) {
	choiceFlag(cmd, format, "output", "o", "output format: table, for people, or json, for programs", asTable, asJSON)
}

// printLine prints the values as a line, unless err is an error, and returns the
// first error.
func printLine(out io.Writer, err error, values ...any) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, values...)
	return err
}

// row is one printed result: its cells in a table, with tabs between them, and its
// value in JSON.
type row struct {
	cells string
	value any
}

// printRows prints rows in columns under the titles, or as a JSON array.
func printRows(out io.Writer, format, titles string, rows []row) error {
	if format == asJSON {
		values := make([]any, len(rows))
		for i, row := range rows {
			values[i] = row.value
		}
		return printJSON(out, values)
	}
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, titles)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, row.cells)
	}
	_ = w.Flush() // a Buffer does not fail
	head, body, _ := bytes.Cut(text.Bytes(), []byte("\n"))
	_, err := fmt.Fprintf(out, "%s\n%s", paint(out, bold, string(head)), body)
	return err
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

func formatTime(t time.Time) string { return t.UTC().Format(time.DateTime) }

func formatExpiry(t time.Time, ends bool) string {
	if !ends {
		return "never"
	}
	return formatTime(t)
}

func rights(readOnly bool) string {
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
