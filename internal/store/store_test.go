package store_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store"
)

func open(t *testing.T, url string) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatalf("Open(%q): %v", url, err)
	}
	return s
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A path is not parsed as a URL: it has no escapes, query or fragment.
func TestOpenTakesAPathAsItIs(t *testing.T) {
	names := []string{"plain.db", "a b.db", "a#b.db", "a%b.db", "a%20b.db", "a%3fb.db", "a+b&c=d.db", "ü\u2028.db", "[a].db", "'a'.db"}
	if runtime.GOOS != "windows" {
		names = append(names, "a?b.db", "a?mode=memory", `a\b.db`, `"a".db`, "a:b.db", ":memory:", "file:a.db", "a\nb.db", "a*.db")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			s := open(t, "sqlite:"+path)
			if _, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 1, RegionID: 1, Name: "demo"}, nil); err != nil {
				t.Fatal(err)
			}
			backup := path + ".backup"
			if err := s.Backup(t.Context(), backup); err != nil {
				t.Errorf("Backup: %v", err)
			} else if _, err := store.CheckBackup(t.Context(), "sqlite:"+backup); err != nil {
				t.Errorf("CheckBackup: %v", err)
			}
			closeStore(t, s)
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, entry := range entries {
				if entry.Name() != "ballast" {
					got = append(got, entry.Name())
				}
			}
			if len(got) != 2 || got[0] != name || got[1] != name+".backup" {
				t.Errorf("files: got %q, want the database %q and its backup only", got, name)
			}
			s = open(t, "sqlite:"+path)
			defer closeStore(t, s)
			if all, _, err := s.Registries(t.Context(), accounts.Page{Limit: 9}); err != nil || len(all) != 1 {
				t.Errorf("opened again: got %v, %v, want the registry that was created", all, err)
			}
		})
	}
}

func TestOpenTakesARelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	closeStore(t, open(t, "sqlite:data.db"))
	if _, err := os.Stat("data.db"); err != nil {
		t.Error(err)
	}
}

func TestEachOpenInMemoryHasItsOwnDatabase(t *testing.T) {
	t.Chdir(t.TempDir())
	first, second := open(t, "sqlite::memory:"), open(t, "sqlite::memory:")
	defer closeStore(t, first)
	defer closeStore(t, second)
	if _, err := first.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 1, RegionID: 1, Name: "demo"}, nil); err != nil {
		t.Fatal(err)
	}
	if all, _, err := second.Registries(t.Context(), accounts.Page{Limit: 9}); err != nil || len(all) != 0 {
		t.Errorf("the second database: got %v, %v, want no registry", all, err)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("files: got %v, %v, want none", entries, err)
	}
}

func TestOpenRefusesOtherURLs(t *testing.T) {
	for _, url := range []string{"", "sqlite", "sqlite:", "data.db", "/data.db", "SQLITE:data.db", "postgres://user:word@host/db", ":memory:"} {
		s, err := store.Open(t.Context(), url)
		if err == nil || s != nil || !strings.Contains(err.Error(), "sqlite:PATH") || !strings.Contains(err.Error(), "sqlite::memory:") || strings.Contains(err.Error(), "word") {
			t.Errorf("Open(%q): got %v, %v, want an error that names the URLs there are, and not this one", url, s, err)
		}
	}
}

func TestUpgradeAndCheckBackupRefuseOtherURLs(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, url := range []string{"", "data.db", "postgres://user:word@host/db", "sqlite::memory:"} {
		if err := store.Upgrade(t.Context(), url); err == nil || !strings.Contains(err.Error(), "sqlite:PATH") {
			t.Errorf("Upgrade(%q): got %v, want an error that names the URLs there are", url, err)
		}
		if _, err := store.CheckBackup(t.Context(), url); err == nil || !strings.Contains(err.Error(), "sqlite:PATH") {
			t.Errorf("CheckBackup(%q): got %v, want an error that names the URLs there are", url, err)
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("files: got %v, %v, want none", entries, err)
	}
}

func TestOpenReturnsNoStoreWithAnError(t *testing.T) {
	if s, err := store.Open(t.Context(), "sqlite:"+t.TempDir()); err == nil || s != nil {
		t.Errorf("Open of a directory: got %v, %v, want only an error", s, err)
	}
}
