package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// A data directory may have any name, also one that is a pattern or looks like
// a part of a URL.
func TestDataDirectoryWhoseNameIsAPattern(t *testing.T) {
	name := "a[b]*?#% c"
	if runtime.GOOS == "windows" {
		name = "a[b]#% c" // the others cannot be in a name
	}
	data := filepath.Join(t.TempDir(), name)
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "user1", `"duration":-1`)
	if got := login(t, p.url, "user1", secret); got != http.StatusOK {
		t.Errorf("login: %d; want 200", got)
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d; want 0", code)
	}
	p = serve(t, "--data", data)
	if got := login(t, p.url, "user1", secret); got != http.StatusOK {
		t.Errorf("login after a restart: %d; want 200", got)
	}
	if entries, err := os.ReadDir(filepath.Join(data, "keys")); err != nil || len(entries) != 2 {
		t.Errorf("keys/ holds %v, %v; want the server key and one token key", entries, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(data)); err != nil || len(entries) != 1 {
		t.Errorf("beside the data directory: %v, %v; want nothing", entries, err)
	}
}

// A damaged token key fails the start only if no other is left.
func TestDamagedTokenKey(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "user1", `"duration":-1`)
	p.stop(syscall.SIGTERM)
	bad := filepath.Join(data, "keys", "token-99999999999999999999.pem")
	if err := os.WriteFile(bad, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--data", data)
	if got := login(t, p.url, "user1", secret); got != http.StatusOK {
		t.Errorf("login beside a damaged token key: %d; want 200", got)
	}
	p.stop(syscall.SIGTERM)
	entries, err := os.ReadDir(filepath.Join(data, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if path := filepath.Join(data, "keys", entry.Name()); path != bad && entry.Name() != "server.json" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), bad) || !strings.Contains(string(out), "damaged: restore it from a backup") {
		t.Errorf("a start with only a damaged token key: %v, %s; want an error that names %s", err, out, bad)
	}
}
