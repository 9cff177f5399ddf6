package main

import (
	"database/sql"
	bigendian "encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tokens are an access token for a repository and a refresh token.
type tokens struct {
	Token   string `json:"token"`
	Refresh string `json:"refresh_token"`
}

// tokens logs in.
func (p *process) tokens(t *testing.T, name, secret string) tokens {
	t.Helper()
	form := url.Values{
		"grant_type": {"password"}, "username": {name}, "password": {secret}, "access_type": {"offline"},
		"service": {"registryusers"}, "scope": {"repository:1-1-demo/app:pull"},
	}
	a := send(t, "POST", p.url+"/token", form.Encode(), "Content-Type: application/x-www-form-urlencoded")
	if a.status != 200 {
		t.Fatalf("logging in as %s: %d %s", name, a.status, a.body)
	}
	var got tokens
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Token == "" || got.Refresh == "" {
		t.Fatalf("logging in as %s: %v, %s; want both tokens", name, err, a.body)
	}
	return got
}

// use returns the statuses of requests with the tokens to the registry and the token service.
func (p *process) use(t *testing.T, of tokens) [2]int {
	t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {of.Refresh}, "service": {"registryusers"}}
	return [2]int{
		send(t, "GET", p.url+"/v2/", "", "Authorization: Bearer "+of.Token).status,
		send(t, "POST", p.url+"/token", form.Encode(), "Content-Type: application/x-www-form-urlencoded").status,
	}
}

// newSecret sets a new secret of a user and returns it.
func newSecret(t *testing.T, data, name string) string {
	t.Helper()
	out, err := exec.Command(binary, "admin", "--data", data, "user", "set", name, "--registry", "1", "--new-secret").Output()
	if err != nil {
		t.Fatalf("a new secret for %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// After a backup is restored, users get ids and secret versions that others
// had after the backup. The tokens of the others stop working.
func TestTokenFromBeforeARestoreIsRefused(t *testing.T) {
	data, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup")
	p := serve(t, "--dev", "--data", data)
	p.user(t, data, "before", `"duration":1`)
	p.stop(syscall.SIGTERM)
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}

	p = serve(t, "--dev", "--data", data)
	id := func(name string) (id int64, secret string) {
		t.Helper()
		a := send(t, "POST", p.users(), fmt.Sprintf(`{"name":%q,"duration":1}`, name), isJSON, "Authorization: apikey "+readDev(t, data).APIKey)
		if a.status != 201 {
			t.Fatalf("creating %s: %d %s", name, a.status, a.body)
		}
		return a.fields.ID, a.fields.Secret
	}
	afterID, afterSecret := id("after")
	old := map[string]tokens{
		"of a user created after the backup":        p.tokens(t, "after", afterSecret),
		"of a secret that is newer than the backup": p.tokens(t, "before", newSecret(t, data, "before")),
	}
	for what, of := range old {
		if got := p.use(t, of); got != [2]int{200, 200} {
			t.Errorf("before the restore, the tokens %s get %v; want 200 twice", what, got)
		}
	}
	p.stop(syscall.SIGTERM)

	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--dev", "--data", data)
	otherID, otherSecret := id("other")
	if otherID != afterID {
		t.Fatalf("the user created after the restore has the id %d, want %d again: this test shows nothing", otherID, afterID)
	}
	secret := newSecret(t, data, "before") // the second one again
	for what, of := range old {
		if got := p.use(t, of); got != [2]int{401, 401} {
			t.Errorf("after the restore, the tokens %s get %v; want 401 twice", what, got)
		}
	}
	for name, secret := range map[string]string{"other": otherSecret, "before": secret} {
		if got := p.use(t, p.tokens(t, name, secret)); got != [2]int{200, 200} {
			t.Errorf("after the restore, new tokens of %s get %v; want 200 twice", name, got)
		}
	}
}

// commits returns how many commits SQLite's write-ahead log has: the frames that
// say how large the database is then (https://sqlite.org/fileformat2.html#walformat).
func commits(t *testing.T, path string) (n int) {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(log) < 32 {
		return 0
	}
	size := int(bigendian.BigEndian.Uint32(log[8:]))
	for frame := log[32:]; len(frame) >= 24+size; frame = frame[24+size:] {
		if bigendian.BigEndian.Uint32(frame[4:]) != 0 {
			n++
		}
	}
	return n
}

// All changes of a user by one command are committed together or not at all.
func TestAdminUserSetIsOneCommit(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--images", "off", "--data", data)
	p.user(t, data, "u", `"duration":14`)
	p.stop(syscall.SIGTERM)
	file := filepath.Join(data, "registryusers.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	row := func() string { // the log stays while this is open
		t.Helper()
		var text string
		if err := db.QueryRowContext(t.Context(), "SELECT format('%d %d %d %s', read_only, duration, secret_version, hex(secret_index)) FROM users").Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	before, made := row(), commits(t, file+"-wal")
	for _, test := range []struct {
		what    string
		args    []string
		commits int
	}{
		{"one of them is not valid", []string{"--read-only", "--new-secret", "--days", "99999999"}, 0},
		{"all are valid", []string{"--read-only", "--new-secret", "--days", "3"}, 1},
	} {
		out, err := exec.Command(binary, append([]string{"admin", "--data", data, "user", "set", "u", "--registry", "1"}, test.args...)...).CombinedOutput()
		if (err == nil) != (test.commits > 0) {
			t.Errorf("%s: %v\n%s", test.what, err, out)
		}
		if n := commits(t, file+"-wal") - made; n != test.commits {
			t.Errorf("%s: %d commits; want %d", test.what, n, test.commits)
		}
		if after := row(); (after == before) != (test.commits == 0) || test.commits > 0 && !strings.HasPrefix(after, "1 3 2 ") {
			t.Errorf("%s: the user was %s and is %s", test.what, before, after)
		}
	}
}

func TestSecretsThatCannotLogInAreRefusedOverHTTP(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	for name, secret := range map[string]string{"a control character": `a\u0001b`, "a line break": `a\nb`, "too long": strings.Repeat("a", 1025)} {
		for _, path := range []string{p.users(), p.url + "/cloud/v1/registries/1/1/99/users"} { // before the registry is looked up
			a := send(t, "POST", path, `{"name":"u","duration":1,"secret":"`+secret+`"}`, isJSON, authorization)
			if a.status != 400 || a.fields.Class != "ValidationError" || len(a.fields.InvalidFields) != 1 || len(a.fields.InvalidFields["secret"]) != 1 {
				t.Errorf("%s: got %d %s, want 400 with the invalid field secret", name, a.status, a.body)
			}
		}
	}
	a := send(t, "POST", p.users(), `{"name":"u","duration":1,"secret":"`+strings.Repeat("a", 1024)+`"}`, isJSON, authorization)
	if a.status != 201 {
		t.Errorf("the longest secret: got %d %s, want 201: no refused create took the name", a.status, a.body)
	}
}

func TestBareNames(t *testing.T) {
	for _, bare := range []bool{false, true} {
		data := t.TempDir()
		p := serve(t, "--dev", "--images", "off", "--data", data, fmt.Sprintf("--bare-names=%t", bare))
		p.user(t, data, "custom", `"duration":1,"secret":"correct horse"`)
		for name, want := range map[string]bool{"1-1-demo+custom": true, "custom": bare, "nobody": false, "1-2-demo+custom": false} {
			a, err := trySendBasic(p.url+"/token?service=registryusers", name, "correct horse")
			if err != nil || (a.status == 200) != want || a.status != 200 && a.status != 401 {
				t.Errorf("--bare-names=%t: logging in as %s: %v, %d %s; want success: %t", bare, name, err, a.status, a.body, want)
			}
			if isRefused := strings.Contains(a.body, "REGISTRY+NAME"); isRefused != (!bare && !strings.Contains(name, "+")) {
				t.Errorf("--bare-names=%t: logging in as %s: %s; want the long form named only for a bare name", bare, name, a.body)
			}
		}
	}
}
