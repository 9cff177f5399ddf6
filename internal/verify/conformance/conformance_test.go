// Package conformance runs the conformance suite of the OCI distribution
// specification with its four workflows (pull, push, content discovery, content
// management) against this server with logins, and against the same registry
// library without them. The same tests, listed in knownFailures, must fail on both,
// so that every failure is the library's.
//
// It is in this module so that the server's module does not depend on the suite.
//
//	cd internal/verify && go test ./conformance
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // a driver
	"github.com/sirupsen/logrus"
)

func TestKnownFailuresAreTheLibrarys(t *testing.T) {
	suite := build(t, ".", "github.com/opencontainers/distribution-spec/conformance")
	ours := run(t, suite, serve(t))
	bare := run(t, suite, target{url: serveLibrary(t)})

	t.Logf("through our logins: %s", ours.summary())
	t.Logf("without logins:     %s", bare.summary())
	if ours.passed == 0 || len(ours.statuses) < 100 {
		t.Fatalf("through our logins: got %s in %d names, want a complete run", ours.summary(), len(ours.statuses))
	}
	for _, name := range sortedKeys(ours.statuses, bare.statuses) {
		isOurs := slices.Contains(refusedPosts, name) || strings.HasPrefix(name, foreignLayers)
		if got, want := ours.statuses[name], bare.statuses[name]; !maps.Equal(got, want) && !isOurs {
			t.Errorf("%s: got %v through our logins, want %v as without them", name, got, want)
		}
	}
	failing := ours.failures()
	for _, name := range failing {
		if !slices.Contains(knownFailures, name) {
			t.Errorf("%s: got a failure, want none but the known ones", name)
		}
	}
	for _, name := range knownFailures {
		if !slices.Contains(failing, name) {
			t.Errorf("%s: got no failure, want it off the list of known ones", name)
		}
	}
}

// target is a registry and a login; an empty user means no login.
type target struct{ url, user, secret string }

// build builds the program of a package and returns its path.
func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// serve starts our server on a free port and creates a user in its registry.
func serve(t *testing.T) target {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	ctx, stop := context.WithCancel(t.Context())
	command := exec.CommandContext(ctx, build(t, filepath.Join("..", "..", ".."), "./cmd/registryusers"),
		"serve", "--dev", "--listen", "127.0.0.1:0", "--data", data)
	log, err := command.StderrPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var text bytes.Buffer
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(log)
		for lines.Scan() && !strings.Contains(lines.Text(), "msg=serving url=") {
			text.WriteString(lines.Text() + "\n")
		}
		if lines.Err() == nil && len(lines.Bytes()) > 0 {
			close(ready)
		}
		_, _ = io.Copy(io.Discard, log)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		_ = command.Wait()
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("the server ended early:\n%s", &text)
	}

	var dev struct {
		URL    string `json:"url"`
		APIKey string `json:"api_key"`
	}
	content, err := os.ReadFile(filepath.Join(data, "dev.json"))
	if err == nil {
		err = json.Unmarshal(content, &dev)
	}
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dev.URL+"/cloud/v1/registries/1/1/1/users",
		strings.NewReader(`{"name":"conformance","duration":1}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "apikey "+dev.APIKey)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var user struct {
		Name   string `json:"name"`
		Secret string `json:"secret"`
	}
	if err := json.NewDecoder(response.Body).Decode(&user); err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("create a user: got status %d, %v; want 201", response.StatusCode, err)
	}
	return target{dev.URL, user.Name, user.Secret}
}

// serveLibrary serves the registry library with the server's configuration, but
// without authentication, and returns its URL.
func serveLibrary(t *testing.T) string {
	t.Helper()
	logrus.SetOutput(io.Discard)
	config := &configuration.Configuration{Storage: configuration.Storage{
		"delete":      configuration.Parameters{"enabled": true},
		"redirect":    configuration.Parameters{"disable": true},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		"filesystem":  configuration.Parameters{"rootdirectory": t.TempDir()},
	}}
	config.HTTP.RelativeURLs = true
	app := handlers.NewApp(t.Context(), config)
	t.Cleanup(func() {
		if err := app.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	return server.URL
}

// outcome has the results of one run. Several tests may have the same name.
type outcome struct {
	statuses                map[string]map[string]int
	passed, failed, skipped int
}

func (o outcome) summary() string {
	text, _ := json.Marshal(map[string]int{"passed": o.passed, "failed": o.failed, "skipped": o.skipped})
	return string(text)
}

func (o outcome) failures() []string {
	var names []string
	for _, name := range sortedKeys(o.statuses) {
		if o.statuses[name]["failure"]+o.statuses[name]["error"] > 0 {
			names = append(names, name)
		}
	}
	return names
}

// run runs the suite and reads its report.
func run(t *testing.T, suite string, at target) outcome {
	t.Helper()
	base, err := url.Parse(at.url)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), suite)
	command.Dir = dir
	for _, entry := range os.Environ() { // without the settings of another run
		if !strings.HasPrefix(entry, "OCI_") {
			command.Env = append(command.Env, entry)
		}
	}
	command.Env = append(command.Env,
		"OCI_VERSION=1.1",
		"OCI_REGISTRY="+base.Host,
		"OCI_TLS=disabled",
		"OCI_REPO1=1-1-demo/conformance",
		"OCI_REPO2=1-1-demo/crossmount",
		"OCI_USERNAME="+at.user,
		"OCI_PASSWORD="+at.secret,
		"OCI_RESULTS_DIR="+dir,
		"OCI_LOG=error",
	)
	var exit *exec.ExitError
	output, err := command.CombinedOutput()
	if err != nil && !errors.As(err, &exit) { // it exits with 1 if a test fails
		t.Fatal(err)
	}
	report, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatalf("the suite left no report: %v\n%s", err, output)
	}
	if at.secret != "" && bytes.Contains(report, []byte(at.secret)) {
		t.Error("the report shows the secret")
	}
	var suites struct {
		Cases []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		t.Fatal(err)
	}
	o := outcome{statuses: make(map[string]map[string]int)}
	for _, test := range suites.Cases {
		name := strings.TrimPrefix(test.Name, "OCI Conformance Test/")
		if o.statuses[name] == nil {
			o.statuses[name] = make(map[string]int)
		}
		o.statuses[name][test.Status]++
		switch test.Status {
		case "passed":
			o.passed++
		case "skipped":
			o.skipped++
		default:
			o.failed++
		}
	}
	return o
}

func sortedKeys[V any](all ...map[string]V) []string {
	var keys []string
	for _, m := range all {
		keys = slices.AppendSeq(keys, maps.Keys(m))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
