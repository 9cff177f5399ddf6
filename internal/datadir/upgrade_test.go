package datadir

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
)

// firstVersion returns a copy of a data directory of the first version.
func firstVersion(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(path, os.DirFS("../../testdata/datadir/first/data")); err != nil {
		t.Fatal(err)
	}
	return path
}

// databaseVersion returns the version of a directory's database, as SQLite keeps it.
func databaseVersion(t *testing.T, path string) (version int) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(path, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

func setLockWait(t *testing.T, wait time.Duration) {
	before := lockWait
	t.Cleanup(func() { lockWait = before })
	lockWait = wait
}

// A running server of the previous version keeps working: the database is not upgraded while it is open.
func TestUpgradeBesideAnotherProcessIsRefused(t *testing.T) {
	setLockWait(t, 100*time.Millisecond)
	path := firstVersion(t)
	before := databaseVersion(t, path)
	unlock, err := lockShared(path) // like a process that has the directory open
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), path)
	if err == nil {
		_ = d.Close()
	}
	if !errors.Is(err, registryusers.ErrUnavailable) || !strings.Contains(err.Error(), path) ||
		!strings.Contains(err.Error(), "earlier version") || !strings.Contains(err.Error(), "stop the server") {
		t.Errorf("Open beside another process: %v; want %v, and what to do", err, registryusers.ErrUnavailable)
	}
	if got := databaseVersion(t, path); got != before {
		t.Errorf("the database has the version %d; want %d, as before", got, before)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}

	if d, err = Open(t.Context(), path); err != nil {
		t.Fatalf("Open, alone: %v", err)
	}
	defer d.Close()
	if got := databaseVersion(t, path); got <= before {
		t.Errorf("the database has the version %d after Open; want a later one than %d", got, before)
	}
	if registries, err := d.Accounts().Registries(t.Context()); err != nil || len(registries) == 0 {
		t.Errorf("Registries = %v, %v; want those of before", registries, err)
	}
	other, err := Open(t.Context(), path)
	if err != nil {
		t.Fatalf("Open beside a process that has upgraded: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if unlock, err := lockExclusive(path); err == nil {
		t.Errorf("an open directory that was upgraded is not locked: %v", unlock())
	}
}

// Of processes that start at the same time, one upgrades, and the others wait for it.
func TestConcurrentUpgrades(t *testing.T) {
	setLockWait(t, time.Minute) // for a busy machine
	path := firstVersion(t)
	dirs := make([]*Dir, 8)
	var group sync.WaitGroup
	for i := range dirs {
		group.Go(func() {
			var err error
			if dirs[i], err = Open(t.Context(), path); err != nil {
				t.Errorf("Open: %v", err)
			}
		})
	}
	group.Wait()
	for _, d := range dirs {
		if d == nil {
			continue
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
