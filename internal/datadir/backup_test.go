package datadir_test

import (
	"archive/tar"
	"bytes"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/keys"
)

// addRegistry opens a data directory, creates a registry, and closes it.
func addRegistry(t *testing.T, path, name string) {
	t.Helper()
	d := open(t, path)
	defer closeDir(t, d)
	if _, err := d.Accounts().CreateRegistry(t.Context(), accounts.Administrator, 1, 1, name); err != nil {
		t.Fatal(err)
	}
}

// registries returns the names of a data directory's registries.
func registries(t *testing.T, path string) []string {
	t.Helper()
	d := open(t, path)
	defer closeDir(t, d)
	found, err := d.Accounts().Registries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range found {
		names = append(names, r.Name)
	}
	return names
}

// backup backs a data directory up to a new file and returns its path.
func backup(t *testing.T, path string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup.tar")
	d := open(t, path)
	defer closeDir(t, d)
	if err := d.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	return file
}

// entry is a file in a backup.
type entry struct {
	header tar.Header
	data   []byte
}

func readBackup(t *testing.T, file string) []entry {
	t.Helper()
	archive := tar.NewReader(bytes.NewReader(readFile(t, file)))
	var entries []entry
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{*header, data})
	}
}

func writeBackup(t *testing.T, entries []entry) string {
	t.Helper()
	var text bytes.Buffer
	archive := tar.NewWriter(&text)
	for _, e := range entries {
		e.header.Size = int64(len(e.data))
		if err := archive.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.tar")
	writeFile(t, file, text.Bytes())
	return file
}

func TestBackup(t *testing.T) {
	path := newDir(t)
	addRegistry(t, path, "demo")
	writeFile(t, filepath.Join(path, "keys", "token-1.pem"), []byte("a token key"))
	writeFile(t, filepath.Join(path, "keys", "notes.txt"), []byte("no key"))
	file := backup(t, path)
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("the backup has the mode %v, %v; want 0600", info.Mode(), err)
	}
	var names []string
	for _, e := range readBackup(t, file) {
		names = append(names, e.header.Name)
		if e.header.Mode != 0o600 {
			t.Errorf("%s has the mode %o; want 0600", e.header.Name, e.header.Mode)
		}
	}
	if want := []string{"keys/server.json", "keys/token-1.pem", dbFile}; !slices.Equal(names, want) {
		t.Errorf("the backup has %q; want %q", names, want)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside the backup: %v, %v; want nothing", entries, err)
	}

	before := readFile(t, file)
	d := open(t, path)
	defer closeDir(t, d)
	if err := d.Backup(t.Context(), file); !errors.Is(err, fs.ErrExist) || !bytes.Equal(readFile(t, file), before) {
		t.Errorf("Backup to a file that exists: %v; want %v, and the file as it was", err, fs.ErrExist)
	}
	missing := filepath.Join(t.TempDir(), "missing", "backup.tar")
	if err := d.Backup(t.Context(), missing); err == nil || !strings.Contains(err.Error(), filepath.Dir(missing)) {
		t.Errorf("Backup to a directory that is not there: %v; want an error that names it", err)
	}
}

func TestRestore(t *testing.T) {
	path := newDir(t)
	addRegistry(t, path, "one")
	writeFile(t, filepath.Join(path, "keys", "token-1.pem"), []byte("a token key"))
	file := backup(t, path)
	key := readFile(t, filepath.Join(path, keyFile))
	addRegistry(t, path, "two")
	writeFile(t, filepath.Join(path, "keys", "token-2.pem"), []byte("another"))

	other := newDir(t) // with another key
	addRegistry(t, other, "three")
	for what, test := range map[string]struct {
		path   string
		before []string // registries
	}{
		"in place":                         {path, []string{"one", "two"}},
		"over another data directory":      {other, []string{"three"}},
		"into a directory that is missing": {filepath.Join(t.TempDir(), "a", "new"), nil},
	} {
		t.Run(what, func(t *testing.T) {
			before, err := datadir.Restore(t.Context(), test.path, file)
			if err != nil {
				t.Fatal(err)
			}
			if got := registries(t, test.path); !slices.Equal(got, []string{"one"}) {
				t.Errorf("registries: %q; want those of the backup", got)
			}
			if got := readFile(t, filepath.Join(test.path, keyFile)); !bytes.Equal(got, key) {
				t.Errorf("the server key is %s; want the backup's", got)
			}
			entries, err := os.ReadDir(filepath.Join(test.path, "keys"))
			if err != nil || len(entries) != 2 {
				t.Errorf("keys/ holds %v, %v; want those of the backup", entries, err)
			}
			if test.before == nil {
				if before != "" {
					t.Errorf("Restore returns %s as the place of the old files; want none", before)
				}
				return
			}
			if got := registries(t, before); !slices.Equal(got, test.before) {
				t.Errorf("registries in %s: %q; want those from before, %q", before, got, test.before)
			}
		})
	}
}

// A killed server leaves a log. Beside a restored database, SQLite would replay it
// into the database.
func TestRestoreBesideAnOldLog(t *testing.T) {
	path := newDir(t)
	addRegistry(t, path, "one")
	file := backup(t, path)
	d := open(t, path)
	for _, name := range []string{"two", "three"} {
		if _, err := d.Accounts().CreateRegistry(t.Context(), accounts.Administrator, 1, 1, name); err != nil {
			t.Fatal(err)
		}
	}
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	closeDir(t, d)
	info, err := os.Stat(filepath.Join(killed, dbFile+"-wal"))
	if err != nil || info.Size() == 0 {
		t.Fatalf("there is no log to test with: %v", err)
	}
	writeFile(t, filepath.Join(killed, dbFile+"-journal"), []byte("an old journal"))

	before, err := datadir.Restore(t.Context(), killed, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Stat(filepath.Join(killed, dbFile+suffix)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is beside the restored database: %v", dbFile+suffix, err)
		}
	}
	if got := registries(t, killed); !slices.Equal(got, []string{"one"}) {
		t.Errorf("registries: %q; want those of the backup", got)
	}
	if err := os.Remove(filepath.Join(before, dbFile+"-journal")); err != nil {
		t.Error(err)
	}
	if got := registries(t, before); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("registries in %s: %q; want all from before, those of the log too", before, got)
	}
}

func TestRestoreIsAlone(t *testing.T) {
	path := newDir(t)
	file := backup(t, path)
	d := open(t, path)
	for range 2 {
		if _, err := datadir.Restore(t.Context(), path, file); !errors.Is(err, registryusers.ErrUnavailable) || !strings.Contains(err.Error(), "open in another process") {
			t.Errorf("Restore into an open data directory: %v; want %v", err, registryusers.ErrUnavailable)
		}
	}
	closeDir(t, d)
	if _, err := datadir.Restore(t.Context(), path, file); err != nil {
		t.Error(err)
	}
}

func TestRestoreOfABadBackup(t *testing.T) {
	path := newDir(t)
	addRegistry(t, path, "one")
	valid := readBackup(t, backup(t, path))
	key, database := valid[0], valid[1]
	foreign := readBackup(t, backup(t, newDir(t)))[0]
	change := func(e entry, change func(*entry)) entry {
		e.data = bytes.Clone(e.data)
		change(&e)
		return e
	}
	named := func(name string) entry { return change(key, func(e *entry) { e.header.Name = name }) }
	newer := filepath.Join(t.TempDir(), "newer.db")
	writeFile(t, newer, database.data)
	db, err := sql.Open("sqlite", newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		entries []entry
		want    string
	}{
		"nothing":           {nil, "no database"},
		"no database":       {[]entry{key}, "no database"},
		"no server key":     {[]entry{database}, "no server key"},
		"another key":       {[]entry{foreign, database}, "was created with the key"},
		"a damaged key":     {[]entry{change(key, func(e *entry) { e.data = e.data[1:] }), database}, "the file is damaged"},
		"an empty database": {[]entry{key, change(database, func(e *entry) { e.data = nil })}, "damaged"},
		"garbage":           {[]entry{key, change(database, func(e *entry) { e.data = []byte("garbage") })}, "damaged"},
		"a cut database":    {[]entry{key, change(database, func(e *entry) { e.data = e.data[:len(e.data)-4096] })}, "damaged"},
		"a damaged page": {[]entry{key, change(database, func(e *entry) {
			copy(e.data[2*4096:], bytes.Repeat([]byte{0xff}, 4096))
		})}, "damaged"},
		"a newer database": {[]entry{key, change(database, func(e *entry) { e.data = readFile(t, newer) })}, "newer version"},
		"twice the key":    {[]entry{key, key, database}, "twice"},
		"a large key":      {[]entry{change(key, func(e *entry) { e.data = make([]byte, 64<<10+1) }), database}, "65537 bytes"},
		"another file":     {[]entry{key, named("dev.json"), database}, `"dev.json"`},
		"a path upwards":   {[]entry{key, named("../token-1.pem"), database}, `"../token-1.pem"`},
		"a path up a key":  {[]entry{key, named("keys/token-/../../../1.pem"), database}, "entry"},
		"an absolute path": {[]entry{key, named("/keys/token-1.pem"), database}, `"/keys/token-1.pem"`},
		"a backslash":      {[]entry{key, named(`keys/token-\..\1.pem`), database}, "entry"},
		"a link": {[]entry{change(key, func(e *entry) {
			e.header.Typeflag, e.header.Linkname, e.data = tar.TypeSymlink, "/etc/passwd", nil
		}), database}, "entry"},
		"a directory": {[]entry{{header: tar.Header{Typeflag: tar.TypeDir, Name: "keys/"}}, key, database}, "entry"},
		"many keys":   {append(slices.Repeat([]entry{key}, 1), manyKeys(1000)...), "more than 1000"},
	} {
		t.Run(what, func(t *testing.T) { wantRestoreError(t, path, writeBackup(t, test.entries), test.want) })
	}
	complete := readFile(t, writeBackup(t, valid))
	for what, text := range map[string][]byte{
		"no archive":   []byte(strings.Repeat("no archive ", 1000)),
		"cut":          complete[:len(complete)/2],
		"cut a little": complete[:len(complete)-4096],
		"a header":     complete[:512],
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "backup.tar")
			writeFile(t, file, text)
			wantRestoreError(t, path, file, "damaged or was not written by")
		})
	}
	t.Run("missing", func(t *testing.T) { wantRestoreError(t, path, filepath.Join(path, "missing.tar"), "missing.tar") })
}

func manyKeys(n int) []entry {
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{header: tar.Header{Typeflag: tar.TypeReg, Name: "keys/token-" + strings.Repeat("0", i%50) + string(rune('a'+i/50)) + ".pem"}}
	}
	return entries
}

// wantRestoreError checks that Restore fails with the word and changes nothing.
func wantRestoreError(t *testing.T, path, file, word string) {
	t.Helper()
	before := snapshot(t, path)
	database := readFile(t, filepath.Join(path, dbFile))
	if _, err := datadir.Restore(t.Context(), path, file); err == nil || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), file) {
		t.Errorf("Restore: %v; want an error with %q that names %s", err, word, file)
	} else if strings.Contains(err.Error(), "\n") {
		t.Errorf("Restore: %q; want one line", err)
	}
	after := snapshot(t, path)
	if len(after) != len(before) || !bytes.Equal(readFile(t, filepath.Join(path, dbFile)), database) {
		t.Errorf("Restore, which failed, changed the directory from %v to %v", before, after)
	}
	for name, data := range before {
		if after[name] != data {
			t.Errorf("Restore, which failed, changed %s", name)
		}
	}
}

// The key that signs tokens is the same after a restore: an outside registry may
// have no other.
func TestBackupKeepsTheKeyThatSigns(t *testing.T) {
	path, file := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup.tar")
	d := open(t, path)
	logger := slog.New(slog.DiscardHandler)
	files, err := keys.OpenTokenKeys(d.Keys.Dir, logger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.Add(); err != nil { // it does not sign
		t.Fatal(err)
	}
	_, want, err := files.IDs()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	closeDir(t, d)
	other := filepath.Join(t.TempDir(), "other")
	if _, err := datadir.Restore(t.Context(), other, file); err != nil {
		t.Fatal(err)
	}
	restored, err := keys.OpenTokenKeys(filepath.Join(other, "keys"), logger)
	if err != nil {
		t.Fatal(err)
	}
	if ids, signing, err := restored.IDs(); err != nil || signing != want || len(ids) != 2 {
		t.Errorf("restored: the keys %q, of which %s signs, %v; want two, of which %s signs", ids, signing, err, want)
	}
}
