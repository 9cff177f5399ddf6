package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver of the store
)

// A binary is a program with API, token service, registry and store.
type binary struct {
	name string
	// line is its command line, but for where to listen and to keep its data.
	// Its first word is a program: "registryusers" and "server" are built from
	// this tree, and others are there.
	line   string
	users  int    // who are there before anything is measured
	header string // of every create
}

const (
	serve = "registryusers serve"
	few   = 1000 // users
)

// binaries lists the compared binaries. Ratios are to the first.
var binaries = []binary{
	{name: "registryusers", line: serve, users: few},
	{name: "one commit each", line: "server -store serial", users: few},
	{name: "no-op store", line: "server -store nothing", users: few},
	{name: "5,000,000 users there", line: serve, users: 5_000_000},
	{name: "with an Idempotency-Key", line: serve, users: few, header: "Idempotency-Key: " + freshName + "\r\n"},
}

// measured has the results of a binary.
type measured struct {
	name      string
	durable   traffic // creates, each of a new user
	first     float64 // ms from the start to the first 201, with an empty data directory
	rest      float64 // MiB resident after the start
	busy      float64 // maximum MiB resident with all connections busy
	lone      float64 // p99 in ms of a create without other load
	loneRatio float64 // of lone to the p99 of an append and fdatasync
}

// build builds the programs of this tree below dir, and returns their paths by
// their names.
func build(ctx context.Context, dir string) (map[string]string, error) {
	built := map[string]string{}
	for _, program := range []struct{ name, module, pkg string }{
		{"registryusers", "..", "./cmd/registryusers"},
		{"server", ".", "./server"},
	} {
		path := filepath.Join(dir, program.name)
		command := exec.CommandContext(ctx, "go", "build", "-o", path, program.pkg) //nolint:gosec // our own
		command.Dir = program.module
		if out, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %s: %w\n%s", program.pkg, err, out)
		}
		built[program.name] = path
	}
	return built, nil
}

// An instance is a running binary with its own data directory.
type instance struct {
	*process
	dir  string
	dev  dev
	wire wire
}

// dev is the content of dev.json: the registry that --dev created, and its API key.
type dev struct {
	APIKey     string `json:"api_key"`
	ProjectID  int64  `json:"project_id"`
	RegionID   int64  `json:"region_id"`
	RegistryID int64  `json:"registry_id"`
}

// startTime limits the start of a binary.
const startTime = 30 * time.Second

// open starts the binary on an empty directory, which close removes, and on
// one with its users if it is to have some.
func (b binary) open(ctx context.Context, built map[string]string, under string) (_ *instance, err error) {
	dir, err := os.MkdirTemp(under, "data")
	if err != nil {
		return nil, err
	}
	in := &instance{dir: dir}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	if err := in.serve(ctx, b, built); err != nil || b.users == 0 {
		return in, err
	}
	in.stop()
	in.process = nil
	if err := fill(ctx, filepath.Join(dir, "registryusers.db"), in.dev.RegistryID, b.users); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	return in, in.serve(ctx, b, built)
}

// serve starts the binary on the instance's directory.
func (in *instance) serve(ctx context.Context, b binary, built map[string]string) error {
	line := strings.Fields(b.line)
	if len(line) == 0 {
		return errors.New("the command line is empty")
	}
	if path := built[line[0]]; path != "" {
		line[0] = path
	}
	addressFile := filepath.Join(in.dir, "address")
	if err := os.Remove(addressFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	line = append(line, "--dev", "--data", in.dir, "--listen", "127.0.0.1:0", "--address-file", addressFile)
	command := exec.CommandContext(ctx, line[0], line[1:]...) //nolint:gosec // from the user's command line
	var err error
	if in.process, err = start(command); err != nil {
		return err
	}
	err = in.await(startTime, func() error {
		address, err := os.ReadFile(addressFile)
		in.address = strings.TrimSpace(string(address))
		return err
	})
	if err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	text, err := os.ReadFile(filepath.Join(in.dir, "dev.json"))
	if err == nil {
		err = json.Unmarshal(text, &in.dev)
	}
	users := fmt.Sprintf("/cloud/v1/registries/%d/%d/%d/users", in.dev.ProjectID, in.dev.RegionID, in.dev.RegistryID)
	in.wire = newWire(in.address, users, in.dev.APIKey, b.header, `{"name":"`+freshName+`","duration":14}`)
	return err
}

// fill inserts users with generated secrets into a database that is not in use.
func fill(ctx context.Context, path string, registryID int64, users int) error {
	db, err := sql.Open("sqlite", path+"?_pragma=synchronous(OFF)&_pragma=cache_size(-2000000)")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_version, incarnation)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT ?, printf('u%011d', i * 38196601127 % 100000000000), 0, -1, 0, 253402128000000000, randomblob(32), 1, randomblob(16) FROM n`, users, registryID)
	if err == nil {
		_, err = db.ExecContext(ctx, "REPLACE INTO user_counts SELECT registry_id, id / 4096, count(*) FROM users GROUP BY 1, 2")
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return err
}

func (in *instance) close() {
	if in.process != nil {
		in.stop()
	}
	_ = os.RemoveAll(in.dir)
}

// firstResponse returns the milliseconds from the start of a binary with an empty
// directory to its first 201.
func (b binary) firstResponse(ctx context.Context, built map[string]string, under string) (float64, error) {
	b.users = 0
	begin := time.Now()
	in, err := b.open(ctx, built, under)
	if err != nil {
		return 0, err
	}
	defer in.close()
	c, err := dial(ctx, in.address, in.wire)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	err = c.create()
	return milliseconds(time.Since(begin)), err
}

// measureBinaries measures all binaries in turns, with their data under a directory.
func measureBinaries(ctx context.Context, all []binary, under string, rounds int, length time.Duration) ([]measured, error) {
	results, instances := make([]measured, len(all)), make([]*instance, len(all))
	built, err := build(ctx, under)
	if err != nil {
		return nil, err
	}
	for i, b := range all {
		results[i].name = b.name
		if instances[i], err = b.open(ctx, built, under); err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		defer instances[i].close()
	}
	time.Sleep(min(length, time.Second)) // let the work of the start end
	for i, in := range instances {
		results[i].rest = residentMiB(in.command.Process.Pid)
	}
	if err := measureLone(ctx, results, instances, under, rounds, length); err != nil {
		return nil, err
	}
	loads := make([]func(time.Duration) (float64, float64, error), len(instances))
	for i, in := range instances {
		loads[i] = func(length time.Duration) (float64, float64, error) {
			watched := watchResident(in.command.Process.Pid)
			rate, p99, err := load(ctx, in.address, in.wire, length)
			results[i].busy = max(results[i].busy, watched())
			return rate, p99, err
		}
	}
	traffics, err := compareLoads(loads, rounds, length)
	if err != nil {
		return nil, err
	}
	firsts := make([][]float64, len(all))
	for range rounds {
		for i, b := range all {
			ms, err := b.firstResponse(ctx, built, under)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", b.name, err)
			}
			firsts[i] = append(firsts[i], ms)
		}
	}
	for i := range results {
		results[i].durable, results[i].first = traffics[i], median(firsts[i])
	}
	return results, nil
}

// measureLone measures creates without other load. Between two creates it measures a
// durable append to a file on the same disk, of the size of a page of the database's
// log.
func measureLone(ctx context.Context, results []measured, instances []*instance, under string, rounds int, length time.Duration) error {
	file, err := os.CreateTemp(under, "append")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	p99s, rs := make([][]float64, len(instances)), make([][]float64, len(instances))
	for range rounds {
		for i, in := range instances {
			create, appended, err := in.lone(ctx, file, length)
			if err != nil {
				return err
			}
			p99s[i], rs[i] = append(p99s[i], create), append(rs[i], create/appended)
		}
	}
	for i := range instances {
		results[i].lone, results[i].loneRatio = median(p99s[i]), median(rs[i])
	}
	return nil
}

// lone returns the p99 of creates and of the appends between them, in milliseconds.
func (in *instance) lone(ctx context.Context, file *os.File, length time.Duration) (create, appended float64, err error) {
	c, err := dial(ctx, in.address, in.wire)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	page := make([]byte, 4096)
	var creates, appends []float64
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; {
		begin := time.Now()
		if err := c.create(); err != nil {
			return 0, 0, err
		}
		between := time.Now()
		_, err := file.Write(page)
		if err == nil {
			err = datasync(file)
		}
		if err != nil {
			return 0, 0, err
		}
		creates = append(creates, milliseconds(between.Sub(begin)))
		appends = append(appends, milliseconds(time.Since(between)))
	}
	return percentile99(creates), percentile99(appends), ctx.Err()
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// residentMiB returns the resident memory of a process, or 0 except on Linux.
func residentMiB(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseFloat(kib, 64)
	return n / 1024
}

// watchResident samples the resident memory of a process. stop ends the sampling and
// returns the maximum.
func watchResident(pid int) (stop func() float64) {
	end, most := make(chan struct{}), make(chan float64)
	go func() {
		highest := 0.0
		for {
			select {
			case <-end:
				most <- highest
				return
			case <-time.After(50 * time.Millisecond):
				highest = max(highest, residentMiB(pid))
			}
		}
	}()
	return func() float64 {
		close(end)
		return <-most
	}
}
