package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/storetest"
)

func TestStoreContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) accounts.Store { return openStore(t, newPath(t)) })
}

// sample fills a store with one of everything.
func sample(t *testing.T, s *Store) (accounts.Registry, accounts.RegistryRef, accounts.User) {
	t.Helper()
	now := time.Date(2024, 6, 18, 9, 36, 53, 0, time.UTC)
	r, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 1, RegionID: 1, Name: "demo", CreatedAt: now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ref := accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: r.ID}
	return r, ref, accounts.User{
		Name: "ci", Duration: -1, CreatedAt: now, ExpiresAt: accounts.Never, SecretVersion: 1,
		Verifier: accounts.Verifier{Index: []byte("an index")},
	}
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "registryusers.db") }

func openStore(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// every is a page with all users.
var every = accounts.Page{Limit: 1 << 40}

// exec runs a statement on the connection that writes.
func exec(t *testing.T, s *Store, query string, args ...any) error {
	t.Helper()
	return s.write.use(t.Context(), func(c *conn) error {
		_, _, err := c.exec(query, args...)
		return err
	})
}

// raw runs statements on a database file that no store has open.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, url.Values{}))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Two stores on one file share nothing but the file, as two processes do.
func TestTwoStoresSeeEachOthersWritesAtOnce(t *testing.T) {
	path := newPath(t)
	a, b := openStore(t, path), openStore(t, path)
	r, ref, u := sample(t, a)
	if got, err := b.Registry(t.Context(), ref); err != nil || got != r {
		t.Fatalf("b.Registry = %+v, %v; want %+v", got, err, r)
	}
	writer, reader := a, b
	for i := range 20 {
		writer, reader = reader, writer
		u.Verifier.Index = fmt.Append(nil, "index ", i)
		created, err := writer.CreateUser(t.Context(), ref, u, nil)
		if err != nil {
			t.Fatalf("%d: CreateUser: %v", i, err)
		}
		if _, err := reader.CreateUser(t.Context(), ref, u, nil); !errors.Is(err, registryusers.ErrUserExists) {
			t.Fatalf("%d: CreateUser by the other: %v; want %v", i, err, registryusers.ErrUserExists)
		}
		if _, err := writer.UpdateUser(t.Context(), ref, created.ID, func(u *accounts.User) error { u.ReadOnly = true; return nil }, nil); err != nil {
			t.Fatalf("%d: UpdateUser: %v", i, err)
		}
		if got, err := reader.AccountBySecret(t.Context(), u.Verifier.Index); err != nil || got.ID != created.ID || !got.ReadOnly {
			t.Fatalf("%d: the other reads %+v, %v; want the user %d, read-only", i, got, err, created.ID)
		}
		if err := reader.DeleteUser(t.Context(), ref, created.ID); err != nil {
			t.Fatalf("%d: DeleteUser by the other: %v", i, err)
		}
		if got, err := writer.User(t.Context(), r.Ref(), u.Name); !errors.Is(err, registryusers.ErrUserNotFound) {
			t.Fatalf("%d: User after the other deleted it = %+v, %v; want %v", i, got, err, registryusers.ErrUserNotFound)
		}
	}
}

func TestRaceBetweenTwoStores(t *testing.T) {
	path := newPath(t)
	stores := []*Store{openStore(t, path), openStore(t, path)}
	_, ref, u := sample(t, stores[0])
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			u := u
			u.Verifier.Index = fmt.Append(nil, i)
			_, errs[i] = stores[i%2].CreateUser(t.Context(), ref, u, nil)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, registryusers.ErrUserExists) {
			t.Errorf("CreateUser: %v; want nil or %v", err, registryusers.ErrUserExists)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d creates succeeded; want 1", won, len(errs))
	}
}

func TestSettingsOnEveryPooledConnection(t *testing.T) {
	s := openStore(t, newPath(t))
	want := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "2000", "secure_delete": "1", "wal_autocheckpoint": "16000", "journal_size_limit": "67108864"}
	if runtime.GOOS == "linux" && !sqlite.FdatasyncEnabled() {
		t.Error("commits sync with fsync; want fdatasync")
	}
	for name, pool := range map[string]*pool{"write": s.write, "read": s.read} {
		size := cap(pool.conns)
		if name == "write" && size != 1 || name == "read" && size < 4 {
			t.Errorf("the %s pool has %d connections at most", name, size)
		}
		for i := range size { // the pool uses all of them in turn
			err := pool.use(t.Context(), func(c *conn) error {
				for pragma, want := range want {
					value := func(r row) (string, error) { return fmt.Sprint(r[0]), nil }
					if got, err := queryOne(c, value, nil, "PRAGMA "+pragma); err != nil || got != want {
						t.Errorf("%s connection %d: %s = %q, %v; want %q", name, i, pragma, got, err, want)
					}
				}
				if _, _, err := c.exec("DELETE FROM users"); name == "read" && err == nil {
					t.Errorf("read connection %d can write", i)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for range size {
			if <-pool.conns == nil {
				t.Errorf("the %s pool did not use all %d connections", name, size)
			}
		}
		for range size {
			pool.conns <- nil
		}
	}
}

func TestForeignKeysAreEnforced(t *testing.T) {
	s := openStore(t, newPath(t))
	_, ref, u := sample(t, s)
	if _, err := s.CreateUser(t.Context(), ref, u, nil); err != nil {
		t.Fatal(err)
	}
	if err := exec(t, s, "DELETE FROM registries"); err == nil {
		t.Error("a registry with users was deleted; want an error")
	}
}

func TestPathIsTakenAsItIs(t *testing.T) {
	for _, name := range []string{
		"with space", "what?", "a?mode=memory", "a#b", "100%", "%41", "a%00b", "a&_pragma=journal_mode(DELETE)", "a;b", "ü", "a+b", ":memory:", "file:x",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, filepath.Join(dir, name))
			sample(t, s)
			var got []string
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				got = append(got, entry.Name())
			}
			want := []string{name, name + "-shm", name + "-wal"}
			if !slices.Equal(got, want) {
				t.Errorf("Open(%q) created %q; want %q", name, got, want)
			}
		})
	}
}

func TestRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s := openStore(t, "relative.db")
	t.Chdir(t.TempDir())
	sample(t, s) // also in connections that are opened later
	if all, _, err := s.Registries(t.Context(), every); err != nil || len(all) != 1 {
		t.Errorf("Registries() = %+v, %v; want one", all, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "relative.db")); err != nil {
		t.Error(err)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	path := newPath(t)
	s := openStore(t, path)
	sample(t, s)
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := info.Mode(), fs.FileMode(0o600); got != want {
			t.Errorf("%s has the mode %v; want %v", filepath.Base(file), got, want)
		}
	}
}

// wantOpenError checks that Open fails with an error that has the path and the words, and does
// not change any file.
func wantOpenError(t *testing.T, path string, words ...string) {
	t.Helper()
	before, _ := os.ReadFile(path)
	s, err := Open(t.Context(), path)
	if err == nil {
		_ = s.Close()
		t.Fatalf("Open(%s) succeeded; want an error with %q", path, words)
	}
	for _, word := range append(words, path) {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("Open(%s): %v; want %q in it", path, err, word)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("Open(%s): %q; want one line", path, err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Errorf("Open(%s) changed the file", path)
	}
}

func TestGarbageFile(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path, bytes.Repeat([]byte("garbage "), 2048), 0o600); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, path, "damaged", "backup")
}

// manyUsers creates a database of many pages, closes it, and returns its path.
func manyUsers(t *testing.T) string {
	t.Helper()
	path := newPath(t)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	sample(t, s)
	err = exec(t, s, `
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
		INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_version, incarnation)
		SELECT 1, 'user' || i, 0, 0, 0, 0, randomblob(32), 1, randomblob(16) FROM n`)
	if err == nil {
		err = exec(t, s, recount)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDamagedInTheMiddle(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(data []byte) []byte
	}{
		{"pages overwritten", func(data []byte) []byte {
			middle := data[len(data)/4 : len(data)*3/4]
			copy(middle, bytes.Repeat([]byte{0xa5}, len(middle)))
			return data
		}},
		{"truncated", func(data []byte) []byte { return data[:len(data)/2/4096*4096] }},
		{"truncated in a page", func(data []byte) []byte { return data[:len(data)/2/4096*4096+1000] }},
		{"header overwritten", func(data []byte) []byte { copy(data, "not a database!!"); return data }},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := manyUsers(t)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, test.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), path)
			if err == nil { // then the call that reads the damage fails
				defer s.Close()
				var users []accounts.User
				if users, _, err = s.Users(t.Context(), accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}, every); err == nil {
					t.Fatalf("Users() = %d users, nil; want an error", len(users))
				}
			}
			for _, word := range []string{"damaged", "backup", path} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v; want %q in it", err, word)
				}
			}
			for _, is := range []error{registryusers.ErrNotFound, registryusers.ErrExists, registryusers.ErrUnavailable} {
				if errors.Is(err, is) {
					t.Errorf("%v is %v; want none of the API's errors", err, is)
				}
			}
		})
	}
}

func TestUnknownVersion(t *testing.T) {
	for version, words := range map[int][]string{
		1000: {"newer version", "1000"},
		-1:   {"version"}, // no version of this program writes it
	} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := newPath(t)
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			raw(t, path, fmt.Sprintf("PRAGMA user_version = %d", version))
			wantOpenError(t, path, words...)
		})
	}
}

func TestForeignDatabase(t *testing.T) {
	path := newPath(t)
	raw(t, path, "CREATE TABLE users (mine TEXT)")
	wantOpenError(t, path, "users")
}

func TestPathThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("the directory is a file", func(t *testing.T) { wantOpenError(t, filepath.Join(file, "x.db"), "not a directory") })
	t.Run("the file is a directory", func(t *testing.T) { wantOpenError(t, dir, "is a directory") })
	t.Run("no directory", func(t *testing.T) { wantOpenError(t, filepath.Join(dir, "none", "x.db"), "no such file") })
	t.Run("not writable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write everywhere")
		}
		sealed := filepath.Join(dir, "sealed")
		if err := os.Mkdir(sealed, 0o500); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, filepath.Join(sealed, "x.db"), "permission denied")
	})
}

func TestCanceledOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := newPath(t)
	if s, err := Open(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, %v; want %v", s, err, context.Canceled)
	}
	openStore(t, path) // the canceled call left nothing that prevents opening
}

func TestLockedByAnotherWriter(t *testing.T) {
	path := newPath(t)
	s, other := openStore(t, path), openStore(t, path)
	_, ref, u := sample(t, s)
	k, err := s.CreateAPIKey(t.Context(), accounts.APIKey{})
	if err != nil {
		t.Fatal(err)
	}
	// The pool has one connection, so this setting holds for all later calls.
	if err := exec(t, s, "PRAGMA busy_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	if err := exec(t, other, begin); err != nil { // takes the write lock at once
		t.Fatal(err)
	}
	for method, call := range map[string]func() error{
		"CreateUser":                func() error { _, err := s.CreateUser(t.Context(), ref, u, nil); return err },
		"CreateUser, with a record": func() error { _, err := s.CreateUser(t.Context(), ref, u, recordOf("key", u)); return err },
		"DeleteRecords":             func() error { return s.DeleteIdempotencyRecords(t.Context(), accounts.Never) },
		"DeleteAPIKey":              func() error { return s.DeleteAPIKey(t.Context(), k.ID) },
		"ClaimServerKey":            func() error { _, err := s.ClaimServerKey(t.Context(), "id"); return err },
	} {
		err := call()
		if !errors.Is(err, registryusers.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "locked") {
			t.Errorf("%s: %v; want %v, and the word locked", method, err, registryusers.ErrUnavailable)
		}
	}
	if _, err := s.Registry(t.Context(), ref); err != nil {
		t.Errorf("Registry: %v; want no reader to wait", err)
	}
	if err := exec(t, other, rollback); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateUser(t.Context(), ref, u, nil); err != nil {
		t.Errorf("CreateUser after the lock was released: %v", err)
	}
}

func TestReopen(t *testing.T) {
	path := newPath(t)
	var want accounts.User
	for i := range 3 {
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatalf("Open %d: %v", i, err)
		}
		if i == 0 {
			_, ref, u := sample(t, s)
			if want, err = s.CreateUser(t.Context(), ref, u, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.AccountBySecret(t.Context(), want.Verifier.Index); err != nil || got.ID != want.ID {
			t.Errorf("Open %d: UserBySecret = %+v, %v; want %+v", i, got, err, want)
		}
		if err := s.write.use(t.Context(), func(c *conn) error { return migrate(t.Context(), c, false) }); err != nil {
			t.Errorf("Open %d: migrate again: %v", i, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConcurrentOpensOfANewFile(t *testing.T) {
	for range 5 {
		path := newPath(t)
		stores := make([]*Store, 8)
		errs := make([]error, len(stores))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range stores {
			wg.Go(func() {
				<-start
				stores[i], errs[i] = Open(t.Context(), path)
			})
		}
		close(start)
		wg.Wait()
		opened := 0
		for i, err := range errs {
			if err != nil {
				t.Errorf("Open %d: %v", i, err)
				continue
			}
			opened++
			if _, err := stores[i].CreateAPIKey(t.Context(), accounts.APIKey{}); err != nil {
				t.Errorf("CreateKey %d: %v", i, err)
			}
		}
		for i, s := range stores {
			if s == nil {
				continue
			}
			if keys, _, err := s.APIKeys(t.Context(), every); err != nil || len(keys) != opened {
				t.Errorf("Keys() in store %d = %d keys, %v; want %d", i, len(keys), err, opened)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestServerKeyID(t *testing.T) {
	path := newPath(t)
	a, b := openStore(t, path), openStore(t, path)
	if id, err := a.ServerKeyID(t.Context()); err != nil || id != "" {
		t.Errorf("ServerKeyID = %q, %v; want none", id, err)
	}
	for _, s := range []*Store{a, b} {
		if id, err := s.ClaimServerKey(t.Context(), fmt.Sprintf("%p", s)); err != nil || id != fmt.Sprintf("%p", a) {
			t.Errorf("ClaimServerKey = %q, %v; want the first's, %p", id, err, a)
		}
		if id, err := s.ServerKeyID(t.Context()); err != nil || id != fmt.Sprintf("%p", a) {
			t.Errorf("ServerKeyID = %q, %v; want the first's, %p", id, err, a)
		}
	}
}

// The contract does not cover these errors, but they must not be mistaken
// for errors of the API.
func TestUnexpectedErrorsAreNotTheAPIs(t *testing.T) {
	s := openStore(t, newPath(t))
	_, ref, u := sample(t, s)
	u.Verifier = accounts.Verifier{} // neither a generated nor a custom secret
	_, err := s.CreateUser(t.Context(), ref, u, nil)
	if err == nil || !strings.Contains(err.Error(), "SQLite error") {
		t.Errorf("CreateUser of a user without a verifier: %v; want SQLite's refusal", err)
	}
	for _, is := range []error{registryusers.ErrNotFound, registryusers.ErrExists, registryusers.ErrUnavailable} {
		if errors.Is(err, is) {
			t.Errorf("%v is %v; want none of the API's errors", err, is)
		}
	}
}
