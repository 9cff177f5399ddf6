package main

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/app/images"
	"github.com/registryusers/registryusers/internal/apptest"
)

// printedLines returns the command lines that serve --dev prints.
func (p *process) printedLines(t *testing.T) []string {
	t.Helper()
	var lines []string
	for line := range strings.SplitSeq(p.stdout.waitFor(t, images.DevFileName+".\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, "  "); ok {
			lines = append(lines, rest)
		}
	}
	return lines
}

// TestPrintedLines runs the lines that --dev prints as a new user would: one
// after the other, from another directory, on the first start and on later ones.
func TestPrintedLines(t *testing.T) {
	findTool(t, "curl", true)
	docker, err := exec.LookPath("docker")
	hasDocker := err == nil
	hasEngine := hasDocker && exec.Command(docker, "info").Run() == nil
	elsewhere := t.TempDir()
	shell := func(t *testing.T, line string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = elsewhere
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+elsewhere)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return string(out)
	}
	status := func(t *testing.T, line string) string {
		t.Helper()
		out := shell(t, line+` -w '\n%{http_code}'`)
		return out[len(out)-3:]
	}

	for _, images := range []string{"on", "off"} {
		data := filepath.Join(t.TempDir(), "the data's") // a path that must be quoted in a shell
		for start := range 3 {
			t.Run(fmt.Sprintf("images %s, start %d", images, start+1), func(t *testing.T) {
				p := serve(t, "--dev", "--data", data, "--images", images)
				lines := p.printedLines(t)
				want := 5
				if images == "off" {
					want = 2
				}
				if len(lines) != want {
					t.Fatalf("printed lines: got %q, want %d", lines, want)
				}
				if got := status(t, lines[0]); got != "201" {
					t.Errorf("the line as printed: %s\ngot %s, want 201", lines[0], got)
				}
				create, login, _ := strings.Cut(lines[1], " | ")
				if !filepath.IsAbs(strings.Trim(create, "'")) {
					t.Errorf("the line %s: want the program's absolute path", create)
				}
				if images == "on" && !strings.HasPrefix(login, "docker login "+p.host()+" -u ") {
					t.Errorf("the line %s: want a docker login to %s", lines[1], p.host())
				}
				if images == "on" && hasDocker {
					if got := shell(t, lines[1]); !strings.Contains(got, "Login Succeeded") {
						t.Errorf("%s: got %s, want the login to succeed", lines[1], got)
					}
				} else {
					shell(t, create)
				}
				for _, line := range lines[min(2, len(lines)):] {
					if hasEngine {
						shell(t, line)
					}
				}
				if start > 0 {
					return
				}
				for _, step := range []struct{ name, line, want string }{
					{"the same again", lines[0], "409"},
					{"another registry", strings.Replace(lines[0], "/1/1/1/users", "/1/1/2/users", 1), "404"},
					{"no key", strings.Replace(lines[0], "Authorization: apikey", "X-Other:", 1), "401"},
				} {
					if got := status(t, step.line); got != step.want {
						t.Errorf("%s: %s\ngot %s, want %s", step.name, step.line, got, step.want)
					}
				}
			})
		}
	}
}

// When many of the first names are taken, random ones are printed.
func TestFreeNames(t *testing.T) {
	ctx, env := t.Context(), apptest.New(t, apptest.Options{})
	create := func(name string) {
		t.Helper()
		if _, err := env.Accounts.CreateUser(ctx, accounts.APIKey{}, env.Registry, "", accounts.NewUser{Name: name, Duration: 1}); err != nil {
			t.Fatal(err)
		}
	}
	names := func() []string {
		t.Helper()
		names, err := freeNames(ctx, env.Accounts, env.Registry, 2)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	create("user2")
	if got := names(); !slices.Equal(got, []string{"user1", "user3"}) {
		t.Errorf("free names beside user2: got %q, want user1 and user3", got)
	}
	for i := range 100 {
		if i+1 != 2 {
			create(fmt.Sprintf("user%d", i+1))
		}
	}
	for _, name := range names() { // the server refuses one that is invalid or taken
		if !regexp.MustCompile(`^user[a-z0-9]{8}$`).MatchString(name) {
			t.Errorf("free name beside a hundred: got %q, want a random one", name)
		}
		create(name)
	}
}

func TestQuoted(t *testing.T) {
	for text, want := range map[string]string{
		"/usr/bin/registryusers": "/usr/bin/registryusers",
		"":                       "''",
		"a b":                    "'a b'",
		"the data's":             `'the data'\''s'`,
		"$HOME":                  "'$HOME'",
		"~":                      "'~'",
	} {
		if got := quoted(text); got != want {
			t.Errorf("quoted(%q): got %s, want %s", text, got, want)
		}
	}
}

// badInput is a list of invalid creates, with their responses.
var badInput = []struct {
	name    string
	method  string // default POST
	path    string // default the dev registry's users
	body    string // default a valid one
	headers []string
	status  int
	class   string
	field   string // in invalid_fields
}{
	{name: "no key", headers: []string{isJSON}, status: 401, class: "not_authenticated"},
	{name: "two keys", headers: []string{isJSON, "Authorization: KEY", "Authorization: KEY"}, status: 401, class: "not_authenticated"},
	{name: "another scheme", headers: []string{isJSON, "Authorization: Bearer m4rk3r"}, status: 401, class: "not_authenticated"},
	{name: "unknown key", headers: []string{isJSON, "Authorization: apikey 99$m4rk3r"}, status: 401, class: "token_not_valid"},
	{name: "wrong secret", headers: []string{isJSON, "Authorization: apikey 1$m4rk3r"}, status: 401, class: "token_not_valid"},
	{name: "no token form", headers: []string{isJSON, "Authorization: apikey m4rk3r"}, status: 401, class: "token_not_valid"},
	{name: "no key, no such path below the API", path: "/cloud/v1/registries/m4rk3r", headers: []string{isJSON}, status: 401, class: "not_authenticated"},
	{name: "no key, an unknown path", path: "/m4rk3r", headers: []string{isJSON}, status: 404, class: "NotFoundError"},
	{name: "key of another project", path: "/cloud/v1/registries/2/1/1/users", status: 403, class: "ForbiddenError"},
	{name: "unknown registry", path: "/cloud/v1/registries/1/1/2/users", status: 404, class: "NotFoundError"},
	{name: "registry of another region", path: "/cloud/v1/registries/1/2/1/users", status: 404, class: "NotFoundError"},
	{name: "unknown path", path: "/m4rk3r", status: 404, class: "NotFoundError"},
	{name: "path that net/http would clean", path: "/cloud//v1/registries/1/1/1/users", status: 404, class: "NotFoundError"},
	{name: "GET", method: "GET", status: 405, class: "HTTPError"},
	{name: "capitals", body: `{"name":"M4RK3R","duration":1}`, status: 400, class: "ValidationError", field: "name"},
	{name: "17 characters", body: `{"name":"m4rk3r89012345678","duration":1}`, status: 400, class: "ValidationError", field: "name"},
	{name: "newline at the name's end", body: `{"name":"m4rk3r\n","duration":1}`, status: 400, class: "ValidationError", field: "name"},
	{name: "duration -2", body: `{"name":"m4rk3r","duration":-2}`, status: 400, class: "ValidationError", field: "duration"},
	{name: "duration 366", body: `{"name":"m4rk3r","duration":366}`, status: 400, class: "ValidationError", field: "duration"},
	{name: "duration 1.5", body: `{"name":"m4rk3r","duration":1.5}`, status: 400, class: "ValidationError", field: "duration"},
	{name: "duration as text", body: `{"name":"m4rk3r","duration":"14"}`, status: 400, class: "ValidationError", field: "duration"},
	{name: "duration null", body: `{"name":"m4rk3r","duration":null}`, status: 400, class: "ValidationError", field: "duration"},
	{name: "duration 1e400", body: `{"name":"m4rk3r","duration":1e400}`, status: 400, class: "ValidationError"},
	{name: "no duration", body: `{"name":"m4rk3r"}`, status: 400, class: "ValidationError", field: "duration"},
	{name: "no name", body: `{"duration":1}`, status: 400, class: "ValidationError", field: "name"},
	{name: "read_only as text", body: `{"name":"m4rk3r","duration":1,"read_only":"m4rk3r"}`, status: 400, class: "ValidationError", field: "read_only"},
	{name: "secret null", body: `{"name":"m4rk3r","duration":1,"secret":null}`, status: 400, class: "ValidationError", field: "secret"},
	{name: "secret that is not text", body: `{"name":"M4RK3R","duration":1,"secret":{"m4rk3r":["m4rk3r"]}}`, status: 400, class: "ValidationError", field: "secret"},
	{name: "other fields", body: `{"m4rk3r":"m4rk3r","duration":-5,"secret":"m4rk3r","name":"m4rk3r"}`, status: 400, class: "ValidationError", field: "duration"},
	{name: "empty body", body: " ", status: 400, class: "ValidationError"},
	{name: "null", body: `null`, status: 400, class: "ValidationError"},
	{name: "array", body: `["m4rk3r"]`, status: 400, class: "ValidationError"},
	{name: "broken JSON", body: `{"name":"m4rk3r","duration":1`, status: 400, class: "ValidationError"},
	{name: "bytes after the value", body: `{"name":"m4rk3r","duration":1}m4rk3r`, status: 400, class: "ValidationError"},
	{name: "repeated keys", body: `{"name":"m4rk3r","name":"m4rk3r","duration":1}`, status: 400, class: "ValidationError"},
	{name: "invalid UTF-8", body: "{\"name\":\"m4rk3r\",\"secret\":\"m4rk3r\xff\",\"duration\":1}", status: 400, class: "ValidationError"},
	{name: "wrong content type", headers: []string{"Content-Type: text/m4rk3r", "Authorization: KEY"}, status: 415, class: "HTTPError"},
	{name: "no content type", headers: []string{"Authorization: KEY"}, status: 415, class: "HTTPError"},
	{name: "too large", body: `{"name":"` + strings.Repeat("m4rk3r", 200_000) + `","duration":1}`, status: 413, class: "HTTPError"},
	{name: "id 1.0", path: "/cloud/v1/registries/1.0/1/1/users", status: 400, class: "ValidationError", field: "project_id"},
	{name: "id +1", path: "/cloud/v1/registries/+1/1/1/users", status: 400, class: "ValidationError", field: "project_id"},
	{name: "id 01", path: "/cloud/v1/registries/1/01/1/users", status: 400, class: "ValidationError", field: "region_id"},
	{name: "id -0", path: "/cloud/v1/registries/1/-0/1/users", status: 400, class: "ValidationError", field: "region_id"},
	{name: "id 0x1", path: "/cloud/v1/registries/1/1/0x1/users", status: 400, class: "ValidationError", field: "registry_id"},
	{name: "id of a space", path: "/cloud/v1/registries/1/1/%20/users", status: 400, class: "ValidationError", field: "registry_id"},
	{name: "id 2^63", path: "/cloud/v1/registries/1/1/9223372036854775808/users", status: 400, class: "ValidationError", field: "registry_id"},
	{name: "id of text", path: "/cloud/v1/registries/1/1/m4rk3r/users", status: 400, class: "ValidationError", field: "registry_id"},
	{name: "query of text", path: "/cloud/v1/registries/1/1/5/users?m4rk3r=m4rk3r", status: 404, class: "NotFoundError"},
}

// TestBadInput sends each of them to the binary: one clear error, a log line
// with the same request id, nothing changed, and no word of the request in the
// log, in a response or in a file.
func TestBadInput(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	key := readDev(t, data).APIKey
	seen := map[string]string{} // request id: name
	for _, test := range badInput {
		t.Run(test.name, func(t *testing.T) {
			method, path, body, headers := test.method, test.path, test.body, test.headers
			if method == "" {
				method = "POST"
			}
			if path == "" {
				path = "/cloud/v1/registries/1/1/1/users"
			}
			if body == "" {
				body = `{"name":"m4rk3r","duration":14,"secret":"m4rk3r"}`
			}
			if headers == nil {
				headers = []string{isJSON, "Authorization: KEY"}
			}
			full := make([]string, len(headers))
			for i := range headers {
				full[i] = strings.Replace(headers[i], "KEY", "apikey "+key, 1)
			}
			got := send(t, method, p.url+path, body, append(full, "X-Request-Id: m4rk3r")...)
			if got.status != test.status || got.fields.Class != test.class || got.fields.Message == "" {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, test.status, test.class)
			}
			if _, ok := got.fields.InvalidFields[test.field]; test.field != "" && !ok {
				t.Errorf("got %s, want the invalid field %s", got.body, test.field)
			}
			id := got.fields.RequestID
			if id == "" || id != got.header.Get("X-Request-Id") || seen[id] != "" {
				t.Errorf("request id %q, header %q, seen with %q", id, got.header.Get("X-Request-Id"), seen[id])
			}
			seen[id] = test.name
			if test.status == 405 && got.header.Get("Allow") != "POST" {
				t.Errorf("Allow: %q", got.header.Get("Allow"))
			}
			if strings.Contains(strings.ToLower(got.body), "m4rk3r") {
				t.Errorf("the response quotes the request: %s", got.body)
			}
		})
	}
	made := send(t, "POST", p.users(), `{"name":"","duration":0}`, isJSON, "Authorization: APIKey "+key)
	if made.status != 201 || made.fields.ID != 1 {
		t.Errorf("after the invalid creates: got %d %s, want the first user created", made.status, made.body)
	}
	custom := send(t, "POST", p.users(), `{"name":"custom","duration":0,"secret":"ch0s3n"}`, isJSON, "Authorization: apikey "+key)
	if custom.status != 201 || custom.fields.Secret != "ch0s3n" {
		t.Errorf("with a custom secret: got %d %s", custom.status, custom.body)
	}
	noFileHas := func(when string, words ...string) {
		for _, word := range words {
			if path := grep(t, data, word); path != "" {
				t.Errorf("%s: %s has %q", when, path, word)
			}
		}
	}
	noFileHas("while it runs", "m4rk3r", "M4RK3R", made.fields.Secret, "ch0s3n")
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	noFileHas("after it ended", "m4rk3r", "M4RK3R", made.fields.Secret, "ch0s3n")
	log := p.stderr.String()
	for id, name := range seen {
		if strings.Count(log, "request_id="+id) != 1 {
			t.Errorf("%s: the log has not one line with the request id %s", name, id)
		}
	}
	for _, word := range []string{"m4rk3r", "M4RK3R", made.fields.Secret, "ch0s3n", key, strings.SplitN(key, "$", 2)[1]} {
		if strings.Contains(log, word) {
			t.Errorf("the log has %q:\n%s", word, log)
		}
	}
	if test := p.stdout.String(); strings.Contains(test, made.fields.Secret) {
		t.Errorf("the standard output has the generated secret")
	}
}

// grep returns a file under dir that contains the word, or "".
func grep(t *testing.T, dir, word string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), word) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestKilledAfter201 kills the server with SIGKILL right after a response: the
// user that it acknowledged exists after a restart.
func TestKilledAfter201(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	for i := range 50 {
		body := fmt.Sprintf(`{"name":"user%d","duration":1}`, i)
		if got := send(t, "POST", p.users(), body, isJSON, authorization); got.status != 201 {
			t.Fatalf("create %d: %d %s", i, got.status, got.body)
		}
		p.stop(syscall.SIGKILL)
		p = serve(t, "--data", data)
		if got := send(t, "POST", p.users(), body, isJSON, authorization); got.status != 409 {
			t.Fatalf("user %d after the kill: got %d %s, want 409", i, got.status, got.body)
		}
	}
}

// TestSameNameAtOnce has 64 callers create one name: the database decides.
func TestSameNameAtOnce(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	var callers sync.WaitGroup
	responses := make([]response, 64)
	errs := make([]error, len(responses))
	begin := make(chan struct{})
	for i := range responses {
		callers.Go(func() {
			<-begin
			responses[i], errs[i] = trySend("POST", p.users(), `{"name":"one","duration":1}`, isJSON, authorization)
		})
	}
	close(begin)
	callers.Wait()
	count := map[int]int{}
	for i := range responses {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		count[responses[i].status]++
	}
	if count[201] != 1 || count[409] != 63 {
		t.Errorf("got %v, want one 201 and 63 times 409", count)
	}
}

// TestRequestInFlightGetsItsResponse stops the server while it reads a request.
func TestRequestInFlightGetsItsResponse(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	body := `{"name":"late","duration":1}`
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /cloud/v1/registries/1/1/1/users HTTP/1.1\r\nHost: x\r\nAuthorization: apikey %s\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", readDev(t, data).APIKey, len(body))
	reply := make([]byte, 4096)
	if n, err := conn.Read(reply); err != nil || !strings.Contains(string(reply[:n]), "100 Continue") {
		t.Fatalf("got %q, %v, want 100 Continue: the handler reads the body now", reply[:n], err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for { // until it no longer listens
		probe, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			break
		}
		_ = probe.Close()
	}
	fmt.Fprint(conn, body)
	n, err := conn.Read(reply)
	if err != nil || !strings.HasPrefix(string(reply[:n]), "HTTP/1.1 201") {
		t.Errorf("got %q, %v, want 201", reply[:n], err)
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
}

// TestAdminWhileServing makes changes that the server's next request sees.
func TestAdminWhileServing(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	admin := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(binary, append([]string{"admin", "--data", data}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("admin %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	key := admin("key", "create", "--project", "7")
	authorization := "Authorization: apikey " + key
	create := func(path string, want int) {
		t.Helper()
		got := send(t, "POST", p.url+path, `{"name":"user1","duration":1}`, isJSON, authorization)
		if got.status != want {
			t.Fatalf("%s: got %d %s, want %d", path, got.status, got.body, want)
		}
	}
	id := admin("registry", "create", "images", "--project", "7", "--region", "3")
	path := "/cloud/v1/registries/7/3/" + id + "/users"
	create(path, http.StatusCreated)
	create(path, http.StatusConflict)
	create("/cloud/v1/registries/1/1/1/users", http.StatusForbidden)
	admin("user", "rm", "user1", "--registry", id)
	create(path, http.StatusCreated)
	admin("user", "set", "user1", "--registry", id, "--read-only", "--days", "-1")
	if got := admin("user", "ls", "--registry", id); !strings.Contains(got, `"user1"  pull  `) || !strings.Contains(got, "never") {
		t.Errorf("user ls: %s", got)
	}
	admin("key", "rm", strings.SplitN(key, "$", 2)[0])
	create(path, http.StatusUnauthorized)
}

// TestTLS serves with a certificate. The server's own URLs begin with https.

// A misspelt field creates a user that can push. The operator finds it in the log, or has
// the server refuse it.
func TestUnknownFields(t *testing.T) {
	const body = `{"name":"u","duration":1,"readonly":true}`
	for _, test := range []struct {
		args   []string
		status int
		log    string
	}{
		{nil, 201, `level=WARN msg=request .* unknown_fields=\[readonly\]`},
		{[]string{"--refuse-unknown-fields"}, 400, `level=INFO msg=request .* invalid_fields="map\[readonly:\[is not a known field\]\]"`},
	} {
		data := t.TempDir()
		p := serve(t, append([]string{"--dev", "--data", data}, test.args...)...)
		got := send(t, "POST", p.users(), body, isJSON, "Authorization: apikey "+readDev(t, data).APIKey)
		if code := p.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if log := p.stderr.String(); got.status != test.status || !regexp.MustCompile(test.log).MatchString(log) {
			t.Errorf("serve %q: got %d %s, want %d; the log, which must have %s:\n%s", test.args, got.status, got.body, test.status, test.log, log)
		}
	}
}
