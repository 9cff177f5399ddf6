package datadir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
)

// A crash after any step leaves the directory unchanged, or refused at the next open; the next
// restore then completes the work, and keeps the old files.
func TestRestoreThatIsInterrupted(t *testing.T) {
	build := func(t *testing.T, name string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "data")
		d, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Accounts().CreateRegistry(t.Context(), accounts.Administrator, 1, 1, name); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	registry := func(t *testing.T, path string) (name string, err error) {
		t.Helper()
		d, err := Open(t.Context(), path)
		if err != nil {
			return "", err
		}
		defer d.Close()
		registries, err := d.Accounts().Registries(t.Context())
		if err != nil || len(registries) != 1 {
			t.Fatalf("registries = %v, %v; want one", registries, err)
		}
		return registries[0].Name, nil
	}
	source, file := build(t, "backup"), filepath.Join(t.TempDir(), "backup.tar")
	d, err := Open(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	steps := len((&restore{}).steps())
	for done := range steps + 1 {
		t.Run(fmt.Sprintf("after %d of %d steps", done, steps), func(t *testing.T) {
			path := build(t, "old")
			r := &restore{dir: path, staged: filepath.Join(path, ".restore")}
			if err := r.unpack(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			for _, step := range r.steps()[:done] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			want := map[int]string{0: "old", steps: "backup"}[done]
			got, err := registry(t, path)
			if got != want || (err == nil) != (want != "") {
				t.Errorf("the directory has the registry %q, %v; want %q", got, err, want)
			}
			if err != nil && !strings.Contains(err.Error(), "run 'registryusers admin restore FILE' again") {
				t.Errorf("Open: %v; want an error that says what to do", err)
			}
			if _, err := OpenNew(t.Context(), path); err == nil {
				t.Error("OpenNew succeeded; want an error")
			}

			if _, err := Restore(t.Context(), path, file); err != nil {
				t.Fatal(err)
			}
			if got, err := registry(t, path); got != "backup" {
				t.Errorf("restored again: the registry %q, %v; want the backup's", got, err)
			}
			entries, err := os.ReadDir(path)
			if err != nil {
				t.Fatal(err)
			}
			kept := false
			for _, entry := range entries {
				if strings.HasPrefix(entry.Name(), beforePrefix) && done < steps {
					got, err := registry(t, filepath.Join(path, entry.Name()))
					kept = kept || err == nil && got == "old"
				}
			}
			if _, err := os.Stat(filepath.Join(path, ".restore")); err == nil {
				t.Error("what was unpacked is left behind")
			}
			if !kept && done < steps { // else the first restore kept it
				t.Errorf("%v: no file has the old database and keys", entries)
			}
		})
	}
}

// If a directory cannot be moved, such as a mount, nothing is changed.
func TestRestoreThatCannotMoveTheKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.tar")
	if err := d.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(path, keysName)
	if err := bindMount(keys); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	defer func() {
		if err := unmount(keys); err != nil {
			t.Error(err)
		}
	}()
	mark := filepath.Join(path, restoringName)
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if before, err := Restore(t.Context(), path, file); err == nil {
		t.Fatalf("Restore moved a mount to %s", before)
	}
	if err := os.Remove(mark); err != nil {
		t.Fatalf("the mark of an interrupted restore: %v; want it kept", err)
	}
	if before, err := Restore(t.Context(), path, file); err == nil {
		t.Fatalf("Restore moved a mount to %s", before)
	}
	if d, err = Open(t.Context(), path); err != nil {
		t.Fatalf("after a restore that failed: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, databaseName)); err != nil {
		t.Error(err)
	}
}

// The moves of the old files are synced before new files replace them, and all new files
// are synced before the mark of an unfinished restore is removed.
func TestMovesAreSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.tar")
	if err := d.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	has := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	var got []string
	defer func(sync func(string) error) { syncDir = sync }(syncDir)
	sync := syncDir
	syncDir = func(dir string) error {
		name := "data"
		if dir != path {
			name, _, _ = strings.Cut(filepath.Base(dir), "-2")
		}
		for _, part := range []string{databaseName, keysName, restoringName} {
			if has(filepath.Join(dir, part)) {
				name += " " + part
			}
		}
		got = append(got, name)
		return sync(dir)
	}
	if _, err := Restore(t.Context(), path, file); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"before-restore registryusers.db keys", "data restore-in-progress",
		"before-restore registryusers.db keys", "data registryusers.db keys restore-in-progress",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the syncs %q, want %q", got, want)
	}
}
