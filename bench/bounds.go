package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// boundsTitle begins the section of RESULTS.md that explains its tables.
const boundsTitle = "## What bounds it"

// bounds explains the tables of RESULTS.md. All figures in it, but for the aims,
// are read from these tables, so that it cannot contradict them.
func bounds(results string) (string, error) {
	t := tables(results)
	handler := func(kind string) string { return number(t.figure("ours", kind+": × bare", 0)) }
	loopback := func(row string) float64 { return t.figure(row, "loopback: req/s", 1) }
	// The rows of the binary have their ratio to the first, "registryusers".
	share := func(row string) float64 { return t.figure(row, "× first", 0) }
	first := func(column string) string { return number(t.figure("registryusers", column, 0)) }

	text := fmt.Sprintf(boundsText,
		handler("valid"), thousands(t.figure("ours", "valid: × bare", 3)), handler("invalid"),
		number(loopback("ours")), number(loopback("ours")/loopback("stock")), number(loopback("bare")/loopback("stock")),
		number(1/share("one commit each")), number(1/share("no-op store")), number(share("5,000,000 users there")),
		first("× append"), first("MiB at rest"), first("MiB loaded"),
		number(t.figure("ours", "client: × bare", 0)),
	)
	return boundsTitle + "\n\n" + text, t.err
}

const boundsText = `The aims were set before any of this was built. The shares of the time are from CPU profiles of the same loads.

**A valid create in the handler: %s of bare, aim 0.75; %s allocations, aim 15.** Reading and validating the body is a quarter
of the time, encoding the response a sixth, memory a sixth. ogen saves time with code generated for each type, where ours
goes over its fields by reflection, and it leaves the request alone: ours has a request id and a header for it, a context
with the caller, a bound on the body, and a response that can still become an error. **An invalid one: %s of bare, aim 1.0**:
the response names each broken rule, and is written by ` + "`encoding/json`" + `.

**Loopback: %s of bare, aim 1.05; %s times stock, aim 14.** The load runs on the same two cores, and the system calls of the
sockets are most of it: bare itself is %s times stock here. Of ours, the handler is a fifth.

**Durable creates: %s times one commit each, aim 4; %s of creates that are not stored, aim 0.8.** Most of a create is not the
disk but the processors: net/http with its system calls, then the insert, the commit, and the read of the API key, which
every request makes. One commit each waits for the disk, so the first ratio moves with the disk.
**With 5,000,000 users: %s, aim 0.9**: the index of secrets is in random order, so most creates change a page of it that is in
no cache.

**A lone create: %s times an append, aim 1.3.** A transaction writes a page of the table, one of each of its two indexes, and
the highest id: some 20 KiB, beside the append's four. **Memory: %s MiB at rest, aim 25; %s loaded, aim 50**: the registry
that is linked in, and SQLite's caches, of which the one to write with is 8 MiB.

**The client: %s of bare, aim 1.0.** It makes an idempotency key, keeps the body to send it again, reads the response with a
bound, checks that it is complete, and puts it into types that redact themselves.
`

// readTables are the rows of the tables in a Markdown text.
type readTables struct {
	rows []readRow
	err  error // the first figure that was not there
}

// readRow is a row, with the header of its table.
type readRow struct{ header, cells []string }

// tables reads the tables of results. The client's table has columns of the
// same names as others, so its first is called "client: × bare".
func tables(results string) *readTables {
	t := &readTables{}
	var header []string
	for line := range strings.Lines(results) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !isRow {
			header = nil
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case header == nil:
			header = cells
			if len(header) > 1 && header[1] == "× bare" {
				header[1] = "client: × bare"
			}
		case strings.Trim(line, "-:|") != "":
			t.rows = append(t.rows, readRow{header, cells})
		}
	}
	return t
}

// figure returns the figure in the column that is so many after the named one.
func (t *readTables) figure(name, column string, after int) float64 {
	for _, row := range t.rows {
		at := slices.Index(row.header, column)
		if row.cells[0] != name || at < 0 || at+after >= len(row.cells) {
			continue
		}
		if x, err := strconv.ParseFloat(strings.ReplaceAll(row.cells[at+after], ",", ""), 64); err == nil {
			return x
		}
	}
	if t.err == nil {
		t.err = fmt.Errorf("the tables have no figure in the row %q, column %q", name, column)
	}
	return 0
}
