// Command bench measures this module's server, client and binary beside others,
// prints a table, and writes it to RESULTS.md and a plot of it to ratios.svg.
//
// Figures are ratios, measured side by side in short turns, because machines
// differ and are rarely quiet.
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
		os.Exit(1) //nolint:gocritic // what was deferred is done
	}
}

// turnsPerRound is how many turns in process go with a round of the servers.
const turnsPerRound = 5

// parts are what is measured, and can be left out.
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
	flags.IntVar(&s.rounds, "rounds", 8, "how often each is measured")
	flags.Float64Var(&s.seconds, "seconds", 3, "how long a server is measured in a round")
	flags.BoolVar(&s.quick, "quick", false, "see that everything runs: short, and nothing is written")
	flags.StringVar(&s.skip, "skip", "", "what to leave out, of "+strings.Join(parts, ",")+"; nothing is written then")
	flags.StringVar(&s.dir, "dir", "", "directory on the disk to measure durable creates on (default: that of temporary files)")
	flags.Func("command", "`NAME=LINE`: another command line to measure as the binary; its first word may be registryusers, this tree's", func(text string) error {
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
		return errors.New("rounds and seconds must be more than 0, and there are no arguments; see -help")
	}
	for part := range strings.SplitSeq(s.skip, ",") {
		if s.skip != "" && !slices.Contains(parts, part) {
			return fmt.Errorf("-skip: there is no %q, but %s", part, strings.Join(parts, ", "))
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
		os.WriteFile("RESULTS.md", []byte(text), 0o644),         //nolint:gosec // for all to read
		os.WriteFile("ratios.svg", []byte(plot(r.rows)), 0o644), //nolint:gosec // for all to read
	)
}

// measure measures all that is not to be left out.
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
		if r.wholes, err = measureBinaries(ctx, binaries, dir, s.rounds, length); err != nil {
			return r, err
		}
	}
	return r, nil
}

// machine says what the figures were measured on.
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

// diskOf names the file system of a directory, where the system tells.
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

// versions says which versions of the peers were measured.
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
