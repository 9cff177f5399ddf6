package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the text of RESULTS.md from its tables")

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The text of RESULTS.md must have the figures of its tables.
func TestResultsDoNotContradictTheirTables(t *testing.T) {
	const file = "RESULTS.md"
	text := readText(t, file)
	before, _, found := strings.Cut(text, boundsTitle)
	if !found {
		t.Fatalf("%s has no %q", file, boundsTitle)
	}
	want, err := bounds(before)
	if err != nil {
		t.Fatal(err)
	}
	want = before + want
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != want {
		t.Errorf("%s contradicts its tables; go test -run Results -update rewrites its text:\n%s", file, want[len(before):])
	}
}

// The text has the figures of the tables, as results writes them.
func TestBoundsAreReadFromTheTables(t *testing.T) {
	r := results{
		rows: []row{
			{"bare", [kinds]cost{{1, 100, 10, 1}, {1, 100, 10, 1}, {1, 100, 10, 1}}, traffic{20_000, 1, 10}},
			{"ours", [kinds]cost{{1.2, 120, 10, 1_017}, {1.31, 131, 10, 2}, {1.4, 140, 10, 3}}, traffic{18_000, 0.9, 11}},
			{"ogen, no telemetry", [kinds]cost{{0.7, 70, 10, 18}, {2, 200, 10, 54}, {2.4, 240, 10, 11}}, traffic{22_000, 1.1, 10}},
			{"stock", [kinds]cost{{80, 8_000, 10, 1}, {81, 8_100, 10, 1}, {82, 8_200, 10, 1}}, traffic{1_500, 0.075, 200}},
		},
		calls: []cost{{1, 200, 20, 5}, {1.6, 320, 20, 6}},
		binaries: []measured{
			{"registryusers", traffic{4_000, 1, 20}, 40, 21, 42, 1.5, 1.75},
			{"one commit each", traffic{999, 0.25, 20}, 40, 22, 43, 1.5, 1.8},
			{"no-op store", traffic{16_001, 4, 20}, 40, 23, 44, 1.5, 1.9},
			{"5,000,000 users there", traffic{2_500, 0.625, 20}, 40, 24, 45, 1.5, 2},
		},
	}
	got, err := bounds(r.markdown())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"handler: 1.20 of bare, aim 0.66; 1,017 allocations", "**An invalid create: 1.31 of bare", "**Loopback: 0.900 of bare, ogen without telemetry 1.10; 12.0 times stock",
		"bare itself is 13.3 times stock", "**Durable creates: 4.00 times one commit each, aim 4; 0.250 of creates that are not stored",
		"**With 5,000,000 users: 0.625,", "**A create without other load: 1.75 times an append", "**Memory: 21.0 MiB at rest, aim 25; 42.0 loaded", "**The client: 1.60 of bare",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	r.binaries = r.binaries[:2]
	if _, err := bounds(r.markdown()); err == nil || !strings.Contains(err.Error(), `"no-op store", column "× first"`) {
		t.Errorf("a row that is missing: got %v", err)
	}
}

// docs/performance.md quotes figures of RESULTS.md, in words, and shows its plot.
func TestDocumentedFiguresAgreeWithTheResults(t *testing.T) {
	results := tables(readText(t, "RESULTS.md"))
	page := strings.Join(strings.Fields(readText(t, "../docs/performance.md")), " ")
	plot := readText(t, "ratios.svg")

	share, shares := results.figure("5,000,000 users there", "× first", 0), map[string]float64{"a quarter": 0.25, "half": 0.5, "three quarters": 0.75, "four fifths": 0.8, "nine tenths": 0.9}
	near := ""
	for words, value := range shares {
		if near == "" || math.Abs(value-share) < math.Abs(shares[near]-share) {
			near = words
		}
	}
	rates := "thousands"
	if rate := results.figure("registryusers", "creates/s", 0); rate >= 10_000 && rate < 20_000 {
		rates = "more than ten thousand"
	} else if rate < 2_000 || rate >= 10_000 {
		rates = fmt.Sprintf("%.0f", rate)
	}
	for _, want := range []string{
		fmt.Sprintf("takes some %.1f times as long for a create", results.figure("ours", "valid: × bare", 0)),
		rates + " in a second",
		near + " of that with five million users",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("docs/performance.md does not have %q, which bench/RESULTS.md has", want)
		}
	}
	for _, row := range results.rows {
		if row.header[1] == "valid: × bare" && row.cells[1] != "–" && !strings.Contains(plot, ">"+row.cells[1]+" ×</text>") {
			t.Errorf("ratios.svg does not have %s of %s", row.cells[1], row.cells[0])
		}
	}
	if results.err != nil {
		t.Error(results.err)
	}
}
