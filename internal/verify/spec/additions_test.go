package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// goes runs a command in the project at root and returns its output.
func goes(t *testing.T, root string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := command.CombinedOutput()
	return string(out), err
}

// withAdditions returns the vendored document with what the additions have, under other operationIds.
func withAdditions(t *testing.T, additions string) string {
	t.Helper()
	type node = map[string]any
	var document, added node
	for text, into := range map[string]*node{read(t, project, "api", "cloud_api.yaml"): &document, additions: &added} {
		if err := yaml.Load([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, section := range []string{"paths", "components"} {
		into := document[section].(node)
		for outer, entries := range added[section].(node) {
			if into[outer] == nil {
				into[outer] = node{}
			}
			for inner, entry := range entries.(node) {
				if into[outer].(node)[inner] != nil {
					t.Fatalf("the document has %s %s already: take it out of the additions of this test", outer, inner)
				}
				if operation := entry.(node); section == "paths" {
					operation["operationId"] = "V2" + operation["operationId"].(string)
				}
				into[outer].(node)[inner] = entry
			}
		}
	}
	text, err := yaml.Dump(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The operations that the document lacks are generated from the additions. Once the
// document has them, however it spells their ids, the additions are left out and the
// code stays the same.
func TestAdditions(t *testing.T) {
	root := copyProject(t)
	additions, overlay := read(t, "testdata", "additions", "additions.yaml"), read(t, "testdata", "additions", "overlay.yaml")
	write(t, filepath.Join(root, "api", "additions.yaml"), additions)
	write(t, filepath.Join(root, "api", "overlay.yaml"), read(t, root, "api", "overlay.yaml")+overlay)
	ids := regexp.MustCompile(`operationId: \w+`).FindAllString(overlay, -1)
	if len(ids) != 16 {
		t.Fatalf("got %d additions, want 16", len(ids))
	}
	for _, name := range []string{"models", "apiclient", "apiserver"} {
		path := filepath.Join(root, "api", name+".yaml")
		write(t, path, edit(t, read(t, path), "    - CreateUser\n", "    - CreateUser\n"+strings.ReplaceAll(strings.Join(ids, "\n")+"\n", "operationId: ", "    - ")))
	}
	if err := os.CopyFS(filepath.Join(root, "internal", "probe"), os.DirFS(filepath.Join("testdata", "additions", "probe"))); err != nil {
		t.Fatal(err)
	}

	// check builds and tests the project, and returns its generated code.
	check := func() map[string]string {
		t.Helper()
		for _, args := range [][]string{
			{"build", "./gen/...", "./server", "./client", "./internal/probe"},
			{"test", "-run", "Vendored|Overlay|Statuses", "."},
		} {
			if out, err := goes(t, root, args...); err != nil {
				t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
		out, err := goes(t, root, "run", "./internal/probe")
		const user = `{"created_at":"2026-05-07T01:02:03Z","duration":0,"expires_at":"2026-05-07T01:02:03Z","id":7,"name":"a","read_only":false}`
		const never, invalid = `"0001-01-01T00:00:00Z"`, `{"exception_class":"ValidationError","invalid_fields":`
		want := []string{
			`200 {"count":9,"results":[` + user + `,` + user + `]}`,
			`201 {"created_at":` + never + `,"duration":14,"expires_at":` + never + `,"id":2,"name":"a","read_only":false,"secret":""}`,
			`400 ` + invalid + `{"users.0.name":["must match ^[a-z0-9]{0,16}$"],"users.1.duration":["must be at most 365"],"users.1.name":["is required"]}`,
			`200 {"created_at":` + never + `,"duration":3,"expires_at":` + never + `,"id":5,"name":"","read_only":false}`,
			`201 {"created_at":` + never + `,"id":0,"name":"demo","repo_count":0,"storage_limit":5,"storage_used":0,"updated_at":` + never + `,"url":""}`,
			`400 ` + invalid + `{"storage_limit":["must be at least 1"]}`,
			`400 {"exception_class":"ValidationError","message":"invalid request"`,
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if err != nil || len(lines) != len(want) {
			t.Fatalf("%v, got\n%s", err, out)
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]) {
				t.Errorf("got %s, want %s", lines[i], want[i])
			}
		}
		out, err = goes(t, root, "test", "-run", "EveryOperation", ".")
		for _, id := range ids {
			if err == nil || !strings.Contains(out, strings.Replace(id, "operationId:", "operation", 1)+" is generated") {
				t.Errorf("the test of the list of operations does not name the %s: %v\n%s", id, err, out)
			}
		}
		out, err = goes(t, root, "test", "-run", "StringsInPaths", ".")
		for _, name := range []string{"repository_name", "digest", "tag_name"} {
			if err == nil || !strings.Contains(out, `".." of `+name+" in package client") {
				t.Errorf("the test of strings in paths does not name %s: %v\n%s", name, err, out)
			}
		}
		return contents(t, filepath.Join(root, "gen"))
	}

	if out, err := goes(t, root, "generate", "./..."); err != nil || out != "" {
		t.Fatalf("the generator with today's document: %v\n%s", err, out)
	}
	lacking := check()

	document := withAdditions(t, additions)
	file := filepath.Join(t.TempDir(), "new.yaml")
	write(t, file, document)
	code, stdout, stderr := spec(t, "-root", root, file)
	if code != 0 || stderr != "" {
		t.Fatalf("got %d, %q", code, stderr)
	}
	leftOut := regexp.MustCompile(`(?m)^api/additions\.yaml: left out, because the document has it: (/\S+ [a-z]+|schemas \w+)$`).FindAllString(stdout, -1)
	if want := strings.Count(additions, "operationId: ") + len(regexp.MustCompile(`(?m)^    \w+Serializer:$`).FindAllString(additions, -1)); len(leftOut) != want {
		t.Errorf("left out: got %d lines, want %d:\n%s", len(leftOut), want, stdout)
	}
	if want := "\n17 operations in the document with the overlay, 17 generated\n"; !strings.Contains(stdout, want) {
		t.Errorf("%q is not in:\n%s", want, stdout)
	}
	if effective := read(t, root, "api", "effective.gen.yaml"); strings.Contains(effective, "Handler.") {
		t.Errorf("the effective overlay has additions:\n%s", effective)
	}
	embedded := regexp.MustCompile(`(?s)var swaggerSpec = \[\]string\{.*?\n\}\n`)
	declarations := func(text string) []string { // in any order: the routes are in the order of the document
		return slices.Sorted(strings.Lines(embedded.ReplaceAllString(text, "")))
	}
	for path, text := range check() {
		if !slices.Equal(declarations(text), declarations(lacking[path])) {
			t.Errorf("%s: the document and the additions give other code", filepath.Base(path))
		}
	}
}
