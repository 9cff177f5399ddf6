package main

import (
	"bytes"
	bigendian "encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// smallDisk returns a directory that is a file system of that many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	return diskWithInodes(t, size, 0)
}

// diskWithInodes returns a directory that is a file system of that many bytes
// and inodes (0: many).
func diskWithInodes(t *testing.T, size, inodes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := mountSmall(dir, size, inodes); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must be able to mount a tmpfs: %v", err)
		}
		t.Skipf("a tmpfs cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the room of a directory's file system, and returns the file
// that takes it.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// admin runs an admin command on the data directory.
func admin(data string, args ...string) (string, error) {
	out, err := exec.Command(binary, append([]string{"admin", "--data", data}, args...)...).CombinedOutput()
	return string(out), err
}

func wantAdmin(t *testing.T, data string, args ...string) {
	t.Helper()
	if out, err := admin(data, args...); err != nil {
		t.Errorf("admin %v: got %v, want success\n%s", args, err, out)
	}
}

// TestAccessEndsOnAFullDisk fills the disk under a server whose users are then
// removed, made read-only and given new secrets.
func TestAccessEndsOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, 96<<20)
	data := filepath.Join(dir, "data")
	server := serve(t, "--dev", "--data", data, "--reserve", "0")
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	bearers := map[string]string{}
	for _, name := range []string{"removed", "readonly", "newsecret", "stays"} {
		bearers[name] = server.bearer(t, name, server.user(t, data, name, `"duration":1`), "1-1-demo/app")
	}
	stays := server.user(t, data, "stays2", `"duration":1`)
	layer := server.pushBlob(t, "1-1-demo/app", "a layer", bearers["stays"])
	begun := server.startUpload(t, "1-1-demo/app", bearers["stays"])
	wantAdmin(t, data, "key", "create")
	filler := fill(t, dir)

	acknowledged := []string{}
	refused := false
	for i := 0; i < 2000 && !refused; i++ {
		name := fmt.Sprintf("u%d", i)
		a := send(t, "POST", server.users(), `{"name":"`+name+`","duration":1}`, isJSON, authorization)
		switch a.status {
		case 201:
			acknowledged = append(acknowledged, name)
		case 503:
			refused = true
			if a.header.Get("Retry-After") == "" {
				t.Error("a create on a full disk: got 503 without Retry-After")
			}
		default:
			t.Fatalf("a create on a full disk: got %d %s, want 503", a.status, a.body)
		}
	}
	if !refused {
		t.Fatalf("%d creates on a full disk: got 201 each, want 503", len(acknowledged))
	}

	wantAdmin(t, data, "user", "rm", "removed", "--registry", "1")
	wantAdmin(t, data, "user", "set", "readonly", "--registry", "1", "--read-only")
	wantAdmin(t, data, "user", "set", "newsecret", "--registry", "1", "--new-secret")
	if out, err := admin(data, "key", "create"); err == nil || !strings.Contains(out, "the disk is full") {
		t.Errorf("admin key create on a full disk: got %v %s, want that it says so", err, out)
	}
	for name, want := range map[string]int{"removed": 401, "readonly": 403, "newsecret": 401, "stays": 507} {
		if a := send(t, "POST", server.url+"/v2/1-1-demo/app/blobs/uploads/", "", bearers[name]); a.status != want {
			t.Errorf("a push of the user %s on a full disk: got %d %s, want %d", name, a.status, a.body, want)
		}
	}
	// What the ballast freed is not for pushes, although nothing is reserved.
	freed := freeSpace(t, dir)
	for _, size := range []int{10, 64 << 10, 1 << 20} {
		if a := send(t, "PATCH", server.url+begun, strings.Repeat("x", size), bearers["stays"]); a.status != 507 {
			t.Errorf("an upload of %d bytes on a full disk: got %d %s, want 507", size, a.status, a.body)
		}
	}
	if left := freeSpace(t, dir); freed < 1<<20 || left < freed-64<<10 {
		t.Errorf("got %d bytes free, and %d after uploads; want as much, and 1 MiB at least", freed, left)
	}
	if a := send(t, "GET", server.url+"/v2/1-1-demo/app/blobs/"+layer, "", bearers["stays"]); a.status != 200 || a.body != "a layer" {
		t.Errorf("a pull on a full disk: got %d %q, want 200", a.status, a.body)
	}
	server.bearer(t, "stays2", stays, "1-1-demo/app")
	wantAdmin(t, data, "key", "rm", "1")
	if a := send(t, "POST", server.users(), `{"name":"late","duration":1}`, isJSON, authorization); a.status != 401 {
		t.Errorf("a create with a removed key on a full disk: got %d %s, want 401", a.status, a.body)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(data, "ballast") // the server makes it again
	for end := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if _, err := os.Stat(ballast); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("there is room again, and the server made no ballast in 30 s")
		}
	}
	key, err := admin(data, "key", "create")
	if err != nil {
		t.Fatalf("admin key create with room again: %v\n%s", err, key)
	}
	authorization = "Authorization: apikey " + strings.TrimSpace(key)
	if a := send(t, "POST", server.users(), `{"name":"later","duration":1}`, isJSON, authorization); a.status != 201 {
		t.Errorf("a create with room again: got %d %s, want 201", a.status, a.body)
	}
	if code := server.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("got the exit code %d, want 0", code)
	}
	out, err := admin(data, "user", "ls", "--registry", "1")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range append(acknowledged, "later") {
		if !strings.Contains(out, `"`+name+`"`) {
			t.Errorf("the user %s, which was acknowledged, is lost", name)
		}
	}
}

// TestAccessEndsOnADiskThatACommandFoundFull has an admin command meet
// the full disk first.
func TestAccessEndsOnADiskThatACommandFoundFull(t *testing.T) {
	for name, isServed := range map[string]bool{"while serving": true, "while stopped": false} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, 64<<20)
			data := filepath.Join(dir, "data")
			server := serve(t, "--dev", "--data", data)
			secret := server.user(t, data, "user1", `"duration":1`)
			if !isServed {
				server.stop(syscall.SIGTERM)
			}
			fill(t, dir)
			wantAdmin(t, data, "user", "rm", "user1", "--registry", "1")
			if !isServed {
				server = serve(t, "--data", data)
			}
			if a, err := trySendBasic(server.url+"/token?service=registryusers", "user1", secret); err != nil || a.status != 401 {
				t.Errorf("a login of a removed user: got %d %s, %v; want 401", a.status, a.body, err)
			}
		})
	}
}

// TestUploadsLeaveInodes has a user begin uploads to names of many components,
// each of which is a directory, several at a time.
func TestUploadsLeaveInodes(t *testing.T) {
	const inodes, reserved = 4096, 1024
	data := diskWithInodes(t, 256<<20, inodes)
	server := serve(t, "--dev", "--data", data, "--reserve", "1MiB")
	secret := server.user(t, data, "writer", `"duration":1`)
	const app = "1-1-demo/app"
	bearer := server.bearer(t, "writer", secret, app)
	layer := server.pushBlob(t, app, "a layer", bearer)
	before := freeInodes(t, data)

	type begun struct{ location, bearer string }
	var mu sync.Mutex
	var uploads []begun
	refused := 0
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 6 {
				repository := fmt.Sprintf("1-1-demo/%d/%d", i, j) + strings.Repeat("/a", 110)
				bearer := server.bearer(t, "writer", secret, repository)
				a := send(t, "POST", server.url+"/v2/"+repository+"/blobs/uploads/", "", bearer)
				mu.Lock()
				switch a.status {
				case 202:
					uploads = append(uploads, begun{a.header.Get("Location"), bearer})
				case 507:
					refused++
				default:
					t.Errorf("begin an upload: got %d %s, want 202 or 507", a.status, a.body)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	const slack = 200 // the directories of one name, and some files of each of eight requests
	if free := freeInodes(t, data); refused == 0 || free < reserved-slack {
		t.Errorf("%d uploads begun, %d refused, %d inodes are free; want some refused, and about %d free", len(uploads), refused, free, reserved)
	}
	server.waitForLog(t, "the free inodes are below the reserve")
	if a := send(t, "POST", server.url+"/v2/"+app+"/blobs/uploads/", "", bearer); a.status != 507 || a.header.Get("Retry-After") == "" {
		t.Errorf("another upload: got %d %s, want 507 with Retry-After", a.status, a.body)
	}
	if a := send(t, "GET", server.url+"/v2/"+app+"/blobs/"+layer, "", bearer); a.status != 200 {
		t.Errorf("a pull: got %d %s, want 200", a.status, a.body)
	}
	server.user(t, data, "another", `"duration":1`)
	wantAdmin(t, data, "user", "rm", "another", "--registry", "1")
	for _, upload := range uploads {
		if a := send(t, "DELETE", server.url+upload.location, "", upload.bearer); a.status != 204 {
			t.Errorf("cancel an upload: got %d %s, want 204", a.status, a.body)
		}
	}
	if free := freeInodes(t, data); free < before-10 {
		t.Errorf("when the uploads are cancelled, %d inodes are free; want %d as before", free, before)
	}
	server.pushBlob(t, app, "another layer", bearer)
}

// TestAccessEndsWithoutInodes takes all inodes, while the server serves and
// while it is stopped.
func TestAccessEndsWithoutInodes(t *testing.T) {
	dir := diskWithInodes(t, 256<<20, 2048)
	data := filepath.Join(dir, "data")
	server := serve(t, "--dev", "--data", data, "--reserve", "0")
	secrets := map[string]string{}
	for _, name := range []string{"first", "second", "third", "stays"} {
		secrets[name] = server.user(t, data, name, `"duration":1`)
	}
	layer := server.pushBlob(t, "1-1-demo/app", "a layer", server.bearer(t, "stays", secrets["stays"], "1-1-demo/app"))
	takeInodes := func() {
		t.Helper()
		for i := 0; ; i++ {
			f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint("filler", i)), os.O_CREATE|os.O_WRONLY, 0o600)
			if errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		if free := freeInodes(t, dir); free != 0 {
			t.Fatalf("%d inodes are free, want none", free)
		}
	}
	wantEnded := func(when, name string) {
		t.Helper()
		if a, err := trySendBasic(server.url+"/token?service=registryusers", name, secrets[name]); err != nil || a.status != 401 {
			t.Errorf("%s: a login of %s, who was removed: got %d %s, %v; want 401", when, name, a.status, a.body, err)
		}
		bearer := server.bearer(t, "stays", secrets["stays"], "1-1-demo/app")
		if a := send(t, "GET", server.url+"/v2/1-1-demo/app/blobs/"+layer, "", bearer); a.status != 200 || a.body != "a layer" {
			t.Errorf("%s: a pull: got %d %s, want 200", when, a.status, a.body)
		}
		if a := send(t, "POST", server.url+"/v2/1-1-demo/app/blobs/uploads/", "", bearer); a.status != 507 {
			t.Errorf("%s: a push: got %d %s, want 507", when, a.status, a.body)
		}
	}
	takeInodes()
	wantAdmin(t, data, "user", "rm", "first", "--registry", "1")
	wantEnded("while serving", "first")
	server.stop(syscall.SIGTERM)
	takeInodes()
	wantAdmin(t, data, "user", "rm", "second", "--registry", "1")
	server = serve(t, "--data", data, "--reserve", "0")
	wantEnded("after a start", "second")
	wantAdmin(t, data, "user", "rm", "third", "--registry", "1")
	wantEnded("after a start", "third")
}

// TestRemovedDataDirectory moves and removes the data directory under a server
// that creates users.
func TestRemovedDataDirectory(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	server := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	var n atomic.Int64
	var mu sync.Mutex
	var acknowledged []string
	create := func() int {
		name := fmt.Sprintf("u%d", n.Add(1))
		a := send(t, "POST", server.users(), `{"name":"`+name+`","duration":1}`, isJSON, authorization)
		if a.status == 201 {
			mu.Lock()
			defer mu.Unlock()
			acknowledged = append(acknowledged, name)
		}
		return a.status
	}
	together := func(during func()) (statuses map[int]int) {
		statuses = map[int]int{}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 25 {
					status := create()
					mu.Lock()
					statuses[status]++
					mu.Unlock()
				}
			})
		}
		during()
		group.Wait()
		return statuses
	}
	move := func(from, to string) func() {
		return func() {
			if err := os.Rename(from, to); err != nil {
				t.Error(err)
			}
		}
	}
	if got := together(move(data, data+".moved")); got[201]+got[503] != 200 {
		t.Errorf("while the directory is moved: got the statuses %v, want 201 and 503 alone", got)
	}
	if status := create(); status != 503 {
		t.Errorf("after the directory was moved: got %d, want 503", status)
	}
	move(data+".moved", data)()
	if status := create(); status != 201 {
		t.Errorf("after the directory was put back: got %d, want 201", status)
	}
	out, err := admin(data, "user", "ls", "--registry", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range acknowledged {
		if !strings.Contains(out, `"`+name+`"`) {
			t.Errorf("the user %s, which was acknowledged, is lost", name)
		}
	}
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if status := create(); status != 503 {
			t.Errorf("after the directory was removed: got %d, want 503", status)
		}
	}
}

// TestRemovedImageDirectory puts another image directory in the place of
// the server's, as when a disk is unmounted.
func TestRemovedImageDirectory(t *testing.T) {
	data := t.TempDir()
	server := serve(t, "--dev", "--data", data)
	bearer := server.bearer(t, "writer", server.user(t, data, "writer", `"duration":1`), "1-1-demo/app")
	begun := server.startUpload(t, "1-1-demo/app", bearer)
	images := filepath.Join(data, "images")
	if err := os.Rename(images, images+".moved"); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"removed", "replaced"} {
		if what == "replaced" {
			if err := os.Mkdir(images, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range []response{
			send(t, "POST", server.url+"/v2/1-1-demo/app/blobs/uploads/", "", bearer),
			send(t, "PUT", server.url+withDigest(begun, digestOf("a layer")), "a layer", bearer),
		} {
			if a.status != 503 || a.header.Get("Retry-After") == "" || strings.Contains(a.body, data) {
				t.Errorf("a push after the directory was %s: got %d %s, want 503 with Retry-After", what, a.status, a.body)
			}
		}
	}
	if err := os.RemoveAll(images); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(images+".moved", images); err != nil {
		t.Fatal(err)
	}
	if a := send(t, "PUT", server.url+withDigest(begun, digestOf("a layer")), "a layer", bearer); a.status != 201 {
		t.Errorf("a push after the directory was put back: got %d %s, want 201", a.status, a.body)
	}
}

// TestNoAccessAfterTheDataDirectoryWasReplaced puts a copy in the place of the data
// directory: whoever is removed from the copy must not get in.
func TestNoAccessAfterTheDataDirectoryWasReplaced(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	server := serve(t, "--dev", "--images", "off", "--data", data)
	secret := server.user(t, data, "user1", `"duration":1`)
	wantProbes(t, server, 200, 200)
	if err := os.Rename(data, data+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(data+".moved")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		a, err := trySendBasic(server.url+"/token?service=registryusers", "user1", secret)
		if err == nil && a.status == 503 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a login: got %d %s, %v; want 503 soon", a.status, a.body, err)
		}
	}
	wantProbes(t, server, 200, 503)
}

// TestNoAccessAfterTheLogsIndexWasRemoved removes the index of the database's log under the
// server: a command that then removes a user makes another index, and the server
// does not see its commit.
func TestNoAccessAfterTheLogsIndexWasRemoved(t *testing.T) {
	data := t.TempDir()
	server := serve(t, "--dev", "--images", "off", "--data", data)
	secret := server.user(t, data, "user1", `"duration":1`)
	server.user(t, data, "user2", `"duration":1`)
	wantLogin := func(want int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; {
			a, err := trySendBasic(server.url+"/token?service=registryusers", "user1", secret)
			if err == nil && a.status == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("a login: got %d %s, %v; want %d soon", a.status, a.body, err, want)
			}
		}
	}
	wantLogin(200)
	if err := os.Remove(filepath.Join(data, "registryusers.db-shm")); err != nil {
		t.Fatal(err)
	}
	wantAdmin(t, data, "user", "rm", "user1", "--registry", "1")
	wantLogin(503)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	if a := send(t, "POST", server.users(), `{"name":"new","duration":1}`, isJSON, authorization); a.status != 503 || strings.Contains(a.body, data) {
		t.Errorf("a create: got %d %s, want 503, and no path", a.status, a.body)
	}
	server.stop(syscall.SIGTERM) // which must not remove what the command committed
	server = serve(t, "--images", "off", "--data", data)
	wantLogin(401)
	if out, err := admin(data, "user", "ls", "--registry", "1"); err != nil || !strings.Contains(out, "user2") || strings.Contains(out, "user1") {
		t.Errorf("the users: got %v\n%s, want user2 alone", err, out)
	}
}

// TestRemovedKeys moves the keys away under the server: the secret of a user
// who is created then would be lost with them.
func TestRemovedKeys(t *testing.T) {
	data := t.TempDir()
	server := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	keys := filepath.Join(data, "keys")
	create := func(when string, want int) {
		t.Helper()
		a := send(t, "POST", server.users(), `{"name":"new","duration":1}`, isJSON, authorization)
		if a.status != want || strings.Contains(a.body, data) {
			t.Errorf("a create %s: got %d %s, want %d, and no path", when, a.status, a.body, want)
		}
	}
	if err := os.Rename(keys, keys+".moved"); err != nil {
		t.Fatal(err)
	}
	create("without the keys", 503)
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(keys, "server.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	create("with another key", 503)
	if err := os.RemoveAll(keys); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(keys+".moved", keys); err != nil {
		t.Fatal(err)
	}
	create("with the keys put back", 201)
}

// wantProbes wants the statuses of /healthz and /readyz.
func wantProbes(t *testing.T, server *process, healthy, ready int) {
	t.Helper()
	for path, want := range map[string]int{"/healthz": healthy, "/readyz": ready} {
		if got := send(t, "GET", server.url+path, ""); got.status != want {
			t.Errorf("GET %s: got %d %s, want %d", path, got.status, got.body, want)
		}
	}
}

func TestDamagedDatabaseIsNotServed(t *testing.T) {
	data := t.TempDir()
	server := serve(t, "--dev", "--images", "off", "--data", data)
	for i := range 100 {
		server.user(t, data, fmt.Sprintf("u%d", i), `"duration":1`)
	}
	server.stop(syscall.SIGTERM)
	if out, err := admin(data, "check"); err != nil || out != "ok\n" {
		t.Errorf("admin check: got %v %q, want ok", err, out)
	}
	database := filepath.Join(data, "registryusers.db")
	whole, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(database, whole[:len(whole)-100], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "restore it from a backup") {
		t.Errorf("serve with 100 bytes cut off: got %v %s, want a refusal that says what to do", err, out)
	}
	changed := bytes.Clone(whole)
	page := int(bigendian.BigEndian.Uint16(changed[16:]))
	for at := 2 * page; at+page <= len(changed); at += page {
		copy(changed[at+page/2:], strings.Repeat("damage", 50))
	}
	if err := os.WriteFile(database, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := admin(data, "check"); err == nil || !strings.Contains(out, "damaged") {
		t.Errorf("admin check of a damaged database: got %v %q, want what is damaged", err, out)
	}
}

// TestUncleanStopIsChecked kills the server, and changes the database's file
// before the next start.
func TestUncleanStopIsChecked(t *testing.T) {
	data := t.TempDir()
	server := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	for i := range 300 {
		server.user(t, data, fmt.Sprintf("u%d", i), `"duration":1`)
	}
	server.stop(syscall.SIGTERM) // the database's file has it all
	// killed kills the server after a create that is in the log alone. A start
	// empties the log once, perhaps after the create: then it is done again.
	killed := func(name string) {
		t.Helper()
		for i := 0; ; i++ {
			server.user(t, data, fmt.Sprint(name, i), `"duration":1`)
			server.stop(os.Kill)
			if info, err := os.Stat(filepath.Join(data, "registryusers.db-wal")); err == nil && info.Size() > 0 {
				return
			}
			server = serve(t, "--images", "off", "--data", data)
		}
	}
	server = serve(t, "--images", "off", "--data", data)
	killed("last")
	server = serve(t, "--images", "off", "--data", data)
	server.waitForLog(t, "the database is in order")
	killed("more")

	database := filepath.Join(data, "registryusers.db")
	text, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(text)
	page := int(bigendian.BigEndian.Uint16(text[16:]))
	cleared := 0
	for at := page; at+page <= len(text); at += page { // the log has some of the others
		if bytes.Contains(text[at:at+page], []byte("u150")) {
			clear(text[at : at+page])
			cleared++
		}
	}
	if cleared == 0 {
		t.Fatal("the user u150 is not in the database's file")
	}
	if err := os.WriteFile(database, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server = serve(t, "--images", "off", "--data", data)
	server.waitForLog(t, "the database is damaged")
	a := send(t, "POST", server.users(), `{"name":"new","duration":1}`, isJSON, authorization)
	if a.status != 503 || strings.Contains(a.body, data) {
		t.Errorf("a create in a damaged database: got %d %s, want 503, and no path", a.status, a.body)
	}
	// Neither an orderly stop nor another process makes it whole.
	if out, err := admin(data, "key", "create"); err == nil || !strings.Contains(out, "damaged") {
		t.Errorf("admin key create in a damaged database: got %v %s, want a refusal", err, out)
	}
	server.stop(syscall.SIGTERM)
	server = serve(t, "--images", "off", "--data", data)
	if a := send(t, "POST", server.users(), `{"name":"new","duration":1}`, isJSON, authorization); a.status != 503 {
		t.Errorf("a create in a damaged database, after a restart: got %d %s, want 503", a.status, a.body)
	}
	server.stop(syscall.SIGTERM)
	if err := os.WriteFile(database, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	wantAdmin(t, data, "check")
	wantAdmin(t, data, "key", "create")
}

// TestUncleanStopOfAnIdleServerIsChecked kills a server whose log is empty, and
// changes the database's file before the next start. A command that has the
// database open in between does not hide how the server ended.
func TestUncleanStopOfAnIdleServerIsChecked(t *testing.T) {
	data := t.TempDir()
	server := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	for i := range 300 {
		server.user(t, data, fmt.Sprintf("u%d", i), `"duration":1`)
	}
	server.stop(syscall.SIGTERM)
	server = serve(t, "--images", "off", "--data", data)
	server.stop(os.Kill)
	database := filepath.Join(data, "registryusers.db")
	if info, err := os.Stat(database + "-wal"); err != nil || info.Size() != 0 {
		t.Fatalf("the log of an idle server: got %v, %v; want an empty file", info, err)
	}
	text, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	page := int(bigendian.BigEndian.Uint16(text[16:]))
	cleared := 0
	for at := page; at+page <= len(text); at += page {
		if bytes.Contains(text[at:at+page], []byte("u150")) {
			clear(text[at : at+page])
			cleared++
		}
	}
	if cleared == 0 {
		t.Fatal("the user u150 is not in the database's file")
	}
	if err := os.WriteFile(database, text, 0o600); err != nil {
		t.Fatal(err)
	}
	wantAdmin(t, data, "key", "ls")
	server = serve(t, "--images", "off", "--data", data)
	server.waitForLog(t, "the database is damaged")
	a := send(t, "POST", server.users(), `{"name":"new","duration":1}`, isJSON, authorization)
	if a.status != 503 {
		t.Errorf("a create in a damaged database: got %d %s, want 503", a.status, a.body)
	}
}

// A full disk is found out before a user is created whose login could not be kept.
func TestDockerConfigOnAFullDisk(t *testing.T) {
	dir, data := smallDisk(t, 1<<20), t.TempDir()
	server := serve(t, "--dev", "--images", "off", "--data", data)
	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte(`{"auths":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config+".lock", nil, 0o600); err != nil { // an earlier command left it
		t.Fatal(err)
	}
	fill(t, dir)
	create := exec.Command(binary, "user", "create", "user1", "--data", data, "--days", "1", "--docker-config", config)
	if out, err := create.CombinedOutput(); err == nil {
		t.Errorf("user create with a docker config on a full disk: got success, want an error\n%s", out)
	}
	if out, err := admin(data, "user", "ls", "--registry", "1"); err != nil || strings.Contains(out, "user1") {
		t.Errorf("the users: got %v\n%s, want none created", err, out)
	}
	server.stop(syscall.SIGTERM)
}
