package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/app/images"
)

// binary is the path of the built command, which all tests here run.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "registryusers")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "registryusers")
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out))
		}
		for _, entry := range os.Environ() { // the tests set their own variables
			if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "GCORE_") || strings.HasPrefix(name, environmentPrefix) {
				_ = os.Unsetenv(name)
			}
		}
		return m.Run()
	}())
}

// logBuffer collects a process's output.
type logBuffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote *sync.Cond // on mu; created by waitFor
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wrote != nil {
		b.wrote.Broadcast()
	}
	return b.text.Write(p)
}

// waitFor waits until the output contains a text, and returns the complete output.
func (b *logBuffer) waitFor(t *testing.T, text string) string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote = sync.NewCond(&b.mu)
	isLate := false
	timer := time.AfterFunc(time.Minute, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		isLate = true
		b.wrote.Broadcast()
	})
	defer timer.Stop()
	for !strings.Contains(b.text.String(), text) {
		if isLate {
			t.Fatalf("output: got %s, want %q in it", &b.text, text)
		}
		b.wrote.Wait()
	}
	return b.text.String()
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// process is a running "registryusers serve".
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	stdout logBuffer
	stderr logBuffer
	read   sync.WaitGroup // waits for the end of the outputs
	exited bool
}

// serve starts the server on a free port and waits until it logs that it serves.
func serve(t *testing.T, args ...string) *process {
	t.Helper()
	return start(t, exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--validate-responses"}, args...)...))
}

// start starts a command that is a server and waits until it logs that it serves.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(os.Kill) })
	ready := make(chan string, 1)
	p.read.Add(2)
	go func() {
		defer p.read.Done()
		_, _ = io.Copy(&p.stdout, out)
	}()
	go func() {
		defer p.read.Done()
		defer close(ready)
		lines := bufio.NewScanner(log)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			_, _ = p.stderr.Write(append(lines.Bytes(), '\n'))
			if _, rest, ok := strings.Cut(lines.Text(), "msg=serving url="); ok {
				url, _, _ := strings.Cut(rest, " ")
				ready <- url
			}
		}
	}()
	select {
	case p.url = <-ready:
	case <-time.After(time.Minute):
	}
	if p.url == "" {
		p.stop(os.Kill)
		t.Fatalf("%v did not start:\n%s", cmd.Args, p.stderr.String())
	}
	return p
}

// stop sends the signal, waits for the end and returns the exit code.
func (p *process) stop(signal os.Signal) int {
	if !p.exited {
		p.exited = true
		_ = p.cmd.Process.Signal(signal)
		p.read.Wait()
		_ = p.cmd.Wait()
	}
	return p.cmd.ProcessState.ExitCode()
}

// readDev reads the file that serve --dev writes.
func readDev(t *testing.T, data string) images.DevFile {
	t.Helper()
	file, err := images.ReadDevFile(filepath.Join(data, images.DevFileName))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// response is a response of a server.
type response struct {
	status int
	header http.Header
	body   string
	fields struct { // of a created user, or of an error
		ID            int64               `json:"id"`
		Name          string              `json:"name"`
		Secret        string              `json:"secret"`
		Class         string              `json:"exception_class"`
		Message       string              `json:"message"`
		RequestID     string              `json:"request_id"`
		InvalidFields map[string][]string `json:"invalid_fields"`
	}
}

// send sends a request with the headers ("Name: value") and returns the response.
func send(t *testing.T, method, url, body string, headers ...string) response {
	t.Helper()
	a, err := trySend(method, url, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func trySend(method, url, body string, headers ...string) (response, error) {
	return trySendBy(http.DefaultTransport, method, url, body, headers...)
}

func trySendBy(transport http.RoundTripper, method, url, body string, headers ...string) (response, error) {
	var a response
	r, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return a, err
	}
	a.status, a.header, a.body = response.StatusCode, response.Header, string(text)
	_ = json.Unmarshal(text, &a.fields)
	return a, nil
}

const isJSON = "Content-Type: application/json"

// users is the URL that creates users in the dev registry.
func (p *process) users() string { return p.url + "/cloud/v1/registries/1/1/1/users" }
