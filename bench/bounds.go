package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// boundsTitle is the title of the section of RESULTS.md that explains its tables.
const boundsTitle = "## What bounds it"

// bounds returns the section that explains the tables of RESULTS.md. It reads all
// figures except the aims from these tables, so that it cannot contradict them.
func bounds(results string) (string, error) {
	t := tables(results)
	handler := func(kind string) string { return number(t.figure("ours", kind+": × bare", 0)) }
	loopback := func(row string) float64 { return t.figure(row, "loopback: req/s", 1) }
	// The binaries' ratios are to the first row, "registryusers".
	share := func(row string) float64 { return t.figure(row, "× first", 0) }
	first := func(column string) string { return number(t.figure("registryusers", column, 0)) }

	text := fmt.Sprintf(boundsText,
		handler("valid"), thousands(t.figure("ours", "valid: × bare", 3)), handler("invalid"),
		number(loopback("ours")), number(loopback("ogen, no telemetry")), number(loopback("ours")/loopback("stock")), number(loopback("bare")/loopback("stock")),
		number(1/share("one commit each")), number(1/share("no-op store")), number(share("5,000,000 users there")),
		first("× append"), first("MiB at rest"), first("MiB loaded"),
		number(t.figure("ours", "client: × bare", 0)),
	)
	return boundsTitle + "\n\n" + text, t.err
}

const boundsText = `The aims were set before the code was written. The shares of the time are from CPU profiles of the same loads.

**A valid create in the handler: %s of bare, aim 0.66; %s allocations, at most 18.** Bare decodes by reflection and validates
nothing. Of the time of ours, a quarter goes into the generated decoder, which validates while it decodes; the rest is mostly
the binding of the three ids and the header by the generator's runtime, the copy of the request that has the caller's context,
and the response with its two dates. ogen does less: ours adds a request id with its header, a record for the log, a limit on the
body, and a response that can still become an error. **An invalid create: %s of bare, aim 0.8**: the response names each
violated rule.

**Loopback: %s of bare, ogen without telemetry %s; %s times stock.** The load generator runs on the same two cores, and
most of the time goes to the system calls of the sockets: bare itself is %s times stock here.

**Durable creates: %s times one commit each, aim 4; %s of creates that are not stored, aim 0.6.** On the two cores a create
costs the server some 80 µs of processor time, one that is not stored 33 µs: the commit costs 16 µs, the insert 11 µs, the
read of the API key, which every request needs, 6 µs, and waiting for the commit, caches that SQLite's code evicts, and memory
management the rest. Besides, for about a seventh of the time neither processor has work, because callers wait for the disk. The page
"What a request costs" has the details. One commit each waits for the disk, so the first ratio depends on the disk.
**With 5,000,000 users: %s, aim 0.9**: the index of secrets is in random order, so most creates change a page of it that no
cache has.

**A create without other load: %s times an append, aim 1.3.** A transaction writes a page of the table, a page of each of its
three indexes, the highest id and the count of users: some 28 KiB, and the append writes 4 KiB. **Memory: %s MiB at rest, aim 25; %s loaded, aim
50**: the registry library, and SQLite's caches, of 2 MiB for each connection.

**The client: %s of bare, aim 1.0.** It makes an idempotency key, keeps the body to send it again, limits the size of the
response, checks that it is complete, and stores it in types that redact themselves.
`

// readTables has the rows of the tables in a Markdown text.
type readTables struct {
	rows []readRow
	err  error // names the first figure that was not found
}

// readRow is a row, with the header of its table.
type readRow struct{ header, cells []string }

// tables reads the tables of results. The client's table has the same column names
// as another, so its first column is renamed to "client: × bare".
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

// figure returns the figure of the row name in the column that is after columns to
// the right of column.
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
