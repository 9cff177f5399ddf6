package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

const project = "../../.."

// vendored returns an old document of the vendor's. The tests edit its text, so
// they must not depend on the document that the project has now.
func vendored(t testing.TB) string {
	t.Helper()
	return read(t, "testdata", "project", "api", "cloud_api.yaml")
}

// edit replaces the first occurrence of each pair's first text by its second text.
func edit(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the document", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// lineOf returns the line of text where part starts.
func lineOf(t testing.TB, text, part string) int {
	t.Helper()
	before, _, found := strings.Cut(text, part)
	if !found {
		t.Fatalf("%.40q is not there", part)
	}
	return 1 + strings.Count(before, "\n")
}

// asJSON returns a YAML document as JSON, indented with tabs.
func asJSON(t testing.TB, document string) string {
	t.Helper()
	var value any
	if err := yaml.Load([]byte(document), &value); err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// page returns a documentation page with blocks, and with other parts that look
// like documents.
func page(blocks ...string) string {
	const head = "---\ntitle: Create registry user\nopenapi: post /cloud/v1/users\n---\n\n" +
		"> ## Documentation Index\n> Fetch the index.\n\n# Create registry user\n\n    openapi: 3.1.0\n\n" +
		"```python\nspec = {\"openapi\": [\n```\n\n```yaml\ninfo:\n  openapi: 3.1.0\n```\n\n```yaml\nkind: openapi\n```\n\n" +
		"openapi is `openapi: 3.1.0` here.\n\n<Note>text</Note>\n\n## OpenAPI\n\n"
	return head + strings.Join(blocks, "\n\n")
}

// fence returns a block with the info string of the vendor's pages.
func fence(mark, document string) string {
	return mark + "yaml /api-reference/services_documented/cloud_api.yaml post /cloud/v1/users\n" + document + mark + "\n"
}

// checkout returns the directory of a small project with the vendored document, an
// overlay, and one configuration of the generator, which has the real project's
// version.
func checkout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", "project"))); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"go.mod", "go.sum", "tools.go"} {
		write(t, filepath.Join(root, file), read(t, project, file))
	}
	write(t, filepath.Join(root, "generate.go"), "package registryusers\n\n"+
		"//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen -config api/models.yaml api/cloud_api.yaml\n")
	if err := os.MkdirAll(filepath.Join(root, "gen", "models"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// snapshot returns the content and modification time of each file under root.
func snapshot(t *testing.T, root string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&all, path, info.Mode(), info.ModTime().UnixNano())
		if entry.Type().IsRegular() {
			fmt.Fprintf(&all, "%x\n", sha256.Sum256([]byte(read(t, path))))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// spec runs the command on the second of January 2027, UTC, and returns its
// exit code and what it printed.
func spec(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	now := func() time.Time { return time.Date(2027, 1, 1, 23, 30, 0, 0, time.FixedZone("", -3600)) }
	var out, errs bytes.Buffer
	code = run(t.Context(), args, now, &out, &errs)
	return code, out.String(), errs.String()
}

func TestTheDocumentIsTakenByteForByte(t *testing.T) {
	document := vendored(t)
	crlf := strings.ReplaceAll(document, "\n", "\r\n")
	for _, test := range []struct{ name, file, content, want string }{
		{"four backticks", "page.md", page(fence("````", document)), document},
		{"three tildes", "page.md", page(fence("~~~", document)), document},
		{"no newline at the end of the page", "page.md", strings.TrimSuffix(page(fence("````", document)), "\n"), document},
		{"text after the block", "page.md", page(fence("````", document), "The end.\n\n```\ncode\n```\n"), document},
		{"a page without an extension", "page", page(fence("````", document)), document},
		{"a page called yaml", "page.yaml", page(fence("````", document)), document},
		{"no info string", "page.md", "```\n" + document + "```\n", document},
		// CRLF is kept: what is vendored is what the source has.
		{"CRLF page", "page.md", strings.ReplaceAll(page(fence("````", document)), "\n", "\r\n"), crlf},
		{"JSON block", "page.md", page("```json\n" + asJSON(t, document) + "\n```"), asJSON(t, document) + "\n"},
		{"YAML", "cloud_api.yaml", document, document},
		{"an invalid example", "cloud_api.yaml", edit(t, document, "example: user1", "example: 1"), edit(t, document, "example: user1", "example: 1")},
		{"a pattern that Go cannot match", "cloud_api.yaml", edit(t, document, "^[a-z0-9]{0,16}$", "^(?!x)[a-z]+$"), edit(t, document, "^[a-z0-9]{0,16}$", "^(?!x)[a-z]+$")},
		{"YAML with another extension", "cloud_api.md", document, document},
		{"YAML with marks and comments", "cloud_api", "# a comment\n---\n" + document + "...\n", "# a comment\n---\n" + document + "...\n"},
		{"YAML with CRLF", "cloud_api.yaml", crlf, crlf},
		{"YAML with a fence in a description", "cloud_api.yaml",
			edit(t, document, "description: Registry ID", "description: |\n            ```yaml\n            openapi: 3.1.0\n            ```"),
			edit(t, document, "description: Registry ID", "description: |\n            ```yaml\n            openapi: 3.1.0\n            ```")},
		{"JSON", "cloud_api.json", asJSON(t, document), asJSON(t, document)},
		{"JSON without an extension", "cloud_api", asJSON(t, document), asJSON(t, document)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := findDocument(test.file, []byte(test.content))
			if err != nil {
				t.Fatal(err)
			}
			if string(got.data) != test.want {
				t.Errorf("got %d bytes, want %d:\n%.300q", len(got.data), len(test.want), got.data)
			}
			if want := lineOf(t, test.content, test.want); got.line != want {
				t.Errorf("line: got %d, want %d", got.line, want)
			}
			if _, err := got.load(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	document := vendored(t)
	operation := lineOf(t, document, "operationId:")
	inPage := strings.Count(page(), "\n") + 1 // the line of the fence
	wrong := edit(t, document, "      operationId:", "     operationId:")
	for _, test := range []struct {
		name, file, content string
		want                []string
	}{
		{"empty", "page.md", "\n \n", []string{"page.md: the file is empty"}},
		{"not text", "page.md", "openapi: \xff", []string{"page.md: the file is not UTF-8"}},
		{"no block", "page.md", page("```yaml\nswag: 1\n```\n"), []string{"page.md: no OpenAPI document in it", ".yaml or .json"}},
		{"no block, and no page", "notes", "[1, 2", []string{"notes: no OpenAPI document in it"}},
		{"two blocks", "page.md", page(fence("````", document), fence("````", document)),
			[]string{fmt.Sprintf("page.md:%d: ", inPage+1+strings.Count(document, "\n")+4), fmt.Sprintf("besides line %d;", inPage+1), "as a separate file"}},
		{"two blocks, one broken", "page.md", page(fence("````", document), fence("````", wrong)), []string{"page.md:", "another OpenAPI document"}},
		{"broken block", "page.md", page(fence("````", wrong)), []string{fmt.Sprintf("page.md:%d: ", inPage+operation), "does not parse: did not find expected key", "fetch it again"}},
		{"broken JSON block", "page.md", page("```json\n{\"openapi\": \"3.1.0\",\n\"info\" {}}\n```\n"), []string{fmt.Sprintf("page.md:%d: ", inPage+2), "does not parse"}},
		{"block cut short", "page.md", page("````yaml\n" + document), []string{fmt.Sprintf("page.md:%d: ", inPage+1), "does not end", "fetch it again"}},
		{"block in a list", "page.md", "- item\n\n  ```yaml\n  openapi: 3.1.0\n  info: {}\n  ```\n", []string{"page.md:4: ", "in a list", "as a separate file"}},
		{"block in a quotation", "page.md", "> ```yaml\n> openapi: 3.1.0\n> info: {}\n> ```\n", []string{"page.md:2: ", "in a list"}},
		{"broken YAML", "cloud_api.yaml", wrong, []string{fmt.Sprintf("cloud_api.yaml:%d: ", operation), "does not parse: did not find expected key"}},
		{"broken YAML without an extension", "cloud_api", wrong, []string{fmt.Sprintf("cloud_api:%d: ", operation), "does not parse"}},
		{"broken JSON", "cloud_api.json", "{\n\"openapi\": \"3.1.0\",\n\"info\" {}}", []string{"cloud_api.json:3: ", "does not parse"}},
		{"a key twice", "cloud_api.yaml", edit(t, document, "      operationId:", "      summary: again\n      operationId:"),
			[]string{fmt.Sprintf("cloud_api.yaml:%d: ", operation), `mapping key "summary" already defined`}},
		{"a key twice in JSON", "cloud_api.json", "{\n\"openapi\": \"3.1.0\",\n\"openapi\": \"3.1.0\"}", []string{"cloud_api.json:3: ", "already defined"}},
		{"two YAML documents", "cloud_api.yaml", document + "---\n" + document, []string{"cloud_api.yaml:1: ", "found multiple"}},
		{"YAML that is a list", "cloud_api.yaml", "- openapi: 3.1.0\n", []string{"cloud_api.yaml:1: ", "does not parse"}},
		{"YAML of another kind", "cloud_api.yaml", "kind: Pod\n", []string{"cloud_api.yaml:1: ", `no key "openapi"`}},
		{"aliases without end", "cloud_api.yaml", "openapi: 3.1.0\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f]\n", []string{"excessive aliasing"}},
		{"swagger 2", "page.md", page("```yaml\nswagger: '2.0'\ninfo: {title: a, version: b}\npaths: {}\n```\n"), []string{fmt.Sprintf("page.md:%d: ", inPage+1), "swagger 2.0", "convert it"}},
		{"openapi 4", "cloud_api.yaml", edit(t, document, "3.1.0", "4.0.0"), []string{"cloud_api.yaml:1: ", "openapi 4.0.0", "must be 3.x"}},
		{"not valid", "page.md", page(fence("````", edit(t, document, "type: integer", "type: integr"))), []string{fmt.Sprintf("page.md:%d: ", inPage+1), "is not valid", "integr"}},
		{"a list for a mapping", "page.md", page(fence("````", edit(t, document, "paths:\n", "paths: []\nx-paths:\n"))),
			[]string{fmt.Sprintf("page.md:%d: ", inPage+lineOf(t, document, "paths:\n")), "is not valid"}},
		{"no version", "cloud_api.yaml", edit(t, document, "  version:", "  x-version:"), []string{"is not valid", "version"}},
		{"reference to nothing", "cloud_api.yaml", edit(t, document, "schemas/RegistryUserCreateSerializer'", "schemas/None'"), []string{"is not valid", "None"}},
		{"reference out of the document", "cloud_api.yaml", edit(t, document, "'#/components/schemas/RegistryUserCreateSerializer'", "'other.yaml#/x'"), []string{"is not valid", "other.yaml"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", "project"))); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, root)
			file := filepath.Join(t.TempDir(), test.file)
			write(t, file, test.content)
			code, stdout, stderr := spec(t, "-root", root, file)
			if code != 1 || stdout != "" {
				t.Errorf("got exit code %d and %q, want 1 and nothing", code, stdout)
			}
			if !strings.HasPrefix(stderr, "spec: "+filepath.Dir(file)) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("standard error is not one message about the file:\n%s", stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in:\n%s", want, stderr)
				}
			}
			if after := snapshot(t, root); after != before {
				t.Errorf("changed:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	write(t, large, "openapi: 3.1.0\n")
	if err := os.Truncate(large, maxSize+1); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{filepath.Join(dir, "none.md")}, "none.md: no such file"},
		{[]string{dir}, "is a directory"},
		{[]string{large}, "larger than 64 MiB"},
		{[]string{"-root", dir, filepath.Join(project, "api", "cloud_api.yaml")}, "-root must name the project's directory"},
	} {
		code, stdout, stderr := spec(t, test.args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("spec %q: got %d, %q, %q; want 1 and %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
	}{{nil, 2}, {[]string{""}, 2}, {[]string{"a", "b"}, 2}, {[]string{"-none", "a"}, 2}, {[]string{"-h"}, 0}} {
		code, stdout, stderr := spec(t, test.args...)
		if code != test.code || stdout != "" || !strings.Contains(stderr, "usage: spec [-root DIR] FILE") {
			t.Errorf("spec %q: got %d, %q, %q; want %d", test.args, code, stdout, stderr, test.code)
		}
	}
}

func TestTheSameDocumentChangesNothing(t *testing.T) {
	root := checkout(t)
	file := filepath.Join(t.TempDir(), "page.md")
	write(t, file, page(fence("````", vendored(t))))
	if code, stdout, stderr := spec(t, "-root", root, file); code != 0 || stderr != "" || !strings.Contains(stdout, "gen/ is regenerated") { // it was empty
		t.Fatalf("got %d, %q, %q", code, stdout, stderr)
	}
	before, api := contents(t, root), snapshot(t, filepath.Join(root, "api"))
	code, stdout, stderr := spec(t, "-root", root, file)
	if code != 0 || stderr != "" || strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, "nothing changed") {
		t.Errorf("got %d, %q, %q; want 0 and one line", code, stdout, stderr)
	}
	if after := contents(t, root); !maps.Equal(before, after) {
		t.Errorf("changed:\n%v\nwas:\n%v", after, before)
	}
	if after := snapshot(t, filepath.Join(root, "api")); after != api {
		t.Errorf("written to:\n%s\nwas:\n%s", after, api)
	}
}

// contents returns the content of each file under root.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			all[path] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// If only the overlay or a configuration has changed, gen/ is regenerated.
func TestAnotherOverlayRegenerates(t *testing.T) {
	for _, test := range []struct{ name, file, before, after, want string }{
		{"overlay", "overlay.yaml", "x-go-name: CreateUserRequest", "x-go-name: NewUser", "type NewUser struct"},
		{"configuration", "models.yaml", "type: int64", "type: int32", "Duration int32"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := checkout(t)
			file := filepath.Join(t.TempDir(), "new.yaml")
			write(t, file, vendored(t))
			if code, stdout, stderr := spec(t, "-root", root, file); code != 0 {
				t.Fatalf("got %d, %q, %q", code, stdout, stderr)
			}
			record := read(t, root, "api", "SOURCE.yaml")
			path := filepath.Join(root, "api", test.file)
			write(t, path, edit(t, read(t, path), test.before, test.after))
			code, stdout, stderr := spec(t, "-root", root, file)
			if code != 0 || stderr != "" || strings.Contains(stdout, "nothing changed") || !strings.Contains(stdout, "gen/ is regenerated") {
				t.Errorf("got %d, %q, %q", code, stdout, stderr)
			}
			if got := strings.Join(strings.Fields(read(t, root, "gen", "models", "models.gen.go")), " "); !strings.Contains(got, test.want) {
				t.Errorf("%q is not in:\n%s", test.want, got)
			}
			if got := read(t, root, "api", "SOURCE.yaml"); got != record {
				t.Errorf("api/SOURCE.yaml: got\n%swas\n%s", got, record)
			}
		})
	}
}

// For a document of many operations the command prints the number of operations, of
// generated ones, and of the targets of each action of the overlay.
func TestGeneratedOperationsAreCounted(t *testing.T) {
	root := checkout(t)
	var paths strings.Builder
	paths.WriteString("paths:\n")
	for i := range 20 {
		fmt.Fprintf(&paths, "  /things%d/{id}:\n    get:\n      tags: [Things]\n      operationId: Thing%d\n      parameters: [{in: path, name: id, required: true, schema: {type: integer}}]\n"+
			"      responses: {'200': {description: Done}, '404': {description: None}}\n", i, i)
	}
	file := filepath.Join(t.TempDir(), "new.yaml")
	write(t, file, edit(t, vendored(t), "paths:\n", paths.String()))
	code, stdout, stderr := spec(t, "-root", root, file)
	if code != 0 || stderr != "" {
		t.Fatalf("got %d, %q", code, stderr)
	}
	line := func(target string) int { return lineOf(t, read(t, root, "api", "overlay.yaml"), "target: "+target) }
	wide, named := `$.paths.*.*.responses["404"]`, "$.components.schemas.RegistryUserCreateSerializer"
	for _, want := range []string{
		"Operations that are not generated, by tag: changes that break callers, that may, and others:\n      0     0    20  Things\n\n",
		"\n21 operations in the document with the overlay, 1 generated\n",
		"\nPlaces that each action of api/overlay.yaml acts on, before and after:\n",
		fmt.Sprintf("\n     1   21  line %d: %s (changed)\n", line(wide), wide),
		fmt.Sprintf("\n     1    1  line %d: %s\n", line(named), named),
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "/things") {
		t.Errorf("an operation that is not generated is named:\n%s", stdout)
	}
	models := read(t, root, "gen", "models", "models.gen.go")
	if strings.Contains(models, "Thing") || !strings.Contains(models, "CreateUserRequest") {
		t.Errorf("gen/models has more than the listed operation:\n%s", models)
	}

	// The numbers are those of the document.
	write(t, file, edit(t, vendored(t), "paths:\n", paths.String()+"  /more:\n    delete:\n      responses: {'204': {description: Done}}\n"))
	if code, stdout, _ := spec(t, "-root", root, file); code != 0 || !strings.Contains(stdout, "\n22 operations in the document with the overlay, 1 generated\n") {
		t.Errorf("got %d, %q", code, stdout)
	}
}

// The generator ignores a listed id that no operation has; the command refuses it.
func TestAnIDThatNoOperationHas(t *testing.T) {
	root := checkout(t)
	path := filepath.Join(root, "api", "models.yaml")
	write(t, path, edit(t, read(t, path), "- CreateUser\n", "- CreateUser\n    - ListUser\n"))
	file := filepath.Join(t.TempDir(), "new.yaml")
	write(t, file, vendored(t))
	for range 2 { // the second run must fail, too
		code, stdout, stderr := spec(t, "-root", root, file)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "include-operation-ids lists ListUser,") || !strings.Contains(stderr, "run this command again") {
			t.Errorf("got %d, %q, %q", code, stdout, stderr)
		}
	}
}

func TestMakeSpecTakesAPathWithASpace(t *testing.T) {
	for _, name := range []string{"/nowhere/a page.md", "no where/a page's \"own\".md"} {
		command := exec.CommandContext(t.Context(), "make", "spec", "FROM="+name)
		command.Dir = project
		out, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(out), name+": no such file") {
			t.Errorf("make spec FROM=%q: got %v, %s", name, err, out)
		}
	}
}

func TestANewDocumentIsVendored(t *testing.T) {
	for _, test := range []struct{ name, file string }{{"page", "page.md"}, {"YAML", "new.yaml"}, {"JSON", "new.json"}} {
		t.Run(test.name, func(t *testing.T) {
			document := edit(t, vendored(t), "        read_only:\n", "        colour:\n          type: string\n        read_only:\n",
				"version: '2026-05-07T20:33:46.548242+00:00'", "version: 'next'")
			content := document
			switch filepath.Ext(test.file) {
			case ".md":
				content = page(fence("````", document))
			case ".json":
				document = asJSON(t, document)
				content = document
			}
			root := checkout(t)
			file := filepath.Join(t.TempDir(), test.file)
			write(t, file, content)
			code, stdout, stderr := spec(t, "-root", root, file)
			if code != 0 || stderr != "" {
				t.Fatalf("got %d, %q", code, stderr)
			}
			if got := read(t, root, "api", "cloud_api.yaml"); got != document {
				t.Errorf("api/cloud_api.yaml: got %d bytes, want %d", len(got), len(document))
			}
			sum := sha256.Sum256([]byte(document))
			want := "# The vendor's document of which api/cloud_api.yaml is an exact copy. Written by \"make spec\".\n" +
				"sha256: " + hex.EncodeToString(sum[:]) + "\nversion: next\nvendored: '2027-01-02'\n"
			if got := read(t, root, "api", "SOURCE.yaml"); got != want {
				t.Errorf("api/SOURCE.yaml: got\n%swant\n%s", got, want)
			}
			if models := read(t, root, "gen", "models", "models.gen.go"); !strings.Contains(models, "Colour") {
				t.Error("the new field is not in gen/models")
			}
			for _, want := range []string{
				"Other changes:\n  POST /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users\n    added the new optional request property `colour`\n\n",
				"version next was 2026-05-07T20:33:46.548242+00:00\n", "  go build ./...", "  make test\n",
			} {
				if !strings.Contains(stdout, want) {
					t.Errorf("%q is not in:\n%s", want, stdout)
				}
			}
			entries, err := os.ReadDir(filepath.Join(root, "api"))
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				info, err := entry.Info()
				if err != nil || info.Mode().Perm()&0o444 != 0o444 || !strings.HasSuffix(entry.Name(), ".yaml") {
					t.Errorf("api/%s: mode %v, %v", entry.Name(), info.Mode(), err)
				}
			}
		})
	}
}

// copyProject returns the directory of a copy of the real project: its tests of the
// document, its generators, and packages that depend on no operation but the client's.
func copyProject(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	files, err := filepath.Glob(filepath.Join(project, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal("no Go files in the project", err)
	}
	for _, file := range append(files, filepath.Join(project, "go.mod"), filepath.Join(project, "go.sum")) {
		write(t, filepath.Join(root, filepath.Base(file)), read(t, file))
	}
	for _, dir := range []string{"api", "gen", "server", "client", "internal/effective", "internal/apierror", "internal/observe"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join(project, dir))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(root, "client", "clienttest")); err != nil { // which needs the implementation
		t.Fatal(err)
	}
	return root
}

// In the real project, with its document, overlay and generators, one more comment
// in the document regenerates the same code.
func TestTheProjectItself(t *testing.T) {
	root := copyProject(t)
	current := read(t, project, "api", "cloud_api.yaml")
	file := filepath.Join(t.TempDir(), "page.md")
	write(t, file, page(fence("````", current)))
	if code, stdout, stderr := spec(t, "-root", root, file); code != 0 || !strings.Contains(stdout, "nothing changed") {
		t.Fatalf("the same document: got %d, %q, %q", code, stdout, stderr)
	}
	write(t, file, page(fence("````", current+"# a comment\n")))
	code, stdout, stderr := spec(t, "-root", root, file)
	if code != 0 || !strings.HasPrefix(stdout, "No caller sees a difference") {
		t.Fatalf("got %d, %q, %q", code, stdout, stderr)
	}
	if got := read(t, root, "api", "cloud_api.yaml"); got != current+"# a comment\n" {
		t.Errorf("api/cloud_api.yaml is %d bytes, want %d", len(got), len(current)+len("# a comment\n"))
	}
	for _, file := range []string{"models/models.gen.go", "apiclient/apiclient.gen.go", "apiserver/apiserver.gen.go", "apiserver/adapter.gen.go"} {
		if read(t, root, "gen", file) != read(t, project, "gen", file) {
			t.Errorf("gen/%s is another one", file)
		}
	}
}

// The record of the vendored document was written by this command.
func TestTheRecordIsTheCommandsOwn(t *testing.T) {
	document := read(t, project, "api", "cloud_api.yaml")
	got := read(t, project, "api", "SOURCE.yaml")
	day := regexp.MustCompile(`'(\d{4}-\d\d-\d\d)'\n$`).FindStringSubmatch(got)
	if day == nil {
		t.Fatalf("no day in:\n%s", got)
	}
	now, err := time.Parse(time.DateOnly, day[1])
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := document1(document).load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := sourceRecord([]byte(document), loaded.Info.Version, now)
	if err != nil || got != string(want) {
		t.Errorf("got\n%swant\n%s%v", got, want, err)
	}
}

// document1 is a document in a separate file.
func document1(data string) document { return document{"api.yaml", 1, []byte(data)} }

func TestTheGeneratorStops(t *testing.T) {
	header := "        - {in: header, name: Idempotency-Key, schema: {type: string}}\n"
	for _, test := range []struct {
		name, document, overlay string
		targets                 []string
		why                     string
	}{
		{"a path is removed", strings.ReplaceAll(vendored(t), "/cloud/v1/", "/cloud/v2/"), "",
			[]string{`$.paths["/cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users"].post`}, "finds nothing to act on"},
		{"a schema is renamed", strings.ReplaceAll(vendored(t), "RegistryUserCreateSerializer", "NewUser"), "",
			[]string{"$.components.schemas.RegistryUserCreateSerializer", `$.components.schemas.RegistryUserCreateSerializer.properties["read_only", "secret"]`}, "finds nothing to act on"},
		{"both declare a parameter", edit(t, vendored(t), "      parameters:\n", "      parameters:\n"+header),
			"  - target: $.paths.*.post.parameters\n    update:\n" + header,
			[]string{"$.paths.*.post.parameters"}, "adds the parameter Idempotency-Key, which the document has itself"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := checkout(t)
			overlay := read(t, root, "api", "overlay.yaml") + test.overlay
			write(t, filepath.Join(root, "api", "overlay.yaml"), overlay)
			file := filepath.Join(t.TempDir(), "new.yaml")
			write(t, file, test.document)
			code, stdout, stderr := spec(t, "-root", root, file)
			if code != 1 || !strings.Contains(stdout, "api/cloud_api.yaml is replaced") || strings.Contains(stdout, "Next:") {
				t.Errorf("got %d, %q", code, stdout)
			}
			if got := read(t, root, "api", "cloud_api.yaml"); got != test.document {
				t.Error("the new document is not in place")
			}
			for _, want := range []string{"the document is in place, but the generator stopped", `generate.go:3: running "go"`, "run this command again\n"} {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in:\n%s", want, stderr)
				}
			}
			if got, was := read(t, root, "api", "SOURCE.yaml"), read(t, "testdata", "project", "api", "SOURCE.yaml"); got != was {
				t.Errorf("the new document is recorded:\n%s", got)
			}
			named := regexp.MustCompile(`(?m)^api/overlay\.yaml:(\d+): the action on (.*) `+regexp.QuoteMeta(test.why)+`$`).FindAllStringSubmatch(stderr, -1)
			if len(named) != len(test.targets) {
				t.Fatalf("%d actions are named, want %d:\n%s", len(named), len(test.targets), stderr)
			}
			for i, target := range test.targets {
				line, err := strconv.Atoi(named[i][1])
				if err != nil || named[i][2] != target || strings.Split(overlay, "\n")[line-1] != "  - target: "+target {
					t.Errorf("got %q, want %s", named[i][0], target)
				}
			}
		})
	}
}

// After a failure of the generator, a repeated run continues. The document is
// recorded as vendored only after a success.
func TestStoppedRunContinues(t *testing.T) {
	root := checkout(t)
	file, overlay := filepath.Join(t.TempDir(), "new.yaml"), filepath.Join(root, "api", "overlay.yaml")
	write(t, file, strings.ReplaceAll(vendored(t), "RegistryUserCreateSerializer", "NewUser"))
	for range 2 {
		if code, stdout, stderr := spec(t, "-root", root, file); code != 1 || strings.Contains(stdout, "nothing changed") || !strings.Contains(stderr, "the generator stopped") {
			t.Fatalf("got %d, %q, %q", code, stdout, stderr)
		}
	}
	write(t, overlay, strings.ReplaceAll(read(t, overlay), "RegistryUserCreateSerializer", "NewUser"))
	code, stdout, stderr := spec(t, "-root", root, file)
	if code != 0 || !strings.HasPrefix(stdout, "api/cloud_api.yaml is this document already") || !strings.Contains(stdout, "gen/ is regenerated") {
		t.Fatalf("got %d, %q, %q", code, stdout, stderr)
	}
	if got, want := read(t, root, "api", "SOURCE.yaml"), fmt.Sprintf("%x", sha256.Sum256([]byte(read(t, file)))); !strings.Contains(got, want) {
		t.Errorf("api/SOURCE.yaml: got\n%swant %s in it", got, want)
	}
	if read(t, root, "gen", "models", "models.gen.go") == "" {
		t.Error("gen/models is empty")
	}
	before := contents(t, root)
	if code, stdout, stderr := spec(t, "-root", root, file); code != 0 || !strings.Contains(stdout, "nothing changed") {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
	if after := contents(t, root); !maps.Equal(before, after) {
		t.Errorf("changed:\n%v\nwas:\n%v", after, before)
	}
}
