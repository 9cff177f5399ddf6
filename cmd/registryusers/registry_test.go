package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// findTool returns the path of an outside program, or skips the test without it.
// CI must have those that are required.
func findTool(t *testing.T, name string, required bool) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if required && os.Getenv("CI") != "" {
			t.Fatalf("CI must have %s", name)
		}
		t.Skipf("%s is not installed: it is not tried", name)
	}
	return path
}

// user creates a user in the dev registry, and returns its secret.
func (p *process) user(t *testing.T, data, name, rest string) string {
	t.Helper()
	got := send(t, "POST", p.users(), fmt.Sprintf(`{"name":%q,%s}`, name, rest), isJSON, "Authorization: apikey "+readDev(t, data).APIKey)
	if got.status != 201 {
		t.Fatalf("creating %s: %d %s", name, got.status, got.body)
	}
	return got.fields.Secret
}

// host is the address of the server, as in names of images.
func (p *process) host() string { return strings.TrimPrefix(p.url, "http://") }

// images writes an OCI layout with an image of several layers, tagged
// "image", and an index of two platforms, tagged "index".
func imagesOf(t *testing.T) (dir string, image, index v1.Hash) {
	t.Helper()
	dir = t.TempDir()
	oci := func(size, layers int64) v1.Image {
		image, err := random.Image(size, layers, random.WithSource(rand.NewSource(size)))
		if err != nil {
			t.Fatal(err)
		}
		return mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	several := oci(10_000, 4)
	both := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range []string{"amd64", "riscv64"} {
		both = mutate.AppendManifests(both, mutate.IndexAddendum{
			Add:        oci(5_000+int64(len(architecture)), 2),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(several, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "image"}))
	}
	if err == nil {
		err = path.AppendIndex(both, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "index"}))
	}
	if err == nil {
		image, err = several.Digest()
	}
	if err == nil {
		index, err = both.Digest()
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, image, index
}

// skopeo runs it and returns what it prints; ok is whether it succeeded.
func skopeo(t *testing.T, args ...string) (out string, ok bool) {
	t.Helper()
	text, err := exec.Command(findTool(t, "skopeo", true), args...).CombinedOutput()
	return strings.TrimSpace(string(text)), err == nil
}

// rewriteIndex has skopeo rewrite the layout's index in its own form: it
// would do so during a push, and change the digest there.
func rewriteIndex(t *testing.T, dir string) v1.Hash {
	t.Helper()
	other := t.TempDir()
	for _, args := range [][]string{{"oci:" + dir + ":index", "oci:" + other + ":index"}, {"oci:" + other + ":index", "oci:" + dir + ":index"}} {
		if out, ok := skopeo(t, append([]string{"copy", "--all"}, args...)...); !ok {
			t.Fatal(out)
		}
	}
	path, err := layout.ImageIndexFromPath(other)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := path.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Manifests[0].Digest
}

func TestSkopeo(t *testing.T) {
	findTool(t, "skopeo", true)
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	writer := "writer:" + p.user(t, data, "writer", `"duration":1`)
	reader := "1-1-demo+reader:" + p.user(t, data, "reader", `"duration":1,"read_only":true`)
	custom := "custom:" + p.user(t, data, "custom", `"duration":1,"secret":"correct horse: battery"`)
	ended := "ended:" + p.user(t, data, "ended", `"duration":0`)
	layout, image, _ := imagesOf(t)
	index := rewriteIndex(t, layout)
	back := t.TempDir()
	repository := "docker://" + p.host() + "/1-1-demo/team/app"
	other := "docker://" + p.host() + "/1-1-other/app"
	push := func(creds, tag, to string) []string {
		return []string{"copy", "--all", "--dest-tls-verify=false", "--dest-creds", creds, "oci:" + layout + ":" + tag, to}
	}
	pull := func(creds, from string) []string {
		return []string{"copy", "--all", "--src-tls-verify=false", "--src-creds", creds, from, "oci:" + back + ":back"}
	}
	digest := func(creds, from string) []string {
		return []string{"inspect", "--raw", "--tls-verify=false", "--creds", creds, from}
	}
	for _, step := range []struct {
		name string
		args []string
		says string // text of the failure; "": it succeeds
	}{
		{"push an image of several layers", push(writer, "image", repository+":v1"), ""},
		{"push an index of two platforms", push(writer, "index", repository+":multi"), ""},
		{"pull the image", pull(reader, repository+":v1"), ""},
		{"pull the index", pull(reader, repository+":multi"), ""},
		{"pull with a custom secret", pull(custom, repository+":v1"), ""},
		{"push with a custom secret", push(custom, "image", repository+":v2"), ""},
		{"list tags", []string{"list-tags", "--tls-verify=false", "--creds", reader, repository}, ""},
		{"inspect", digest(reader, repository+"@"+image.String()), ""},
		{"inspect the index", digest(reader, repository+"@"+index.String()), ""},
		{"a reader pushes", push(reader, "image", repository+":v3"), "user 1-1-demo+reader is read-only"},
		{"a reader deletes", []string{"delete", "--tls-verify=false", "--creds", reader, repository + ":v1"}, "read-only"},
		{"push to another registry", push(writer, "image", other+":v1"), "403"},
		{"pull from another registry", pull(writer, other+":v1"), "may use the repositories under 1-1-demo/"},
		{"a wrong secret", pull("writer:wrong", repository+":v1"), "the name or the secret is wrong"},
		{"no user", pull("nobody:wrong", repository+":v1"), "the name or the secret is wrong"},
		{"a user of duration 0", pull(ended, repository+":v1"), "the user has expired"},
		{"no credentials", []string{"inspect", "--no-creds", "--tls-verify=false", repository + ":v1"}, "log in with the name and the secret"},
		{"a writer deletes", []string{"delete", "--tls-verify=false", "--creds", writer, repository + ":v1"}, ""},
		{"what was deleted", pull(reader, repository+":v1"), "manifest unknown"},
	} {
		out, ok := skopeo(t, step.args...)
		if ok != (step.says == "") || !strings.Contains(out, step.says) {
			t.Errorf("%s: succeeded %v with\n%s\nwant it to say %q", step.name, ok, out, step.says)
		}
	}
	// The pulled bytes are the pushed ones, each under its digest.
	for _, hash := range []v1.Hash{image, index} {
		sent, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", hash.Hex))
		if err != nil {
			t.Fatal(err)
		}
		received, err := os.ReadFile(filepath.Join(back, "blobs", "sha256", hash.Hex))
		if err != nil || !bytes.Equal(sent, received) {
			t.Errorf("manifest %s: %v, sent %d bytes, received %d", hash, err, len(sent), len(received))
		}
	}
	log := p.stderr.String()
	for _, creds := range []string{writer, reader, custom, "battery"} {
		_, secret, _ := strings.Cut(creds, ":")
		if secret != "" && strings.Contains(log, secret) {
			t.Errorf("the log has a secret")
		}
	}
}

// TestAdminEndsAccess changes users in another process, while a client has a
// token: the next request sees the change.
func TestAdminEndsAccess(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	admin := func(args ...string) {
		t.Helper()
		out, err := exec.Command(binary, append([]string{"admin", "--data", data, "user"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("admin user %v: %v\n%s", args, err, out)
		}
	}
	for _, change := range []struct {
		name string
		args []string
		want int // to the POST that begins an upload
	}{
		{"deleted", []string{"rm", "u"}, 401},
		{"readonly", []string{"set", "u", "--read-only"}, 403},
		{"newsecret", []string{"set", "u", "--new-secret"}, 401},
		{"expired", []string{"set", "u", "--days", "0"}, 401},
	} {
		name := change.name
		secret := p.user(t, data, name, `"duration":1`)
		scope := p.url + "/token?service=registryusers&scope=repository:1-1-demo/app:pull,push"
		r, err := trySendBasic(scope, name, secret)
		if err != nil || r.status != 200 {
			t.Fatalf("%s: token: %v %d %s", name, err, r.status, r.body)
		}
		var granted struct{ Token string }
		if err := json.Unmarshal([]byte(r.body), &granted); err != nil {
			t.Fatal(err)
		}
		upload := func() int {
			return send(t, "POST", p.url+"/v2/1-1-demo/app/blobs/uploads/", "", "Authorization: Bearer "+granted.Token).status
		}
		if got := upload(); got != 202 {
			t.Errorf("%s: before the change: got %d, want 202", name, got)
		}
		args := append([]string{}, change.args...)
		args[1] = name
		admin(append(args, "--registry", "1")...)
		if got := upload(); got != change.want {
			t.Errorf("%s: after the change: got %d, want %d", name, got, change.want)
		}
	}
}

func trySendBasic(url, name, secret string) (response, error) {
	return trySend("GET", url, "", "Authorization: Basic "+basic(name, secret))
}

func TestDockerLogin(t *testing.T) {
	docker := findTool(t, "docker", true)
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "user1", `"duration":1`)
	login := func(args ...string) (string, error) {
		cmd := exec.Command(docker, append([]string{"login", p.host()}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := login("-u", "user1", "-p", secret); err != nil || !strings.Contains(out, "Login Succeeded") {
		t.Errorf("got %v\n%s", err, out)
	}
	if out, err := login("-u", "1-1-demo+user1", "-p", secret); err != nil || !strings.Contains(out, "Login Succeeded") {
		t.Errorf("the long form: got %v\n%s", err, out)
	}
	if out, err := login("-u", "user1", "-p", "wrong"); err == nil {
		t.Errorf("a wrong secret: got\n%s", out)
	}
}

func TestPodmanLogin(t *testing.T) {
	podman := findTool(t, "podman", false)
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "user1", `"duration":1`)
	for creds, ok := range map[string]bool{secret: true, "wrong": false} {
		cmd := exec.Command(podman, "login", "--tls-verify=false", "--authfile", filepath.Join(t.TempDir(), "auth.json"), "-u", "user1", "--password-stdin", p.host())
		cmd.Stdin = strings.NewReader(creds)
		if out, err := cmd.CombinedOutput(); (err == nil) != ok {
			t.Errorf("login: %v\n%s\nwant success %v", err, out, ok)
		}
	}
}

// TestPrintedRegistryLines follows what serve --dev prints and what the README
// says, up to a push and a pull.
func TestPrintedRegistryLines(t *testing.T) {
	findTool(t, "skopeo", true)
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	lines := p.printedLines(t)
	secret := p.user(t, data, "user1", `"duration":14`)

	tag := regexp.MustCompile(`^docker tag hello-world (\S+)$`).FindStringSubmatch(lines[3])
	if lines[2] != "docker pull hello-world" || tag == nil || lines[4] != "docker push "+tag[1] {
		t.Fatalf("printed lines: got %q, want a pull of an image, its tag and its push", lines)
	}
	if reference, err := name.ParseReference(tag[1]); err != nil || reference.Context().RegistryStr() != p.host() || !strings.HasPrefix(reference.Context().RepositoryStr(), "1-1-demo/") {
		t.Errorf("the image's name %s: got %v, want one in 1-1-demo of %s", tag[1], err, p.host())
	}
	runs := func(t *testing.T, line string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", strings.NewReplacer("SECRET", secret, "127.0.0.1:8080", p.host(), "dir:pulled", "dir:"+t.TempDir()).Replace(line))
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readmeLines := regexp.MustCompile(`(?m)^\$ (skopeo .*)$`).FindAllStringSubmatch(string(readme), -1)
	if len(readmeLines) < 2 {
		t.Fatalf("README.md has %d lines with skopeo, want a push and a pull", len(readmeLines))
	}
	for _, line := range readmeLines {
		runs(t, line[1])
	}
	runs(t, "skopeo copy --dest-tls-verify=false --dest-creds user1:SECRET oci:testdata/hello docker://"+tag[1]) // the name that is printed
	t.Run("docker", func(t *testing.T) {
		findTool(t, "docker", true)
		login := regexp.MustCompile(`(?m)^\$ (docker login .*)$`).FindStringSubmatch(string(readme))
		if login == nil {
			t.Fatal("README.md has no line with docker login")
		}
		runs(t, login[1])
	})
}

// startOutsideRegistry starts an outside registry, of the distribution project, with the
// configuration of its token authentication, and returns its address.
func startOutsideRegistry(t *testing.T, path string, auth string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: '127.0.0.1:0'}\nauth:\n  token:\n%s", filepath.Join(dir, "images"), auth)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "serve", config)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	var all logBuffer
	go func() {
		defer close(address)
		lines := bufio.NewScanner(io.TeeReader(log, &all))
		for lines.Scan() {
			if match := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`).FindStringSubmatch(lines.Text()); match != nil {
				address <- match[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the outside registry's log:\n%s", all.String())
		}
	})
	select {
	case got, ok := <-address:
		if ok {
			return got
		}
	case <-time.After(time.Minute):
	}
	t.Fatalf("%s did not start:\n%s", path, all.String())
	return ""
}

// TestOutsideRegistry issues tokens for another registry.
func TestOutsideRegistry(t *testing.T) {
	for _, test := range []struct {
		name, program string
		x5c           bool
	}{
		{"version 3 by JWKS", "registry", false},
		{"version 3 by certificate bundle", "registry", true},
		{"version 2.8 by certificate bundle", "docker-registry", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			program := findTool(t, test.program, true)
			findTool(t, "skopeo", true)
			data, keys := t.TempDir(), filepath.Join(t.TempDir(), "keys")
			args, print, setting := []string{"--dev", "--data", data, "--images=off"}, []string{"jwks", "--data", data}, "jwks"
			if test.x5c {
				args, print, setting = append(args, "--token-certificate"), append(print, "--pem"), "rootcertbundle"
			}
			p := serve(t, args...)
			text, err := exec.Command(binary, print...).Output()
			if err == nil {
				err = os.WriteFile(keys, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			host := startOutsideRegistry(t, program, fmt.Sprintf("    realm: %s/token\n    service: registryusers\n    issuer: registryusers\n    %s: %s\n", p.url, setting, keys))
			writer := "writer:" + p.user(t, data, "writer", `"duration":1`)
			reader := "reader:" + p.user(t, data, "reader", `"duration":1,"read_only":true`)
			layout, image, _ := imagesOf(t)
			repository := "docker://" + host + "/1-1-demo/app:v1"
			if out, ok := skopeo(t, "copy", "--dest-tls-verify=false", "--dest-creds", writer, "oci:"+layout+":image", repository); !ok {
				t.Fatalf("push: %s", out)
			}
			out, ok := skopeo(t, "inspect", "--tls-verify=false", "--creds", reader, "--format", "{{.Digest}}", repository)
			if !ok || out != image.String() {
				t.Errorf("pull: got %s, want %s", out, image)
			}
			for name, to := range map[string]string{"a reader": repository, "another registry": "docker://" + host + "/1-1-other/app:v1"} {
				creds := reader
				if to != repository {
					creds = writer
				}
				if out, ok := skopeo(t, "copy", "--dest-tls-verify=false", "--dest-creds", creds, "oci:"+layout+":index", to); ok {
					t.Errorf("%s: the push succeeded:\n%s", name, out)
				}
			}
			if got := send(t, "GET", p.url+"/v2/", ""); got.status != 404 || got.fields.Class != "NotFoundError" || got.header.Get("WWW-Authenticate") != "" {
				t.Errorf("with --images=off nothing is below /v2/: got %d %s, want 404 without a challenge", got.status, got.body)
			}
		})
	}
}

// TestDockerConfig has the command line write the configuration that clients read.
func TestDockerConfig(t *testing.T) {
	findTool(t, "skopeo", true)
	data, config := t.TempDir(), filepath.Join(t.TempDir(), "config.json")
	p := serve(t, "--dev", "--data", data)
	if err := os.WriteFile(config, []byte(`{"auths":{"elsewhere.example":{"auth":"eDp5"}},"detachKeys":"ctrl-x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "user", "create", "user1", "--registry", "1", "--days", "1", "--docker-config", config)
	cmd.Env = append(os.Environ(), "GCORE_BASE_URL="+p.url, "GCORE_API_KEY="+readDev(t, data).APIKey, "GCORE_CLOUD_PROJECT_ID=1", "GCORE_CLOUD_REGION_ID=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(config)
	if err != nil || !strings.Contains(string(text), "eDp5") || !strings.Contains(string(text), "ctrl-x") {
		t.Errorf("what was in the file is not any more: %v\n%s", err, text)
	}
	layout, _, _ := imagesOf(t)
	reference := "docker://" + p.host() + "/1-1-demo/app"
	if out, ok := skopeo(t, "copy", "--dest-tls-verify=false", "--dest-authfile", config, "oci:"+layout+":image", reference); !ok {
		t.Errorf("skopeo does not read it: %s", out)
	}
	for name, before := range map[string]string{
		"a credential store": `{"credsStore":"desktop"}`,
		"no object":          `[]`,
		"no JSON":            `{`,
		"auths no object":    `{"auths":[]}`,
	} {
		if err := os.WriteFile(config, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "user", "create", "user2", "--registry", "1", "--days", "1", "--docker-config", config)
		cmd.Env = append(os.Environ(), "GCORE_BASE_URL="+p.url, "GCORE_API_KEY="+readDev(t, data).APIKey, "GCORE_CLOUD_PROJECT_ID=1", "GCORE_CLOUD_REGION_ID=1")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("%s: %v\n%s\nwant exit code 2, before a user is created", name, err, out)
		}
		if after, _ := os.ReadFile(config); string(after) != before {
			t.Errorf("%s: the file was changed to %s", name, after)
		}
	}
	if got := send(t, "POST", p.users(), `{"name":"user2","duration":1}`, isJSON, "Authorization: apikey "+readDev(t, data).APIKey); got.status != 201 {
		t.Errorf("user2: got %d %s, want that no refused command created it", got.status, got.body)
	}
}

func basic(name, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(name + ":" + secret))
}
