package datadir_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/store/sqlite"
)

const (
	dbFile  = "registryusers.db"
	keyFile = "keys/server.json"
)

func open(t *testing.T, path string) *datadir.Dir {
	t.Helper()
	d, err := datadir.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeDir(t *testing.T, d *datadir.Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// newDir creates an empty data directory, and closes it.
func newDir(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	closeDir(t, open(t, path))
	return path
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// key is a server key file.
type key struct {
	ID  string `json:"id"`
	Key []byte `json:"key"`
}

func readKey(t *testing.T, path string) key {
	t.Helper()
	var k key
	if err := json.Unmarshal(readFile(t, filepath.Join(path, keyFile)), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// index is the keyed hash under which a generated secret is stored. It is spelled
// out here because it must never change: stored secrets would stop working.
func index(k key, secret registryusers.SecretText) []byte {
	h := hmac.New(sha256.New, k.Key)
	h.Write([]byte("user secret\x00" + secret.Reveal()))
	return h.Sum(nil)
}

func TestFirstOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "new", "place")
	d := open(t, path)
	defer closeDir(t, d)
	if d.Path != path {
		t.Errorf("Path = %q; want %q", d.Path, path)
	}
	for name, want := range map[string]fs.FileMode{
		".":     fs.ModeDir | 0o700,
		"keys":  fs.ModeDir | 0o700,
		keyFile: 0o600,
		dbFile:  0o600,
	} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode(); got != want && runtime.GOOS != "windows" {
			t.Errorf("%s has the mode %v; want %v", name, got, want)
		}
	}
	if k := readKey(t, path); k.ID == "" || len(k.Key) != 32 || bytes.Equal(k.Key, make([]byte, 32)) {
		t.Errorf("the key file holds the id %q and %d bytes; want an id and 32 random bytes", k.ID, len(k.Key))
	}
	entries, err := os.ReadDir(filepath.Join(path, "keys"))
	if err != nil || len(entries) != 1 {
		t.Errorf("keys/ holds %v, %v; want server.json alone", entries, err)
	}
	if other := readKey(t, newDir(t)); bytes.Equal(other.Key, readKey(t, path).Key) || other.ID == readKey(t, path).ID {
		t.Error("two directories have the same key")
	}
}

func TestReopenHasTheSameKeyAndAccounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := open(t, path)
	r, err := d.Accounts().CreateRegistry(t.Context(), accounts.Administrator, 1, 1, "demo")
	if err != nil {
		t.Fatal(err)
	}
	at := accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: r.ID}
	u, err := d.Accounts().CreateUser(t.Context(), accounts.APIKey{}, at, "", accounts.NewUser{Name: "u", Duration: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := d.Accounts().CreateAPIKey(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	closeDir(t, d)
	before := readFile(t, filepath.Join(path, keyFile))

	d = open(t, path)
	defer closeDir(t, d)
	if after := readFile(t, filepath.Join(path, keyFile)); !bytes.Equal(after, before) {
		t.Error("opening again changed the key file")
	}
	if got, err := d.Accounts().User(t.Context(), accounts.Administrator, r.Ref(), "u"); err != nil || got.ID != u.ID {
		t.Errorf("User after opening again = %+v, %v; want %+v", got, err, u)
	}
	if _, err := d.Accounts().Authenticate(t.Context(), token); err != nil {
		t.Errorf("Authenticate after opening again: %v", err)
	}
	if got := index(readKey(t, path), u.Secret); !bytes.Equal(got, u.Verifier.Index) {
		t.Errorf("the secret's index under the file's key is %x; want %x, as it was stored", got, u.Verifier.Index)
	}
}

// A repeat gets the same response from a copy of the directory: the copy has the
// server key and the database.
func TestRepeatOnACopyOfTheDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := open(t, path)
	r, err := d.Accounts().CreateRegistry(t.Context(), accounts.Administrator, 1, 1, "demo")
	if err != nil {
		t.Fatal(err)
	}
	caller, at := accounts.APIKey{ID: 1}, accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: r.ID}
	requests := []accounts.NewUser{
		{Name: "generated", Duration: 1},
		{Name: "custom", Duration: 1, Secret: registryusers.NewSecretText("custom")},
	}
	var firsts []accounts.CreatedUser
	for _, n := range requests {
		first, err := d.Accounts().CreateUser(t.Context(), caller, at, n.Name, n)
		if err != nil {
			t.Fatal(err)
		}
		firsts = append(firsts, first)
	}
	closeDir(t, d)
	copied := filepath.Join(t.TempDir(), "copied")
	if err := os.CopyFS(copied, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	for what, place := range map[string]string{"after a restart": path, "on a copy": copied} {
		d := open(t, place)
		defer closeDir(t, d)
		for i, n := range requests {
			got, err := d.Accounts().CreateUser(t.Context(), caller, at, n.Name, n)
			want := firsts[i]
			if err != nil || !got.Replayed || got.ID != want.ID || got.CreatedAt != want.CreatedAt || got.ExpiresAt != want.ExpiresAt || got.Secret.Reveal() != want.Secret.Reveal() {
				t.Errorf("%s: %s: %+v, %v, replayed %t; want the first response, %+v, and its secret", what, n.Name, got, err, got.Replayed, want)
			}
		}
	}
}

// wantOpenError checks that Open fails with all of the words, and that no
// file under the path is changed, removed or new.
func wantOpenError(t *testing.T, path string, words ...string) error {
	t.Helper()
	before := snapshot(t, path)
	d, err := datadir.Open(t.Context(), path)
	if err == nil {
		closeDir(t, d)
		t.Fatalf("Open(%s) succeeded; want an error with %q", path, words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("Open: %v; want %q in it", err, word)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("Open: %q; want one line", err)
	}
	after := snapshot(t, path)
	for name, data := range before {
		if got, ok := after[name]; !ok || got != data {
			t.Errorf("Open, which failed, changed %s", name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("Open, which failed, left %s behind", name)
		}
	}
	return err
}

// snapshot returns the content of the files under path; for a database, which every
// open may change, only that it exists.
func snapshot(t *testing.T, path string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case strings.HasPrefix(entry.Name(), dbFile):
			files[name] = "database"
		case entry.Type().IsRegular():
			files[name] = string(readFile(t, name))
		default:
			files[name] = entry.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestLostKey(t *testing.T) {
	path := newDir(t)
	id := readKey(t, path).ID
	if err := os.Remove(filepath.Join(path, keyFile)); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, path, filepath.Join(path, keyFile), id, "lost", "restore", "backup")
	wantOpenError(t, path, "lost") // and again: nothing was created in its place

	if err := os.RemoveAll(filepath.Join(path, "keys")); err != nil {
		t.Fatal(err)
	}
	if d, err := datadir.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("Open without keys/ = %v, %v; want an error with the word lost", d, err)
	}
}

func TestDamagedKey(t *testing.T) {
	valid := readFile(t, filepath.Join(newDir(t), keyFile))
	secret := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 31))
	for name, data := range map[string]string{
		"empty":          "",
		"cut":            string(valid[:len(valid)/2]),
		"bytes after":    string(valid) + "x",
		"zeros":          string(make([]byte, len(valid))),
		"null":           "null",
		"no fields":      "{}",
		"no key":         `{"id":"x"}`,
		"no id":          `{"key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}`,
		"short key":      `{"id":"x","key":"` + secret + `"}`,
		"long key":       `{"id":"x","key":"` + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 33)) + `"}`,
		"not base64":     `{"id":"x","key":"!"}`,
		"another's type": `{"id":1,"key":"` + secret + `"}`,
	} {
		for _, dir := range []string{"known", "new"} {
			t.Run(name+", "+dir+" database", func(t *testing.T) {
				path := newDir(t)
				writeFile(t, filepath.Join(path, keyFile), []byte(data))
				if dir == "new" {
					if err := os.Remove(filepath.Join(path, dbFile)); err != nil {
						t.Fatal(err)
					}
					d, err := datadir.OpenNew(t.Context(), path)
					if err == nil {
						closeDir(t, d)
						t.Fatal("Open succeeded")
					}
					if got := readFile(t, filepath.Join(path, keyFile)); string(got) != data {
						t.Errorf("Open replaced the damaged key by %q", got)
					}
				}
				err := wantOpenError(t, path, filepath.Join(path, keyFile), "damaged", "restore", "backup")
				if strings.Contains(err.Error(), secret) {
					t.Errorf("Open: %v; want no part of the key in it", err)
				}
			})
		}
	}
}

func TestKeyOfAnotherDirectory(t *testing.T) {
	path, other := newDir(t), newDir(t)
	mine, others := readKey(t, path), readKey(t, other)
	writeFile(t, filepath.Join(path, keyFile), readFile(t, filepath.Join(other, keyFile)))
	err := wantOpenError(t, path, filepath.Join(path, keyFile), mine.ID, others.ID, "restore", "backup")
	for _, k := range []key{mine, others} {
		if strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(k.Key)) {
			t.Errorf("Open: %v; want no key in it", err)
		}
	}
}

// lostDatabases are ways to lose the database of a directory that has keys.
func lostDatabases(t *testing.T) map[string]string {
	t.Helper()
	database := func(path string) string { return filepath.Join(path, dbFile) }
	paths := make(map[string]string)
	for what, lose := range map[string]func(path string) error{
		"removed": func(path string) error { return os.Remove(database(path)) },
		"emptied": func(path string) error { return os.Truncate(database(path), 0) },
		"removed, its log left": func(path string) error {
			return errors.Join(os.Remove(database(path)), os.WriteFile(database(path)+"-wal", []byte("log"), 0o600))
		},
		"emptied, its log left": func(path string) error {
			return errors.Join(os.Truncate(database(path), 0), os.WriteFile(database(path)+"-wal", []byte("log"), 0o600))
		},
		"removed, a token key left": func(path string) error {
			keys := filepath.Join(path, "keys")
			return errors.Join(os.Remove(database(path)), os.Rename(filepath.Join(keys, "server.json"), filepath.Join(keys, "token-1.pem")))
		},
	} {
		paths[what] = newDir(t)
		if err := lose(paths[what]); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

func TestLostDatabase(t *testing.T) {
	for what, path := range lostDatabases(t) {
		t.Run(what, func(t *testing.T) {
			wantOpenError(t, path, path, dbFile, "lost", "admin restore", "--new-database")
			wantOpenError(t, path, "lost") // and again: nothing was created in its place
			if !datadir.Exists(path) {
				t.Error("Exists says that there is no data directory")
			}
		})
	}
}

func TestNewDatabase(t *testing.T) {
	for what, path := range lostDatabases(t) {
		t.Run(what, func(t *testing.T) {
			before := snapshot(t, filepath.Join(path, "keys"))
			d, err := datadir.OpenNew(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if registries, err := d.Accounts().Registries(t.Context()); err != nil || len(registries) != 0 {
				t.Errorf("Registries = %v, %v; want none", registries, err)
			}
			closeDir(t, d)
			for name, data := range before {
				if after := snapshot(t, filepath.Join(path, "keys")); after[name] != data {
					t.Errorf("OpenNew changed %s", name)
				}
			}
			closeDir(t, open(t, path))
		})
	}
	path := filepath.Join(t.TempDir(), "new") // one without keys needs no backup
	d, err := datadir.OpenNew(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	closeDir(t, d)
	if d, err := datadir.OpenNew(t.Context(), path); err == nil || !strings.Contains(err.Error(), "without --new-database") {
		t.Errorf("OpenNew where a database is = %v, %v; want an error", d, err)
	}
}

func TestExists(t *testing.T) {
	path := t.TempDir()
	if err := os.Mkdir(filepath.Join(path, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if datadir.Exists(path) || datadir.Exists(filepath.Join(path, "missing")) {
		t.Error("Exists of an empty directory; want false")
	}
	if !datadir.Exists(newDir(t)) {
		t.Error("Exists of a data directory is false")
	}
}

func TestDamagedDatabase(t *testing.T) {
	path := newDir(t)
	writeFile(t, filepath.Join(path, dbFile), bytes.Repeat([]byte("garbage "), 2048))
	wantOpenError(t, path, filepath.Join(path, dbFile), "damaged", "restore", "backup")
}

func TestUnusablePath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	t.Run("a file", func(t *testing.T) { wantOpenError(t, file, file, "data directory", "cannot be created") })
	t.Run("under a file", func(t *testing.T) {
		path := filepath.Join(file, "data")
		wantOpenError(t, file, file)
		if _, err := datadir.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%s): %v; want an error that names it", path, err)
		}
	})
	t.Run("keys is a file", func(t *testing.T) {
		path := t.TempDir()
		writeFile(t, filepath.Join(path, "keys"), nil)
		wantOpenError(t, path, path, "keys", "cannot be created")
	})
	t.Run("the key is a directory", func(t *testing.T) {
		path := newDir(t)
		if err := os.Remove(filepath.Join(path, keyFile)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(path, keyFile), 0o700); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, path, filepath.Join(path, keyFile), "cannot be read")
	})
	sealed := func(t *testing.T, path string) {
		if os.Geteuid() == 0 {
			t.Skip("root may write everywhere")
		}
		if err := os.Chmod(path, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(path, 0o700) })
	}
	t.Run("not writable", func(t *testing.T) {
		path := t.TempDir()
		sealed(t, path)
		wantOpenError(t, path, path, "permission denied")
	})
	t.Run("keys not writable", func(t *testing.T) {
		path := t.TempDir()
		if err := os.Mkdir(filepath.Join(path, "keys"), 0o700); err != nil {
			t.Fatal(err)
		}
		sealed(t, filepath.Join(path, "keys"))
		if _, err := datadir.Open(t.Context(), path); err == nil ||
			!strings.Contains(err.Error(), filepath.Join(path, "keys")) || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("Open: %v; want an error that names keys and says permission denied", err)
		}
	})
}

func TestConcurrentFirstOpensAgreeOnOneKey(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "data")
		dirs := make([]*datadir.Dir, 8)
		errs := make([]error, len(dirs))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range dirs {
			wg.Go(func() {
				<-start
				dirs[i], errs[i] = datadir.Open(t.Context(), path)
			})
		}
		close(start)
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("Open %d: %v", i, err)
				continue
			}
			defer closeDir(t, dirs[i])
		}
		if t.Failed() {
			return
		}
		entries, err := os.ReadDir(filepath.Join(path, "keys"))
		if err != nil || len(entries) != 1 {
			t.Errorf("keys/ holds %v, %v; want server.json alone", entries, err)
		}

		// All of them have the server key of the database.
		store, err := sqlite.Open(t.Context(), filepath.Join(path, dbFile))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if id, err := store.ServerKeyID(t.Context()); err != nil || id != readKey(t, path).ID {
			t.Errorf("the database was created with the key %q, %v; want the file's, %q", id, err, readKey(t, path).ID)
		}
		r, err := dirs[0].Accounts().CreateRegistry(t.Context(), accounts.Administrator, 1, 1, "demo")
		if err != nil {
			t.Fatal(err)
		}
		at := accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: r.ID}
		k := readKey(t, path)
		for i, d := range dirs {
			name := string(rune('a' + i))
			u, err := d.Accounts().CreateUser(t.Context(), accounts.APIKey{}, at, "", accounts.NewUser{Name: name, Duration: 1})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(index(k, u.Secret), u.Verifier.Index) {
				t.Errorf("Dir %d generated a secret with another key than the file's", i)
			}
		}
	}
}
