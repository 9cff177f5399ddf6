// Command bench compares this module's server, client and binary with others. It
// prints tables of the results and writes them to RESULTS.md, and a plot to
// ratios.svg.
//
// The compared programs are measured in short turns and the results are ratios,
// because machines differ and their load varies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // the deferred stop was called above
	}
}

// turnsPerRound is the number of turns in process for each round of the servers.
const turnsPerRound = 5

// parts lists the parts of the measurement, each of which -skip can leave out.
var parts = []string{"process", "client", "loopback", "prism", "binary"}

type settings struct {
	rounds  int
	seconds float64
	quick   bool
	skip    string
	dir     string
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "serve" {
		return servePeer(args[1])
	}
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&s.rounds, "rounds", 8, "number of measurements of each")
	flags.Float64Var(&s.seconds, "seconds", 3, "length of one measurement of a server, in seconds")
	flags.BoolVar(&s.quick, "quick", false, "short measurements, to check that everything runs; writes no files")
	flags.StringVar(&s.skip, "skip", "", "comma-separated parts to leave out, of "+strings.Join(parts, ",")+"; writes no files")
	flags.StringVar(&s.dir, "dir", "", "directory on the disk that durable creates are measured on (default: the directory of temporary files)")
	flags.Func("command", "`NAME=LINE`: another command line to measure as a binary; the first word registryusers means the binary of this tree", func(text string) error {
		name, line, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("it must be NAME=LINE")
		}
		binaries = append(binaries, binary{name: name, line: line})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || s.rounds < 1 || s.seconds <= 0 {
		return errors.New("-rounds and -seconds must be more than 0, and no arguments are allowed; see -help")
	}
	for part := range strings.SplitSeq(s.skip, ",") {
		if s.skip != "" && !slices.Contains(parts, part) {
			return fmt.Errorf("-skip: %q is not a part; the parts are %s", part, strings.Join(parts, ", "))
		}
	}
	if s.dir != "" {
		var err error
		if s.dir, err = filepath.Abs(s.dir); err != nil {
			return err
		}
	}
	if s.quick {
		s.rounds, s.seconds = 2, 0.2
		for i := range binaries {
			binaries[i].users = min(binaries[i].users, 10_000)
		}
	}
	r, err := measure(ctx, s)
	if err != nil {
		return err
	}
	text := r.markdown()
	if s.quick || s.skip != "" {
		fmt.Print(text)
		return nil
	}
	explained, err := bounds(text)
	if err != nil {
		return err
	}
	text += "\n" + explained
	fmt.Print(text)
	return errors.Join(
		os.WriteFile("RESULTS.md", []byte(text), 0o644),         //nolint:gosec // documentation is readable by all
		os.WriteFile("ratios.svg", []byte(plot(r.rows)), 0o644), //nolint:gosec // documentation is readable by all
	)
}

// measure measures all parts that are not skipped.
func measure(ctx context.Context, s settings) (results, error) {
	dir, err := os.MkdirTemp(s.dir, "bench")
	if err != nil {
		return results{}, err
	}
	defer os.RemoveAll(dir)
	skipped := strings.Split(s.skip, ",")
	do := func(part string) bool {
		if slices.Contains(skipped, part) {
			return false
		}
		fmt.Fprintln(os.Stderr, "bench: measuring", part)
		return true
	}
	length := time.Duration(s.seconds * float64(time.Second))
	r := results{
		date:     time.Now().UTC().Format(time.DateOnly),
		machine:  machine(),
		disk:     diskOf(dir),
		versions: versions(),
		how:      fmt.Sprintf("%d rounds, %g s for each server in each", s.rounds, s.seconds),
		rows:     make([]row, len(peers)),
	}
	for i, p := range peers {
		r.rows[i].name = p.name
	}
	if do("process") {
		if err := inProcess(ctx, r.rows, s.rounds*turnsPerRound); err != nil {
			return r, err
		}
	}
	if do("client") {
		if r.calls, err = measureCalls(s.rounds * turnsPerRound); err != nil {
			return r, err
		}
	}
	if do("loopback") {
		if r.notes, err = loopback(ctx, r.rows, s.rounds, length, do("prism")); err != nil {
			return r, err
		}
	}
	if do("binary") {
		if r.binaries, err = measureBinaries(ctx, binaries, dir, s.rounds, length); err != nil {
			return r, err
		}
	}
	return r, nil
}

// machine describes the processor, the operating system and the version of Go.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s, %s", model, runtime.NumCPU(), runtime.GOOS, runtime.Version())
}

// diskOf returns the type of a directory's file system, or "unknown" except on Linux.
func diskOf(dir string) string {
	kind, longest := "unknown", 0
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		point := strings.TrimSuffix(fields[1], "/")
		if len(fields[1]) >= longest && (dir == point || strings.HasPrefix(dir, point+"/")) {
			kind, longest = fields[2], len(fields[1])
		}
	}
	return kind
}

// versions returns the names and versions of the peers.
func versions() string {
	names := []string{
		"github.com/ogen-go/ogen", "github.com/danielgtaylor/huma/v2", "github.com/oapi-codegen/nethttp-middleware",
		"github.com/getkin/kin-openapi",
	}
	var found []string
	info, _ := debug.ReadBuildInfo()
	for _, name := range names {
		for _, dep := range info.Deps {
			if dep.Path == name {
				found = append(found, strings.TrimPrefix(name, "github.com/")+" "+dep.Version)
			}
		}
	}
	return strings.Join(append(found, strings.TrimPrefix(prismPackage, "@")), ", ")
}
