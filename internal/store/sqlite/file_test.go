package sqlite

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// filled closes a database of many pages and returns its path.
func filled(t *testing.T) string {
	t.Helper()
	path := newPath(t)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, ref, u := sample(t, s)
	for i := range 200 {
		u.Name, u.Verifier = "u"+strconv.Itoa(i), accounts.Verifier{Index: []byte(strconv.Itoa(i))}
		if _, err := s.CreateUser(t.Context(), ref, u, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDatabaseOfAWrongSizeIsRefused(t *testing.T) {
	for what, change := range map[string]func(size int64) int64{
		"100 bytes cut off": func(size int64) int64 { return size - 100 },
		"a page cut off":    func(size int64) int64 { return size - 4096 },
		"half cut off":      func(size int64) int64 { return size / 8192 * 4096 },
		"only a header":     func(int64) int64 { return 100 },
		"less than that":    func(int64) int64 { return 50 },
		"a page more":       func(size int64) int64 { return size + 4096 },
	} {
		path := filled(t)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, change(info.Size())); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path)
		if err == nil {
			_ = s.Close()
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
			t.Errorf("%s: Open changed the file: %v", what, err)
		}
		if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("%s: Open = %v; want that the file is damaged, and what to do", what, err)
		}
	}
}

// A process that writes and closes the database between the looks at its header
// and at its size leaves no log behind, and no damage.
func TestDatabaseThatIsClosedMeanwhileIsOpened(t *testing.T) {
	path := filled(t)
	defer func() { stat = (*os.File).Stat }()
	stat = func(f *os.File) (os.FileInfo, error) {
		stat = (*os.File).Stat
		other, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := exec(t, other, "CREATE TABLE more AS SELECT randomblob(50000)"); err != nil {
			t.Error(err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		return f.Stat()
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatalf("Open beside a process that closes the database: %v", err)
	}
	if s.WasUnclean() {
		t.Error("the database is unclean; want it clean, as the other process closed it")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A file whose log holds the rest is whole.
func TestDatabaseThatWasNotClosedIsOpened(t *testing.T) {
	path := newPath(t)
	s := openStore(t, path)
	_, ref, u := sample(t, s)
	if _, err := s.CreateUser(t.Context(), ref, u, nil); err != nil {
		t.Fatal(err)
	}
	other := openStore(t, path)
	if !other.WasUnclean() {
		t.Error("a database with a log was clean; want it unclean")
	}
	if _, err := other.User(t.Context(), ref, u.Name); err != nil {
		t.Error(err)
	}
	if findings, err := other.QuickCheck(t.Context()); findings != "" || err != nil {
		t.Errorf("QuickCheck = %q, %v; want nothing", findings, err)
	}
	if again, err := Open(t.Context(), filled(t)); err != nil || again.WasUnclean() {
		t.Errorf("a database that was closed: %v; want it opened, and clean", err)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// A process that was killed while it had nothing in its log leaves an empty one.
// The next one that has the time checks the database, however often it is opened
// and closed until then.
func TestEmptyLogIsAnUncleanStop(t *testing.T) {
	path := filled(t)
	if err := os.WriteFile(path+"-wal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"after the stop", "opened again, without a check"} {
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if !s.WasUnclean() {
			t.Errorf("%s: the database is clean, want it unclean", when)
		}
		if _, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 9, RegionID: 9, Name: "new" + when[:1]}, nil); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if findings, err := s.QuickCheck(t.Context()); findings != "" || err != nil {
		t.Errorf("QuickCheck: got %q, %v; want nothing", findings, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s := openStore(t, path); s.WasUnclean() {
		t.Error("after a check: the database is unclean, want it clean")
	}
}

// Beside an empty log, the file alone is the database.
func TestDatabaseOfAWrongSizeBesideAnEmptyLogIsRefused(t *testing.T) {
	path := filled(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path+"-wal", nil, 0o600), os.Truncate(path, info.Size()-4096)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), path); !errors.Is(err, errDamaged) {
		t.Errorf("Open: got %v, want that the file is damaged", err)
		if err == nil {
			_ = s.Close()
		}
	}
}

func TestWritesOfADamagedDatabaseAreRefused(t *testing.T) {
	path := filled(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for ref := int64(3 * 4096); ref < info.Size(); ref += 4096 {
		if _, err := f.WriteAt([]byte(strings.Repeat("damage", 100)), ref+500); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	findings, err := s.QuickCheck(t.Context())
	if findings == "" || err != nil {
		t.Fatalf("QuickCheck = %q, %v; want what is damaged", findings, err)
	}
	for what, write := range map[string]func() error{
		"create": func() error {
			_, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 9, RegionID: 9, Name: "new"}, nil)
			return err
		},
		"delete": func() error { return s.DeleteAPIKey(t.Context(), 1) },
	} {
		if err := write(); what == "create" && !errors.Is(err, registryusers.ErrUnavailable) || err == nil {
			t.Errorf("%s: %v; want %v", what, err, registryusers.ErrUnavailable)
		}
	}
}

func TestCheckFindsARowThatRefersToAMissingOne(t *testing.T) {
	s := openStore(t, filled(t))
	for _, statement := range []string{"PRAGMA foreign_keys(OFF)", "DELETE FROM registries", "PRAGMA foreign_keys(ON)"} {
		if err := exec(t, s, statement); err != nil {
			t.Fatal(err)
		}
	}
	if findings, err := s.QuickCheck(t.Context()); !strings.Contains(findings, "users refers to a missing row of registries") || err != nil {
		t.Errorf("QuickCheck = %q, %v; want the users without a registry", findings, err)
	}
}

func TestNothingIsCommittedToADatabaseThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "test.db")
	s := openStore(t, path)
	_, ref, u := sample(t, s)
	create := func(name string) error {
		u.Name, u.Verifier = name, accounts.Verifier{Index: []byte(name)}
		_, err := s.CreateUser(t.Context(), ref, u, nil)
		return err
	}
	if err := os.Rename(dir, dir+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := create("moved"); !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("after the directory was moved: %v; want %v", err, registryusers.ErrUnavailable)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := create("replaced"); !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("after another file came: %v; want %v", err, registryusers.ErrUnavailable)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".moved", dir); err != nil {
		t.Fatal(err)
	}
	if err := create("back"); err != nil {
		t.Errorf("after the directory was put back: %v; want none", err)
	}
	for _, name := range []string{"moved", "replaced"} {
		if _, err := s.User(t.Context(), ref, name); !errors.Is(err, registryusers.ErrUserNotFound) {
			t.Errorf("the user %s, whose create was refused: %v; want %v", name, err, registryusers.ErrUserNotFound)
		}
	}
}

// Another process that finds no log or no index of it makes another one, and then
// the two do not see each other's commits.
func TestNothingIsCommittedToALogThatIsNotThere(t *testing.T) {
	for _, suffix := range []string{"-wal", "-shm"} {
		path := newPath(t)
		s := openStore(t, path)
		_, ref, u := sample(t, s)
		want := func(when string, want error) {
			t.Helper()
			if _, err := s.CreateUser(t.Context(), ref, u, nil); !errors.Is(err, want) {
				t.Errorf("a create %s: got %v, want %v", when, err, want)
			}
			s.file.seen.Store(0) // as a second later
			if want == nil {
				want = registryusers.ErrUserNotFound
			}
			if _, err := s.User(t.Context(), ref, "nobody"); !errors.Is(err, want) {
				t.Errorf("a read %s: got %v, want %v", when, err, want)
			}
		}
		if err := os.Rename(path+suffix, path+".moved"); err != nil {
			t.Fatal(err)
		}
		want("after "+suffix+" was removed", registryusers.ErrUnavailable)
		content, err := os.ReadFile(path + ".moved")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
		want("after "+suffix+" was replaced by another file", registryusers.ErrUnavailable)
		if err := os.Rename(path+".moved", path+suffix); err != nil {
			t.Fatal(err)
		}
		want("after "+suffix+" was put back", nil)
	}
}

func TestNothingIsCommittedWithoutARequiredFile(t *testing.T) {
	path := newPath(t)
	s := openStore(t, path)
	_, ref, u := sample(t, s)
	required := filepath.Join(t.TempDir(), "required")
	if err := s.RequireFile(required); err == nil {
		t.Error("Require of a file that does not exist: got no error, want one")
	}
	if err := os.WriteFile(required, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.RequireFile(required); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(required, required+".moved"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateUser(t.Context(), ref, u, nil); !errors.Is(err, registryusers.ErrUnavailable) || !strings.Contains(err.Error(), required) {
		t.Errorf("a create without the file: got %v, want %v that names it", err, registryusers.ErrUnavailable)
	}
	if err := os.Rename(required+".moved", required); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateUser(t.Context(), ref, u, nil); err != nil {
		t.Errorf("a create after the file was put back: %v", err)
	}
}

// A write waits for another process's, and before that for the commit that is
// under way: twice the busy timeout at most.
func TestLockedDatabaseRefusesWithinFiveSeconds(t *testing.T) {
	path := newPath(t)
	s, other := openStore(t, path), openStore(t, path)
	_, ref, u := sample(t, s)
	if err := exec(t, other, begin); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			u := u
			u.Name, u.Verifier = "u"+strconv.Itoa(i), accounts.Verifier{Index: []byte(strconv.Itoa(i))}
			start := time.Now()
			if _, err := s.CreateUser(t.Context(), ref, u, nil); !errors.Is(err, registryusers.ErrUnavailable) || time.Since(start) > 5*time.Second {
				t.Errorf("a create beside another's lock: %v after %v; want %v within 5 s", err, time.Since(start), registryusers.ErrUnavailable)
			}
		})
	}
	group.Wait()
}
