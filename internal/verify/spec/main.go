// Command spec vendors a newer OpenAPI document: it extracts the document from
// FILE, prints what it changes for callers, copies it to api/ and regenerates gen/.
// "make spec FROM=FILE" runs it; docs/new-document.md explains its output.
//
//	spec [-root DIR] FILE
//
// FILE is the document, as YAML or JSON, or a documentation page: Markdown with the
// document in a fenced block. The copy in api/ has the same bytes as the document
// in FILE, including line ends and trailing blank lines.
//
// If FILE is refused, nothing changes. If FILE is the vendored document, gen/ is
// regenerated nevertheless, because the overlay or a configuration may have
// changed. The exit code is 0 on success, 1 for a failure, 2 for wrong usage.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

// maxSize limits the size of FILE. The largest published documents have a few MiB.
const maxSize = 64 << 20

func main() {
	os.Exit(run(context.Background(), os.Args[1:], time.Now, os.Stdout, os.Stderr))
}

// run runs the command and returns its exit code.
func run(ctx context.Context, args []string, now func() time.Time, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("spec", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: spec [-root DIR] FILE")
		flags.PrintDefaults()
	}
	root := flags.String("root", "../..", "the `directory` of the project")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() != 1 || flags.Arg(0) == "":
		flags.Usage()
		return 2
	}
	if err := vendorFile(ctx, flags.Arg(0), *root, now().UTC(), stdout); err != nil {
		fmt.Fprintln(stderr, "spec:", err)
		return 1
	}
	return 0
}

// vendorFile vendors the document in file into the project at root, and records
// the day now.
func vendorFile(ctx context.Context, file, root string, now time.Time, out io.Writer) error {
	content, err := readFile(file)
	if err != nil {
		return err
	}
	found, err := findDocument(file, content)
	if err != nil {
		return err
	}
	revision, err := found.load(ctx)
	if err != nil {
		return err
	}
	path := filepath.Join(root, "api", "cloud_api.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w; -root must name the project's directory", err)
	}
	recordPath := filepath.Join(root, "api", "SOURCE.yaml")
	version := revision.Info.Version
	after, err := readOverlaid(root, found.data)
	if err != nil {
		return err
	}
	before := after
	isVendored := bytes.Equal(data, found.data)
	if !isVendored {
		base, err := document{path, 1, data}.load(ctx)
		if err != nil {
			return fmt.Errorf("the vendored document: %w", err)
		}
		if before, err = readOverlaid(root, data); err != nil {
			return err
		}
		fmt.Fprint(out, describeChanges(base, revision, func(operation string) bool {
			return before.operations[operation] || after.operations[operation]
		}), "\n")
		if err := atomicfile.Write(path, found.data, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(out, "api/cloud_api.yaml is replaced: version %s was %s\n", version, base.Info.Version)
	}

	// The overlay or a configuration may have changed, so the generator runs in any case.
	gen := filepath.Join(root, "gen")
	was, err := hashTree(gen)
	if err != nil {
		return err
	}
	printed, err := regenerate(ctx, root)
	if err != nil {
		return err
	}
	if after, err = readOverlaid(root, found.data); err != nil { // with the additions that this document lacks
		return err
	}
	if len(after.missing) > 0 {
		return fmt.Errorf("api/models.yaml: include-operation-ids lists %s, and the document with the overlay has no such operation; correct all three configurations in api/, then run this command again",
			strings.Join(after.missing, ", "))
	}
	is, err := hashTree(gen)
	if err != nil {
		return err
	}
	if isVendored {
		before = after
		fmt.Fprintf(out, "api/cloud_api.yaml is this document already, version %s", version)
		if was == is && isRecorded(recordPath, data) {
			fmt.Fprintln(out, ": nothing changed")
			return nil
		}
		fmt.Fprintln(out, ", but gen/ was not generated from it and the current api/overlay.yaml")
	}
	places, err := describePlaces(root, before, after)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s%s\n\n%s\n", printed, after.count(), places)

	// The record is written last: without it, the same command does the rest.
	if !isRecorded(recordPath, found.data) {
		record, err := sourceRecord(found.data, version, now)
		if err == nil {
			err = atomicfile.Write(recordPath, record, 0o644)
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprint(out, `gen/ is regenerated. Next:

  go build ./...   # change what no longer compiles
  make test

Then commit api/ and gen/ with your changes; see docs/new-document.md.
`)
	return nil
}

// readFile returns the content of a file, at most maxSize bytes.
func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSize {
		return nil, fmt.Errorf("%s: larger than %d MiB, the limit for a document", file, maxSize>>20)
	}
	return content, nil
}

// isRecorded reports whether the record at path has the document's checksum.
func isRecorded(path string, document []byte) bool {
	record, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var fields struct{ SHA256 string }
	return yaml.Load(record, &fields) == nil && fields.SHA256 == checksum(document)
}

func checksum(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

// sourceRecord returns the content of api/SOURCE.yaml for a document.
func sourceRecord(document []byte, version string, now time.Time) ([]byte, error) {
	fields, err := yaml.Dump(struct {
		SHA256, Version, Vendored string
	}{checksum(document), version, now.Format(time.DateOnly)})
	return append([]byte("# The vendor's document of which api/cloud_api.yaml is an exact copy. Written by \"make spec\".\n"), fields...), err
}
