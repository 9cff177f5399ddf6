package main

import (
	"context"
	"fmt"
	"net/http"
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

// A backup succeeds while users are created, and has all of those that existed
// when it began. The restored server has these and no later ones, although the
// previous one was killed and left its log.
func TestBackupWhileUsersAreCreated(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "backup.tar")
	p := serve(t, "--dev", "--data", data)
	key := readDev(t, data).APIKey

	type user struct{ name, secret string }
	var (
		mu      sync.Mutex
		created []user
		stopped atomic.Bool
		clients sync.WaitGroup
	)
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(created)
	}
	enough := make(chan struct{}, 1) // a signal for each 100 users
	for i := range 4 {
		clients.Go(func() {
			for n := 0; n < 20_000 && !stopped.Load(); n++ {
				name := fmt.Sprintf("u%dx%d", i, n)
				a, err := trySend(http.MethodPost, p.users(), fmt.Sprintf(`{"name":%q,"duration":-1}`, name), isJSON, "Authorization: apikey "+key)
				if err != nil || a.status != http.StatusCreated {
					t.Errorf("create: %d %s, %v; want 201", a.status, a.body, err)
					return
				}
				mu.Lock()
				created = append(created, user{name, a.fields.Secret})
				isEnough := len(created)%100 == 0
				mu.Unlock()
				if isEnough {
					select {
					case enough <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	wait := func() {
		t.Helper()
		select {
		case <-enough:
		case <-time.After(time.Minute):
			t.Fatal("no users are created")
		}
	}
	wait()
	before, start := count(), time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "admin", "--data", data, "backup", file).CombinedOutput()
	took, during := time.Since(start), count()-before
	if err != nil {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "Images are separate") || !strings.Contains(string(out), filepath.Join(data, "images")) {
		t.Errorf("backup printed %q; want that images are separate, and where they are", out)
	}
	if rate := float64(during) / took.Seconds(); rate < 50 {
		t.Errorf("%.0f creates a second during the backup; want at least 50", rate)
	}
	t.Logf("the backup took %v, with %d creates meanwhile", took, during)
	after := count()
	wait() // for users created after the backup
	wait()
	stopped.Store(true)
	clients.Wait()
	if t.Failed() {
		return
	}

	restore := func() (int, string) {
		cmd := exec.Command(binary, "admin", "--data", data, "restore", file)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if code, out := restore(); code != 6 || !strings.Contains(out, "stop the server") {
		t.Errorf("restore beside a server: exit code %d, %s; want 6, and to stop it", code, out)
	}
	p.stop(os.Kill)
	if info, err := os.Stat(filepath.Join(data, "registryusers.db-wal")); err != nil || info.Size() == 0 {
		t.Fatalf("the killed server left no log to test with: %v", err)
	}
	if code, out := restore(); code != 0 || !strings.Contains(out, "before-restore-") {
		t.Fatalf("restore: exit code %d, %s; want 0, and where the database from before is", code, out)
	}
	p = serve(t, "--data", data)
	for i := 0; i < before; i += max(1, before/20) {
		if got := login(t, p.url, created[i].name, created[i].secret); got != http.StatusOK {
			t.Errorf("login of a user from before the backup: %d; want 200", got)
		}
	}
	last := created[len(created)-1]
	if got := login(t, p.url, last.name, last.secret); got != http.StatusUnauthorized {
		t.Errorf("login of user %d, the backup had %d at most: %d; want 401", len(created), after+4, got)
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d; want 0", code)
	}
}
