package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// results are the results of a run.
type results struct {
	date     string
	machine  string
	disk     string // file system of the binaries' data
	versions string
	how      string // number and length of the measurements
	rows     []row  // of the peers
	calls    []cost // of bare and ours
	binaries []measured
	notes    []string
}

// row has the results of a peer; zero means not measured.
type row struct {
	name     string
	handler  [kinds]cost
	loopback traffic
}

// markdown renders the results.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results\n\n%s, on %s. %s.\n", r.date, r.machine, r.how)
	fmt.Fprintf(&b, "Ratios are to the first row, measured beside it; medians of the rounds. `go run .` in this directory writes this file.\n")
	fmt.Fprintf(&b, "\n## One create, with an implementation that does nothing\n\n")
	fmt.Fprintf(&b, "In process: the handler only. Loopback: a server process, %d connections, valid requests. The invalid request violates two rules of the document; bare does not validate.\n", connections)
	fmt.Fprintf(&b, "%s.\n\n", r.versions)
	header := []string{""}
	for _, kind := range kindNames {
		header = append(header, kind+": × bare", "ns", "B", "allocs")
	}
	lines := [][]string{append(header, "loopback: req/s", "× bare", "p99 ms")}
	for _, row := range r.rows {
		line := []string{row.name}
		for _, c := range row.handler {
			line = append(line, c.cells()...)
		}
		lines = append(lines, append(line, row.loopback.cells()...))
	}
	writeTable(&b, lines)
	for _, note := range r.notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	if len(r.calls) > 0 {
		fmt.Fprintf(&b, "\n## One call of the client, with a transport in memory\n\n")
		lines := [][]string{{"", "× bare", "ns", "B", "allocs"}}
		for i, name := range []string{"bare", "ours"} {
			lines = append(lines, append([]string{name}, r.calls[i].cells()...))
		}
		writeTable(&b, lines)
	}
	if len(r.binaries) > 0 {
		fmt.Fprintf(&b, "\n## The complete binary\n\n")
		fmt.Fprintf(&b, "Durable creates of new users over HTTP, %d connections; time from the start to the first 201 with an empty data directory; resident memory at rest, and its maximum under that load; ", connections)
		fmt.Fprintf(&b, "the p99 of a create without other load, and its ratio to an append of 4 KiB and fdatasync between the creates. Disk: %s.\n", r.disk)
		fmt.Fprintf(&b, "Each database has 1,000 users at the start, unless the row says otherwise; the names of new users are in no order. The no-op store responds to a create without storing the user, and reads the API key once.\n\n")
		lines := [][]string{{"", "creates/s", "× first", "p99 ms", "first 201 ms", "MiB at rest", "MiB loaded", "lone p99 ms", "× append"}}
		for _, c := range r.binaries {
			line := append([]string{c.name}, c.durable.cells()...)
			lines = append(lines, append(line, number(c.first), number(c.rest), number(c.busy), number(c.lone), number(c.loneRatio)))
		}
		writeTable(&b, lines)
	}
	return b.String()
}

func (c cost) cells() []string {
	if c.ns == 0 {
		return []string{"–", "–", "–", "–"}
	}
	return []string{number(c.ratio), thousands(c.ns), thousands(c.bytes), thousands(c.allocs)}
}

func (t traffic) cells() []string {
	if t.rate == 0 {
		return []string{"–", "–", "–"}
	}
	return []string{thousands(t.rate), number(t.ratio), number(t.p99)}
}

// number formats a figure with three significant digits, or with all digits before
// the point if there are more.
func number(x float64) string {
	if x == 0 {
		return "–"
	}
	decimals := max(0, min(3, 2-int(math.Floor(math.Log10(math.Abs(x))))))
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// thousands formats a figure as an integer with commas: "12,345".
func thousands(x float64) string {
	digits := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// writeTable writes a Markdown table with aligned columns.
func writeTable(b *strings.Builder, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 2)
		}
	}
	for n, line := range lines {
		for i, cell := range line {
			if i == 0 {
				fmt.Fprintf(b, "| %-*s |", widths[i], cell)
			} else {
				fmt.Fprintf(b, " %*s |", widths[i], cell)
			}
		}
		b.WriteString("\n")
		if n == 0 {
			b.WriteString("|" + strings.Repeat("-", widths[0]+2) + "|")
			for _, width := range widths[1:] {
				b.WriteString(strings.Repeat("-", width+1) + ":|")
			}
			b.WriteString("\n")
		}
	}
}
