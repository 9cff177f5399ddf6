package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// results are what a run has found.
type results struct {
	date     string
	machine  string
	disk     string // that the binaries kept their data on
	versions string
	how      string // long it was measured
	rows     []row  // of the peers
	calls    []cost // bare, ours
	wholes   []complete
	notes    []string
}

// row is what was measured of a peer; zeros were not.
type row struct {
	name     string
	handler  [kinds]cost
	loopback traffic
}

// markdown renders the results.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results\n\n%s, on %s. %s.\n", r.date, r.machine, r.how)
	fmt.Fprintf(&b, "Ratios are to the first row, measured beside it; medians of the rounds. `go run .` in this directory makes this file anew.\n")
	fmt.Fprintf(&b, "\n## One create, its implementation doing nothing\n\n")
	fmt.Fprintf(&b, "In process: the handler alone. Loopback: a server process, %d connections, valid requests. The invalid request breaks two rules; bare knows no rules.\n", connections)
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
		fmt.Fprintf(&b, "\n## One call of the client, its transport in memory\n\n")
		lines := [][]string{{"", "× bare", "ns", "B", "allocs"}}
		for i, name := range []string{"bare", "ours"} {
			lines = append(lines, append([]string{name}, r.calls[i].cells()...))
		}
		writeTable(&b, lines)
	}
	if len(r.wholes) > 0 {
		fmt.Fprintf(&b, "\n## The whole binary\n\n")
		fmt.Fprintf(&b, "Durable creates of new users over HTTP, %d connections; the start to the first 201 on an empty data directory; memory resident at rest and the most under that load; ", connections)
		fmt.Fprintf(&b, "the p99 of a create with nothing beside it, and its ratio to an append of 4 KiB and fdatasync between the creates. Disk: %s.\n", r.disk)
		fmt.Fprintf(&b, "Each has 1,000 users to begin with, but for the one that says otherwise; new ones' names come in no order. The no-op store answers a create without storing it, and reads the API key once.\n\n")
		lines := [][]string{{"", "creates/s", "× first", "p99 ms", "first 201 ms", "MiB at rest", "MiB loaded", "lone p99 ms", "× append"}}
		for _, w := range r.wholes {
			line := append([]string{w.name}, w.durable.cells()...)
			lines = append(lines, append(line, number(w.first), number(w.rest), number(w.busy), number(w.lone), number(w.loneRatio)))
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

// number spells a figure with three digits that count, or all before the point.
func number(x float64) string {
	if x == 0 {
		return "–"
	}
	decimals := max(0, min(3, 2-int(math.Floor(math.Log10(math.Abs(x))))))
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// thousands spells a whole number, its digits in threes.
func thousands(x float64) string {
	digits := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// writeTable writes a Markdown table that is also read with ease as it is.
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
