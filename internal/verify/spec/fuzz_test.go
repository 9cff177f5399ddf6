package main

import (
	"bytes"
	"path/filepath"
	"testing"
)

// FuzzFindDocument checks that nothing in a page makes findDocument panic, and
// that what it returns is what the page has, at the line that it says.
func FuzzFindDocument(f *testing.F) {
	f.Fuzz(func(t *testing.T, file string, content []byte) {
		found, err := findDocument(file, content)
		if err != nil {
			if len(found.data) != 0 {
				t.Errorf("a document, and the error %v", err)
			}
			return
		}
		for line, rest := 1, content; ; line++ {
			if line == found.line {
				if !bytes.HasPrefix(rest, found.data) || len(found.data) == 0 {
					t.Errorf("not in the page at line %d: %q", line, found.data)
				}
				break
			}
			var more bool
			if _, rest, more = bytes.Cut(rest, []byte("\n")); !more {
				t.Fatalf("the page has no line %d", found.line)
			}
		}
	})
}

// FuzzLoad checks that a document that is found is loaded and compared, or
// refused, and that nothing in it makes that panic.
func FuzzLoad(f *testing.F) {
	vendored := vendored(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		base, err := document1(vendored).load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		revision, err := document1(string(data)).load(t.Context())
		if err != nil {
			return
		}
		if describeChanges(base, revision, func(string) bool { return len(data)%2 == 0 }) == "" {
			t.Error("no output")
		}
	})
}

func TestFuzzSeedsExist(t *testing.T) {
	for _, name := range []string{"FuzzFindDocument", "FuzzLoad"} {
		if seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", name, "*")); err != nil || len(seeds) < 5 {
			t.Errorf("%s has %d seeds, want 5 or more: %v", name, len(seeds), err)
		}
	}
}
