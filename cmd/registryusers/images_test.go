package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bearer returns the header of a token for the repository, of a user of the dev registry.
func (p *process) bearer(t *testing.T, name, secret, repository string) string {
	t.Helper()
	got, err := trySendBasic(p.url+"/token?service=registryusers&scope=repository:"+repository+":pull,push,delete", name, secret)
	if err != nil || got.status != 200 {
		t.Fatalf("token of %s: %v %d %s", name, err, got.status, got.body)
	}
	var granted struct{ Token string }
	if err := json.Unmarshal([]byte(got.body), &granted); err != nil {
		t.Fatal(err)
	}
	return "Authorization: Bearer " + granted.Token
}

func digestOf(content string) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
}

// startUpload starts an upload, and returns the path where it continues.
func (p *process) startUpload(t *testing.T, repository, bearer string) string {
	t.Helper()
	got := send(t, "POST", p.url+"/v2/"+repository+"/blobs/uploads/", "", bearer)
	if got.status != 202 {
		t.Fatalf("begin an upload: got %d %s, want 202", got.status, got.body)
	}
	return got.header.Get("Location")
}

func withDigest(location, digest string) string {
	return location + "&digest=" + url.QueryEscape(digest)
}

// pushBlob pushes a blob.
func (p *process) pushBlob(t *testing.T, repository, content, bearer string) (digest string) {
	t.Helper()
	digest = digestOf(content)
	if got := send(t, "PUT", p.url+withDigest(p.startUpload(t, repository, bearer), digest), content, bearer); got.status != 201 {
		t.Fatalf("push a blob: got %d %s, want 201", got.status, got.body)
	}
	return digest
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// manifest returns a manifest of blobs.
func manifest(config, layer string, configSize, layerSize int) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`, ociManifest, config, configSize, layer, layerSize)
}

// peak returns the server's peak memory, in bytes.
func (p *process) peak(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		t.Fatalf("got the status %q, want VmHWM in it", status)
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestPullsTakeLittleMemory pulls a large blob many times at once, and has many
// more clients request it and read nothing.
func TestPullsTakeLittleMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is read from /proc, which only Linux has")
	}
	const (
		size    = 20 << 20
		pulls   = 200
		stalled = 1000
		most    = 128 << 20
	)
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data, "--max-connections-per-address", "4096")
	content := make([]byte, size)
	_, _ = rand.Read(content)
	wantAdmin(t, data, "registry", "create", "other")
	wantAdmin(t, data, "registry", "create", "third")
	key := "Authorization: apikey " + readDev(t, data).APIKey
	var bearers, paths []string
	digest := digestOf(string(content))
	for i, at := range []struct {
		id       int
		registry string
		readOnly bool
	}{{1, "demo", false}, {1, "demo", true}, {1, "demo", true}, {2, "other", false}, {2, "other", true}, {3, "third", false}} {
		name := "user" + strconv.Itoa(i)
		users := fmt.Sprintf("%s/cloud/v1/registries/1/1/%d/users", p.url, at.id)
		created := send(t, "POST", users, fmt.Sprintf(`{"name":%q,"duration":1,"read_only":%v}`, name, at.readOnly), isJSON, key)
		if created.status != 201 {
			t.Fatalf("creating %s: %d %s", name, created.status, created.body)
		}
		repository := "1-1-" + at.registry + "/app"
		bearer := p.bearer(t, name, created.fields.Secret, repository)
		if !at.readOnly {
			p.pushBlob(t, repository, string(content), bearer)
		}
		bearers, paths = append(bearers, bearer), append(paths, "/v2/"+repository+"/blobs/"+digest)
	}

	var group sync.WaitGroup
	for range pulls {
		group.Go(func() {
			request, err := http.NewRequestWithContext(t.Context(), "GET", p.url+paths[1], nil)
			if err != nil {
				t.Error(err)
				return
			}
			_, value, _ := strings.Cut(bearers[1], ": ")
			request.Header.Set("Authorization", value)
			response, err := new(http.Transport).RoundTrip(request)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			hash := sha256.New()
			n, err := io.Copy(hash, response.Body)
			if err != nil || n != size || fmt.Sprintf("sha256:%x", hash.Sum(nil)) != digest {
				t.Errorf("got status %d and %d bytes, %v; want the blob", response.StatusCode, n, err)
			}
		})
	}
	group.Wait()
	t.Logf("%d pulls: got a peak of %.1f MiB", pulls, float64(p.peak(t))/(1<<20))

	// Each stalled response is read up to the first byte of the body, so that
	// the server is known to be in the middle of its response.
	wait := make(chan struct{}, 64)
	connections := make([]net.Conn, stalled)
	for i := range connections {
		group.Go(func() {
			wait <- struct{}{}
			defer func() { <-wait }()
			conn, err := net.Dial("tcp", p.host())
			if err != nil {
				t.Error(err)
				return
			}
			connections[i] = conn
			_ = conn.(*net.TCPConn).SetReadBuffer(4096)
			user := 1 + i%4
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", paths[user], p.host(), bearers[user])
			line := make([]byte, len("HTTP/1.1 200"))
			if err == nil {
				_, err = io.ReadFull(conn, line)
			}
			if err != nil || string(line) != "HTTP/1.1 200" {
				t.Errorf("a client that stalls: got %q, %v; want status 200", line, err)
			}
		})
	}
	group.Wait()
	defer func() {
		for _, conn := range connections {
			if conn != nil {
				conn.Close()
			}
		}
	}()
	got := p.peak(t)
	t.Logf("%d stalled pulls: got a peak of %.1f MiB", stalled, float64(got)/(1<<20))
	if got >= most {
		t.Errorf("got a peak of %d bytes, want less than %d", got, most)
	}
	// The limits: the rest of a user's share, of a registry's, and of all.
	var held []net.Conn
	hold := func(user int) int {
		conn, err := net.Dial("tcp", p.host())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", paths[user], p.host(), bearers[user])
		line := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(conn, line); err != nil {
			t.Fatal(err)
		}
		status, _ := strconv.Atoi(string(line[len(line)-3:]))
		return status
	}
	defer func() {
		for _, conn := range held {
			conn.Close()
		}
	}()
	for _, test := range []struct {
		what      string
		user, n   int
		accepted  int
		otherwise int
	}{
		{"a user with 250 of 256", 1, 10, 6, 429},
		{"another of a registry with 506 of 512", 0, 10, 6, 429},
		{"one of another registry, with 1012 of 1024 in all", 5, 15, 12, 503},
	} {
		got := map[int]int{}
		for range test.n {
			got[hold(test.user)]++
		}
		if got[200] != test.accepted || got[test.otherwise] != test.n-test.accepted {
			t.Errorf("%s: got the statuses %v of %d more requests, want %d times 200, and then %d", test.what, got, test.n, test.accepted, test.otherwise)
		}
	}
	again := send(t, "GET", p.url+paths[1], "", bearers[1])
	if again.status != 429 || again.header.Get("Retry-After") != "1" || !strings.Contains(again.body, "TOOMANYREQUESTS") {
		t.Errorf("beyond the limit: got %d, %v %s; want 429 TOOMANYREQUESTS with Retry-After: 1", again.status, again.header, again.body)
	}
	if got := send(t, "GET", p.url+"/v2/", ""); got.status != 401 {
		t.Errorf("unauthenticated: got %d, want 401: it has a share of its own", got.status)
	}
}

// TestUploadGoesOnAfterARestart kills the server between the pieces of a blob.
func TestUploadGoesOnAfterARestart(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "writer", `"duration":1`)
	bearer := p.bearer(t, "writer", secret, "1-1-demo/app")
	location := p.startUpload(t, "1-1-demo/app", bearer)
	pieces := []string{"the first piece, ", "the second, ", "the last"}
	for _, piece := range pieces {
		got := send(t, "PATCH", p.url+location, piece, bearer)
		if got.status != 202 {
			t.Fatalf("piece %q: got %d %s, want 202", piece, got.status, got.body)
		}
		location = got.header.Get("Location")
		p.stop(os.Kill)
		p = serve(t, "--data", data)
	}
	complete := strings.Join(pieces, "")
	if got := send(t, "PUT", p.url+withDigest(location, digestOf(complete)), "", bearer); got.status != 201 {
		t.Fatalf("the end: got %d %s, want 201", got.status, got.body)
	}
	if got := send(t, "GET", p.url+"/v2/1-1-demo/app/blobs/"+digestOf(complete), "", bearer); got.body != complete {
		t.Errorf("got %d %q, want %q", got.status, got.body, complete)
	}
}

// waitForLog waits until a line of the server's log contains the text.
func (p *process) waitForLog(t *testing.T, text string) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.stderr.String(), text) {
		select {
		case <-deadline:
			t.Fatalf("the log never had %q:\n%s", text, p.stderr.String())
		case <-tick.C:
		}
	}
}

// makeOlder makes all files below a directory two days older, and the starts of uploads.
func makeOlder(t *testing.T, root string) {
	t.Helper()
	at := time.Now().Add(-48 * time.Hour)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "startedat" {
			err = os.WriteFile(path, []byte(at.UTC().Format(time.RFC3339)), 0o600)
		}
		if err == nil {
			err = os.Chtimes(path, time.Time{}, at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestServeRemovesAbandonedUploads(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	bearer := p.bearer(t, "writer", p.user(t, data, "writer", `"duration":1`), "1-1-demo/app")
	abandoned := p.startUpload(t, "1-1-demo/app", bearer)
	if got := send(t, "PATCH", p.url+abandoned, "some", bearer); got.status != 202 {
		t.Fatalf("a piece: got %d %s, want 202", got.status, got.body)
	}
	p.stop(os.Kill)
	makeOlder(t, filepath.Join(data, "images"))
	p = serve(t, "--data", data)
	p.waitForLog(t, "removed abandoned uploads")
	if left, err := filepath.Glob(filepath.Join(data, "images/docker/registry/v2/repositories/1-1-demo/app/_uploads/*")); err != nil || len(left) != 0 {
		t.Errorf("got the uploads %q, %v; want none", left, err)
	}
}

// gc runs "admin gc" and returns what it prints.
func gc(t *testing.T, data string) string {
	t.Helper()
	out, err := exec.Command(binary, "admin", "gc", "--data", data).CombinedOutput()
	if err != nil {
		t.Fatalf("admin gc: %v\n%s", err, out)
	}
	return string(out)
}

// TestNoRestartRemovesLayers kills the server after the layers of an image are
// pushed, and before its manifest is.
func TestNoRestartRemovesLayers(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	bearer := p.bearer(t, "writer", p.user(t, data, "writer", `"duration":1`), "1-1-demo/app")
	loose := p.pushBlob(t, "1-1-demo/app", "no manifest ever names this", bearer)
	p.stop(os.Kill)
	makeOlder(t, filepath.Join(data, "images"))
	p = serve(t, "--data", data)
	layer, config := "a layer", "{}"
	body := manifest(p.pushBlob(t, "1-1-demo/app", config, bearer), p.pushBlob(t, "1-1-demo/app", layer, bearer), len(config), len(layer))
	p.stop(os.Kill)
	p = serve(t, "--data", data)
	if out, err := exec.Command(binary, "admin", "gc", "--data", data).CombinedOutput(); err == nil || !strings.Contains(string(out), "stop") {
		t.Errorf("admin gc beside the server: got %v\n%s\nwant it refused", err, out)
	}
	p.stop(syscall.SIGTERM)
	if out := gc(t, data); !strings.Contains(out, "blobs 1 (27 bytes)") {
		t.Errorf("admin gc: got %q, want the loose blob removed", out)
	}
	p = serve(t, "--data", data)
	if got := send(t, "PUT", p.url+"/v2/1-1-demo/app/manifests/v1", body, bearer, "Content-Type: "+ociManifest); got.status != 201 {
		t.Fatalf("push the manifest: got %d %s, want 201", got.status, got.body)
	}
	for _, path := range []string{"manifests/v1", "blobs/" + digestOf(layer), "blobs/" + digestOf(config)} {
		if got := send(t, "GET", p.url+"/v2/1-1-demo/app/"+path, "", bearer, "Accept: "+ociManifest); got.status != 200 {
			t.Errorf("pull %s: got %d %s, want 200", path, got.status, got.body)
		}
	}
	if got := send(t, "GET", p.url+"/v2/1-1-demo/app/blobs/"+loose, "", bearer); got.status != 404 {
		t.Errorf("the loose blob: got %d, want 404", got.status)
	}
	// A day later, the manifest's layers are kept because it names them.
	p.stop(syscall.SIGTERM)
	makeOlder(t, filepath.Join(data, "images"))
	if out := gc(t, data); !strings.Contains(out, "blobs 0 (0 bytes)") {
		t.Errorf("admin gc: got %q, want nothing removed", out)
	}
}

// TestStartOpensNoImage starts the server on many images whose files would
// block a process that opens them.
func TestStartOpensNoImage(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "writer", `"duration":1`)
	bearer := p.bearer(t, "writer", secret, "1-1-demo/app")
	abandoned := p.startUpload(t, "1-1-demo/app", bearer)
	p.stop(syscall.SIGTERM)
	makeOlder(t, filepath.Join(data, "images"))
	root := filepath.Join(data, "images/docker/registry/v2")
	for i := range 2000 {
		hex := strings.TrimPrefix(digestOf(strconv.Itoa(i)), "sha256:")
		for _, directory := range []string{"repositories/1-1-demo/app/_manifests/revisions/sha256", "repositories/1-1-demo/app/_layers/sha256", "blobs/sha256/" + hex[:2]} {
			directory = filepath.Join(root, directory, hex)
			if err := os.MkdirAll(directory, 0o700); err != nil {
				t.Fatal(err)
			}
			name := "link"
			if strings.Contains(directory, "/blobs/") {
				name = "data"
			}
			if err := mkfifo(filepath.Join(directory, name)); err != nil {
				if os.Getenv("CI") != "" {
					t.Fatalf("CI must be able to create a named pipe: %v", err)
				}
				t.Skipf("a named pipe cannot be created: %v", err)
			}
		}
	}
	p = serve(t, "--data", data)
	p.waitForLog(t, "removed abandoned uploads")
	if got := send(t, "PATCH", p.url+abandoned, "some", bearer); got.status != 404 {
		t.Errorf("the abandoned upload: got %d %s, want 404", got.status, got.body)
	}
	p.pushBlob(t, "1-1-demo/app", "a layer", bearer)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("got the exit code %d, want 0:\n%s", code, p.stderr.String())
	}
}

// TestFullDisk pushes until the disk is full: on a small file system,
// with and without a reserve.
func TestFullDisk(t *testing.T) {
	for name, reserve := range map[string]string{"with a reserve": "24MiB", "without a reserve": "0"} {
		t.Run(name, func(t *testing.T) {
			data := smallDisk(t, 96<<20)
			p := serve(t, "--dev", "--data", data, "--reserve", reserve)
			secret := p.user(t, data, "writer", `"duration":1`)
			bearer := p.bearer(t, "writer", secret, "1-1-demo/app")
			layer, config := "a layer", "{}"
			body := manifest(p.pushBlob(t, "1-1-demo/app", config, bearer), p.pushBlob(t, "1-1-demo/app", layer, bearer), len(config), len(layer))
			if got := send(t, "PUT", p.url+"/v2/1-1-demo/app/manifests/v1", body, bearer, "Content-Type: "+ociManifest); got.status != 201 {
				t.Fatalf("push a manifest: got %d %s, want 201", got.status, got.body)
			}

			full := func(what string, got response) {
				t.Helper()
				if got.status != 507 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `{"errors":[{"code":"UNAVAILABLE"`) || strings.Contains(got.body, data) {
					t.Errorf("%s: got %d, %v %s; want 507 in the registry's form with Retry-After", what, got.status, got.header, got.body)
				}
			}
			location := p.startUpload(t, "1-1-demo/app", bearer)
			content := make([]byte, 128<<20)
			_, _ = rand.Read(content)
			request, err := http.NewRequestWithContext(t.Context(), "PATCH", p.url+location, bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			_, value, _ := strings.Cut(bearer, ": ")
			request.Header.Set("Authorization", value)
			raw, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(raw.Body)
			raw.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			full("an upload that fills the disk", response{status: raw.StatusCode, header: raw.Header, body: string(text)})
			free := freeSpace(t, data)
			t.Logf("%s: %d bytes are free", name, free)
			if reserve != "0" {
				if free < 7<<20 || free > 24<<20 {
					t.Errorf("got %d bytes free, want the reserve of 24 MiB less 16 MiB at most", free)
				}
				full("a manifest", send(t, "PUT", p.url+"/v2/1-1-demo/app/manifests/v2", body, bearer, "Content-Type: "+ociManifest))
				// The user can still be removed.
				p.user(t, data, "another", `"duration":1`)
				if out, err := exec.Command(binary, "admin", "--data", data, "user", "set", "another", "--registry", "1", "--read-only").CombinedOutput(); err != nil {
					t.Errorf("admin user set: %v\n%s", err, out)
				}
			}
			full("another upload", send(t, "POST", p.url+"/v2/1-1-demo/app/blobs/uploads/", "", bearer))
			for _, path := range []string{"manifests/v1", "blobs/" + digestOf(layer)} {
				if got := send(t, "GET", p.url+"/v2/1-1-demo/app/"+path, "", bearer, "Accept: "+ociManifest); got.status != 200 {
					t.Errorf("pull %s: got %d %s, want 200", path, got.status, got.body)
				}
			}
			// Removing the upload frees the space.
			status := send(t, "GET", p.url+strings.SplitN(location, "?", 2)[0], "", bearer)
			if got := send(t, "DELETE", p.url+status.header.Get("Location"), "", bearer); got.status != 204 {
				t.Errorf("cancel the upload: got %d %s, want 204", got.status, got.body)
			}
			p.pushBlob(t, "1-1-demo/app", "another layer", bearer)
		})
	}
}
