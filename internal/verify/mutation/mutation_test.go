// Package mutation shows what happens to the project when its document changes.
//
// Each mutation is applied to a copy of the module, whose code is then regenerated,
// compiled and run. No mutation may have no effect: either the server enforces the
// new rule without a change of code, or the compiler, the generator or server.New
// fails where an engineer has to decide.
package mutation

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the table in docs/new-document.md")

// outcome is the effect of a mutation.
type outcome string

const (
	enforced   outcome = "enforced at run time; nothing to do"
	leftOut    outcome = "not generated, and `make spec` counts it"
	noCompile  outcome = "does not compile where something must change"
	noGenerate outcome = "the generator stops, and names the overlay's action"
	noServe    outcome = "server.New refuses, and names what it cannot serve"
	noTest     outcome = "`make test` fails, and names the overlay's action"
	noStatus   outcome = "`make test` fails, and names the operation and its statuses"
)

// mutation is a row of the table.
type mutation struct {
	name   string
	edits  []edit
	want   outcome
	where  string   // for the table: where the effect shows
	says   []string // texts in the output of the failing command; for enforced and leftOut, the probe's line for each request
	probes []request
}

// edit replaces a text, which must occur once, in a file of the module.
type edit struct{ file, old, new string }

type request struct {
	Method, Path, Body string
	Header             map[string]string
}

const document = "api/cloud_api.yaml"

// configurations are the generator's files, which list the operations to generate.
var configurations = []string{"api/models.yaml", "api/apiclient.yaml", "api/apiserver.yaml"}

const (
	includeList = "  include-operation-ids: # the ids after the overlay; the same list in all three configurations\n"
	included    = "    - CreateUser\n"
)

// doc returns an edit of the document.
func doc(before, after string) edit { return edit{document, before, after} }

// Places in the document that the mutations change.
const (
	namePattern      = "          pattern: ^[a-z0-9]{0,16}$\n"
	nameRequest      = "          pattern: ^[a-z0-9]{0,16}$\n          title: Name\n          type: string\n"
	maximum          = "          maximum: 365\n"
	secretField      = "        secret:\n          default: ''\n          description: User secret\n          title: Secret\n          type: string\n"
	readOnly         = "          description: Read-only user\n          example: false\n          examples:\n            - false\n          title: Read Only\n          type: boolean\n"
	requestEnd       = "      required:\n        - name\n        - duration\n      title: RegistryUserCreateSerializer\n"
	responseFields   = "    RegistryUserCreateResponseSerializer:\n      properties:\n"
	responseSecret   = "        secret:\n          description: User secret\n          title: Secret\n          type: string\n      required:\n        - id\n"
	created          = "        '201':\n          description: Created user details\n"
	conflict         = "        '409':\n          description: User already exists\n"
	parameters       = "      parameters:\n"
	usersPath        = "  /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users:\n"
	securityEnd      = "  securitySchemes:\n"
	globalSecurity   = "security:\n  - APIKey: []\n"
	bodySchema       = "          application/json:\n            schema:\n              $ref: '#/components/schemas/RegistryUserCreateSerializer'\n"
	listUsers        = "    get:\n      operationId: RegistryUsersHandler.get\n      parameters:\n        - {in: path, name: project_id, required: true, schema: {type: integer}}\n        - {in: path, name: region_id, required: true, schema: {type: integer}}\n        - {in: path, name: registry_id, required: true, schema: {type: integer}}\n      responses:\n        '200':\n          description: Users\n"
	responseReadOnly = "        read_only:\n" + readOnly
	requestProps     = "    RegistryUserCreateSerializer:\n      properties:\n"
)

const users = "/cloud/v1/registries/1/1/1/users"

func create(body string) request { return request{Method: "POST", Path: users, Body: body} }

var table = []mutation{
	{
		name:  "a tighter pattern",
		edits: []edit{doc(namePattern, "          pattern: ^[a-z]{0,4}$\n")},
		want:  enforced, where: "400, naming the field and the pattern",
		probes: []request{create(`{"name":"user1","duration":1}`), create(`{"name":"user","duration":1}`)},
		says:   []string{`400 .*"name":\["must match \^\[a-z\]\{0,4\}\$"\]`, `404 .*"name":"user"`},
	},
	{
		name:  "a wider maximum",
		edits: []edit{doc(maximum, "          maximum: 400\n")},
		want:  enforced, where: "the value reaches the implementation",
		probes: []request{create(`{"name":"u","duration":400}`), create(`{"name":"u","duration":401}`)},
		says:   []string{`404 .*"duration":400`, `400 .*must be at most 400`},
	},
	{
		name:  "`additionalProperties: false`",
		edits: []edit{doc(requestEnd, "      additionalProperties: false\n"+requestEnd)},
		want:  enforced, where: "400",
		probes: []request{create(`{"name":"u","duration":1,"more":2}`), create(`{"name":"u","duration":1}`)},
		says:   []string{`400 .*has a field that is not allowed`, `404 .*"name":"u"`},
	},
	{
		name:  "a new enum",
		edits: []edit{doc(nameRequest, nameRequest+"          enum: [ci, cd]\n")},
		want:  noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`: the field has a type of its own",
		says: []string{"client/users.go", "CreateUserRequest"},
	},
	{
		name:  "a required field that may be null",
		edits: []edit{doc(nameRequest, strings.Replace(nameRequest, "type: string", "type: [string, 'null']", 1))},
		want:  noCompile, where: "the conversions: the field is a pointer",
		says: []string{"client/users.go", "CreateUserRequest"},
	},
	{
		name:  "an optional field that may be null (`secret`, whose type the overlay sets)",
		edits: []edit{doc(secretField, strings.Replace(secretField, "type: string", "type: [string, 'null']", 1))},
		want:  enforced, where: "null is accepted and means the default: the server generates a secret",
		probes: []request{create(`{"name":"u","duration":1,"secret":null}`), create(`{"name":"u","duration":1,"secret":7}`), create(`{"name":"u","duration":1,"secret":"s"}`)},
		says:   []string{`404 .*"Body":\{"duration":1,"name":"u"\}`, `400 .*"secret"`, `404 .*"secret":"s"`},
	},
	{
		name: "a new required field of the request",
		edits: []edit{
			doc(requestProps, requestProps+"        team:\n          type: string\n"),
			doc(requestEnd, strings.Replace(requestEnd, "        - name\n", "        - name\n        - team\n", 1)),
		},
		want: noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "CreateUserRequest", "internal/api/users.go", "NewUser"},
	},
	{
		name:  "a new optional field of the request, with a default",
		edits: []edit{doc(requestProps, requestProps+"        quota:\n          type: integer\n          default: 10\n")},
		want:  noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "CreateUserRequest", "internal/api/users.go", "NewUser"},
	},
	{
		name:  "another default (`read_only` becomes true)",
		edits: []edit{doc("          default: false\n", "          default: true\n")},
		want:  noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`: an absent field no longer means Go's zero value, so the field is a pointer",
		says: []string{"client/users.go", "CreateUserRequest", "internal/api/users.go", "NewUser"},
	},
	{
		name:  "an optional field becomes required, and keeps its default",
		edits: []edit{doc(requestEnd, strings.Replace(requestEnd, "        - name\n", "        - name\n        - read_only\n", 1))},
		want:  noTest, where: "`document_test.go`: the overlay's action on defaults, which leaves out zero values",
		says: []string{`@.default == ''] has read_only left out when it is "false", and it is required now: revise the action`},
	},
	{
		name: "an optional field becomes required, and loses its default",
		edits: []edit{
			doc(requestEnd, strings.Replace(requestEnd, "        - name\n", "        - name\n        - read_only\n", 1)),
			doc("          default: false\n", ""),
		},
		want: enforced, where: "400, when it is absent",
		probes: []request{create(`{"name":"u","duration":1}`), create(`{"name":"u","duration":1,"read_only":false}`)},
		says:   []string{`400 .*"read_only":\["is required"\]`, `404 .*"Body":\{"duration":1,"name":"u","read_only":false\}`},
	},
	{
		name: "a new required field of the response",
		edits: []edit{
			doc(responseFields, responseFields+"        team:\n          type: string\n"),
			doc(responseSecret, strings.Replace(responseSecret, "        - id\n", "        - id\n        - team\n", 1)),
		},
		want: noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "createdUser", "internal/api/users.go", "CreatedUser"},
	},
	{
		name:  "a new optional field of the response",
		edits: []edit{doc(responseFields, responseFields+"        team:\n          type: string\n")},
		want:  noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "createdUser", "internal/api/users.go", "CreatedUser"},
	},
	{
		name:  "a new header of the response",
		edits: []edit{doc(created, created+"          headers:\n            X-Quota:\n              schema:\n                type: integer\n")},
		want:  noCompile, where: "the conversions of the headers in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "CreateUserResponse201Headers", "internal/api/users.go", "CreateUser201ResponseHeaders"},
	},
	{
		name: "a renamed property of the request",
		edits: []edit{
			doc("        duration:\n          description: User account operating time, days\n          example: 14\n          examples:\n            - 14\n          maximum", "        days:\n          description: User account operating time, days\n          example: 14\n          examples:\n            - 14\n          maximum"),
			doc(requestEnd, strings.Replace(requestEnd, "- duration", "- days", 1)),
		},
		want: noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "CreateUserRequest", "internal/api/users.go", "NewUser"},
	},
	{
		name:  "a removed property of the request",
		edits: []edit{doc("        read_only:\n          default: false\n"+readOnly, "")},
		want:  noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "CreateUserRequest", "internal/api/users.go", "NewUser"},
	},
	{
		name: "a removed property of the request that the overlay changes (`secret`, in both)",
		edits: []edit{
			doc(secretField, ""),
			doc(responseSecret, strings.Replace(responseSecret, "        secret:\n          description: User secret\n          title: Secret\n          type: string\n", "", 1)),
		},
		want: noGenerate, where: "`$.components.schemas.RegistryUserCreateSerializer.properties.secret`, and the other's",
		says: []string{"RegistryUserCreateSerializer.properties.secret", "RegistryUserCreateResponseSerializer.properties.secret"},
	},
	{
		name: "a removed property of the response",
		edits: []edit{
			doc(responseReadOnly, ""),
			doc("        - read_only\n        - duration\n        - created_at\n", "        - duration\n        - created_at\n"),
		},
		want: noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "createdUser", "internal/api/users.go", "CreatedUser"},
	},
	{
		name:  "a removed property of the response that the overlay changes (`secret`)",
		edits: []edit{doc(responseSecret, strings.Replace(responseSecret, "        secret:\n          description: User secret\n          title: Secret\n          type: string\n", "", 1))},
		want:  noGenerate, where: "`$.components.schemas.RegistryUserCreateResponseSerializer.properties.secret`",
		says: []string{"RegistryUserCreateResponseSerializer.properties.secret"},
	},
	{
		name:  "a property of another type",
		edits: []edit{doc("          maximum: 365\n          minimum: -1\n          title: Duration\n          type: integer\n", "          title: Duration\n          type: string\n")},
		want:  noCompile, where: "the conversions in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "CreateUserRequest", "internal/api/users.go", "NewUser"},
	},
	{
		name:  "a new status of an error",
		edits: []edit{doc(conflict, "        '402':\n          description: Out of credit\n"+conflict)},
		want:  noStatus, where: "`statuses_test.go`, which lists what is implemented; and a test of `client` fails",
		says: []string{`operation CreateUser: the document declares the statuses ["201" "402" "404"`},
	},
	{
		name:  "a new status of success",
		edits: []edit{doc(conflict, "        '202':\n          description: Accepted\n"+conflict)},
		want:  noStatus, where: "`statuses_test.go`, which lists what is implemented; and a test of `client` fails",
		says: []string{`operation CreateUser: the document declares the statuses ["201" "202" "404"`},
	},
	{
		name:  "a removed status",
		edits: []edit{doc(conflict, "")},
		want:  noGenerate, where: "`$.paths[\"…/users\"].post.responses[\"409\"]`",
		says: []string{`responses["409"]`},
	},
	{
		name:  "content of an error for which the overlay adds content",
		edits: []edit{doc(conflict, conflict+"          content:\n            application/problem+json:\n              schema:\n                type: object\n")},
		want:  noTest, where: "`document_test.go`: `$.paths[\"…/users\"].post.responses[\"409\"]`",
		says: []string{`users"].post.responses["409"] says what a 409 has`, "has its own content now: revise the action"},
	},
	{
		name:  "a header of a response that the overlay also adds",
		edits: []edit{doc(created, created+"          headers:\n            X-Request-Id:\n              schema:\n                type: integer\n")},
		want:  noTest, where: "`document_test.go`: the overlay's action on the status",
		says: []string{`users"].post.responses["201"] says what a 201 has`, "has its own headers X-Request-Id now: revise the action"},
	},
	{
		name:  "a default response",
		edits: []edit{doc(conflict, conflict+"        default:\n          description: Failed\n          content:\n            application/json:\n              schema:\n                type: object\n")},
		want:  noTest, where: "`document_test.go`: `$.paths[\"…/users\"].post.responses`",
		says: []string{`users"].post.responses adds the response default`, "has its own now: revise the action"},
	},
	{
		name:  "a schema, header or response with a name that the overlay also adds",
		edits: []edit{doc(requestProps, "    Error:\n      type: object\n      required: [code]\n      properties:\n        code:\n          type: integer\n"+requestProps)},
		want:  noTest, where: "`document_test.go`: the overlay's action on `$.components`",
		says: []string{"the action on $.components adds schemas Error", "has its own now: revise the action"},
	},
	{
		name:  "a new operation",
		edits: []edit{doc(usersPath, usersPath+listUsers)},
		want:  leftOut, where: "404 or 405, until its id is added to `include-operation-ids` in `api/*.yaml`",
		probes: []request{{Method: "GET", Path: users}, create(`{"name":"u","duration":1}`)},
		says:   []string{`405 `, `404 .*"name":"u"`},
	},
	{
		name: "a new operation, whose id is added to `include-operation-ids`",
		edits: []edit{
			doc(usersPath, usersPath+listUsers),
			{configurations[0], included, included + "    - RegistryUsersHandler.get\n"},
			{configurations[1], included, included + "    - RegistryUsersHandler.get\n"},
			{configurations[2], included, included + "    - RegistryUsersHandler.get\n"},
		},
		want: noCompile, where: "`internal/api/api.go`: the generated interface has one more method; and a test of `client` fails",
		says: []string{"internal/api/api.go", "RegistryUsersHandlerGet"},
	},
	{
		name:  "a removed operation",
		edits: []edit{doc("    post:\n      tags:\n        - Registry\n", "    put:\n      tags:\n        - Registry\n")},
		want:  noGenerate, where: "`$.paths[\"…/users\"].post`",
		says: []string{`users"].post`},
	},
	{
		name:  "a renamed path, or one more parameter in it",
		edits: []edit{doc(usersPath, "  /cloud/v2/registries/{project_id}/{region_id}/{registry_id}/users:\n")},
		want:  noGenerate, where: "`$.paths[\"…/users\"].post`",
		says: []string{`users"].post`},
	},
	{
		name:  "a new query or header parameter",
		edits: []edit{doc(parameters, parameters+"        - in: query\n          name: dry_run\n          schema:\n            type: boolean\n")},
		want:  noCompile, where: "the conversions of the parameters in `client/users.go` and `internal/api/users.go`",
		says: []string{"client/users.go", "CreateUserParams", "internal/api/users.go", "createParams"},
	},
	{
		name:  "a parameter that the overlay also adds",
		edits: []edit{doc(parameters, parameters+"        - in: header\n          name: Idempotency-Key\n          schema:\n            type: string\n")},
		want:  noGenerate, where: "`Idempotency-Key`, in the overlay's action on the operation",
		says: []string{"Idempotency-Key"},
	},
	{
		name:  "a parameter that the overlay also adds, for all operations of the path",
		edits: []edit{doc(usersPath, usersPath+"    parameters:\n      - in: header\n        name: Idempotency-Key\n        schema:\n          type: integer\n")},
		want:  noTest, where: "`document_test.go`: `Idempotency-Key`, in the overlay's action on the operation",
		says: []string{`users"].post adds the header parameter Idempotency-Key`, "has its own now, the header parameter Idempotency-Key: revise the action"},
	},
	{
		name: "a parameter that the overlay also adds, in another letter case and by reference",
		edits: []edit{
			doc(usersPath, usersPath+"    parameters:\n      - $ref: '#/components/parameters/Key'\n"),
			doc(securityEnd, "  parameters:\n    Key:\n      in: header\n      name: idempotency-key\n      schema:\n        type: string\n"+securityEnd),
		},
		want: noTest, where: "`document_test.go`: `Idempotency-Key`, in the overlay's action on the operation",
		says: []string{`users"].post adds the header parameter Idempotency-Key`, "has its own now, the header parameter idempotency-key: revise the action"},
	},
	{
		name: "a second security scheme, as an alternative",
		edits: []edit{
			doc(globalSecurity, globalSecurity+"  - Session: []\n"),
			doc(securityEnd, securityEnd+"    Session:\n      type: apiKey\n      in: cookie\n      name: sid\n"),
		},
		want: noServe, where: "`server.New`",
		says: []string{"operation CreateUser", "security [APIKey Session]: the server supports exactly one scheme"},
	},
	{
		name: "another security scheme",
		edits: []edit{
			doc(globalSecurity, "security:\n  - Session: []\n"),
			doc(securityEnd, securityEnd+"    Session:\n      type: http\n      scheme: bearer\n"),
		},
		want: noServe, where: "`server.New`",
		says: []string{"operation CreateUser", "security scheme Session"},
	},
	{
		name:  "a second media type of the request",
		edits: []edit{doc(bodySchema, bodySchema+strings.Replace(bodySchema, "application/json", "application/xml", 1))},
		want:  noCompile, where: "`internal/api/users.go`: the body is a reader; and `server.New` refuses",
		says: []string{"internal/api/users.go", "r.Body"},
	},
}

func TestMutations(t *testing.T) {
	m := copyModule(t)
	m.generate(t, "") // the unchanged module must pass
	m.build(t)
	m.goes(t, "the overlay must fit", overlayTests...)
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			defer m.restore(t)
			for _, e := range row.edits {
				m.edit(t, e)
			}
			if row.want == noGenerate {
				m.generate(t, strings.Join(row.says, "\x00"))
				return
			}
			m.generate(t, "")
			if row.want == noTest || row.want == noStatus { // the test must fail, whether or not the module compiles
				out, err := m.run(t, "", "go", overlayTests...)
				if err == nil {
					t.Fatal("it passes")
				}
				contains(t, out, row.says)
				return
			}
			m.goes(t, "packages that depend on no operation must compile", "build", "./gen/...", "./server")
			switch row.want {
			case noCompile:
				out, err := m.run(t, "", "go", "build", "./client", "./internal/api")
				if err == nil {
					t.Fatal("it compiles")
				}
				contains(t, out, row.says)
			case noServe:
				m.build(t)
				out, err := m.run(t, "", "go", "run", "./cmd/registryusers", "serve", "--dev", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
				if err == nil {
					t.Fatal("it serves")
				}
				contains(t, out, append(row.says, "registryusers: server: "))
			case enforced, leftOut:
				m.build(t)
				m.probe(t, row.probes, row.says)
			}
		})
	}
}

// overlayTests runs the document's tests that are about the overlay and the statuses.
var overlayTests = []string{"test", "-run", "Overlay|Statuses", "."}

// contains checks that an output contains each of the texts.
func contains(t *testing.T, out string, texts []string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("got\n%s\nwant %q in it", out, text)
		}
	}
}

// module is a copy of the project that the mutations change.
type module struct {
	dir      string
	pristine map[string][]byte // the files that a mutation or the generator changes
}

// copyModule copies the module without the modules inside it. Of its tests it
// copies only those of the document.
func copyModule(t *testing.T) *module {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	m := &module{dir: t.TempDir(), pristine: map[string][]byte{}}
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "data" || err == nil) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, "_test.go") && name != "document_test.go" && name != "statuses_test.go" || !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "api/") || strings.HasPrefix(name, "gen/") {
			m.pristine[name] = text
		}
		return m.write(name, text)
	})
	if err == nil {
		var probe []byte
		if probe, err = os.ReadFile("testdata/probe/main.go"); err == nil {
			err = m.write("internal/probe/main.go", probe)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(m.pristine[document]) == 0 {
		t.Fatalf("there is no %s", document)
	}
	return m
}

func (m *module) write(name string, text []byte) error {
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

func (m *module) restore(t *testing.T) {
	t.Helper()
	for name, text := range m.pristine {
		if err := m.write(name, text); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *module) edit(t *testing.T, e edit) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, e.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), e.old); n != 1 {
		t.Fatalf("%s has this %d times, not once:\n%s", e.file, n, e.old)
	}
	if err := m.write(e.file, []byte(strings.Replace(string(text), e.old, e.new, 1))); err != nil {
		t.Fatal(err)
	}
}

// commandTime limits each command. The slowest one compiles.
const commandTime = 5 * time.Minute

// run runs a command in the module and returns its output.
func (m *module) run(t *testing.T, input string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTime)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = m.dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=mod")
	command.Stdin = strings.NewReader(input)
	command.WaitDelay = 10 * time.Second
	out, err := command.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s %s did not end:\n%s", name, strings.Join(args, " "), out)
	}
	return string(out), err
}

// goes runs a go command, which must succeed.
func (m *module) goes(t *testing.T, why string, args ...string) {
	t.Helper()
	if out, err := m.run(t, "", "go", args...); err != nil {
		t.Fatalf("%s: go %s: %v\n%s", why, strings.Join(args, " "), err, out)
	}
}

// generate runs the generator. It must succeed if stops is empty; else it must fail
// and print all texts in stops, which are separated by NUL.
func (m *module) generate(t *testing.T, stops string) {
	t.Helper()
	out, err := m.run(t, "", "go", "generate", ".")
	if stops == "" && err != nil {
		t.Fatalf("the generator stops:\n%s", out)
	}
	if stops == "" {
		return
	}
	if err == nil {
		t.Fatal("the generator does not stop")
	}
	contains(t, out, strings.Split(stops, "\x00"))
}

func (m *module) build(t *testing.T) {
	t.Helper()
	m.goes(t, "everything must compile", "build", "./...")
}

// probe sends the requests to a server of the document, and checks what it prints.
func (m *module) probe(t *testing.T, requests []request, want []string) {
	t.Helper()
	var input bytes.Buffer
	for _, r := range requests {
		if err := json.NewEncoder(&input).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	out, err := m.run(t, input.String(), "go", "run", "./internal/probe")
	lines := strings.Split(strings.TrimSpace(out), "\n")[1:]
	if err != nil || len(lines) != len(requests) || len(requests) != len(want) {
		t.Fatalf("%v, %d requests, %d expectations, and\n%s", err, len(requests), len(want), out)
	}
	for i := range requests {
		if !matches(want[i], lines[i]) {
			t.Errorf("%+v: got %s, want %s", requests[i], lines[i], want[i])
		}
	}
}

// The table in the documentation must be the one of this test.
func TestTheTableIsInTheDocumentation(t *testing.T) {
	const file, begin, end = "../../../docs/new-document.md", "<!-- table -->\n", "<!-- /table -->\n"
	var b strings.Builder
	b.WriteString("| the document has | then | where it shows |\n|---|---|---|\n")
	for _, row := range table {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.name, row.want, row.where)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no lines %q and %q", file, begin, end)
	}
	if old == b.String() {
		return
	}
	if !*update {
		t.Fatalf("%s does not have this table; go test -run Documentation -update writes it", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
