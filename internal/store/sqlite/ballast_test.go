package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

func wantBallast(t *testing.T, what string, s *Store, want bool) {
	t.Helper()
	if _, err := os.Stat(s.file.ballast.path); (err == nil) != want {
		t.Errorf("%s: the ballast: %v; want it there: %t", what, err, want)
	}
}

// TestFullDatabaseAllowsDeletes fills the database to the limit of
// its pages, which SQLite reports as it reports a full disk.
func TestFullDatabaseAllowsDeletes(t *testing.T) {
	s := openStore(t, newPath(t))
	_, ref, u := sample(t, s)
	if kept, err := s.ReserveDisk(); !kept || err != nil {
		t.Fatalf("ReserveDisk = %v, %v; want it there", kept, err)
	}
	wantBallast(t, "at first", s, true)
	create := func(name string) error {
		u.Name, u.Verifier = name, accounts.Verifier{Index: []byte(name)}
		_, err := s.CreateUser(t.Context(), ref, u, nil)
		return err
	}
	if err := create("first"); err != nil {
		t.Fatal(err)
	}
	if err := exec(t, s, "PRAGMA max_page_count = 1"); err != nil { // the limit is the current number
		t.Fatal(err)
	}
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		err = create("u" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	if !errors.Is(err, registryusers.ErrUnavailable) {
		t.Fatalf("a create when the database is full: %v; want %v", err, registryusers.ErrUnavailable)
	}
	wantBallast(t, "when it is full", s, false)
	first, err := s.User(t.Context(), ref, "first")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteUser(t.Context(), ref, first.ID); err != nil {
		t.Errorf("a delete when the database is full: %v", err)
	}
	if err := exec(t, s, "PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := create("later"); !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("a create without the ballast: %v; want %v", err, registryusers.ErrUnavailable)
	}
	if kept, err := s.ReserveDisk(); !kept || err != nil {
		t.Errorf("ReserveDisk = %v, %v; want it created again", kept, err)
	}
	if err := create("later"); err != nil {
		t.Errorf("a create when there is room again: %v", err)
	}
}

func TestTheBallastIsKeptForOtherErrors(t *testing.T) {
	s := openStore(t, newPath(t))
	if _, err := s.ReserveDisk(); err != nil {
		t.Fatal(err)
	}
	err := exec(t, s, "ATTACH DATABASE ? AS other", filepath.Join(t.TempDir(), "none", "none.db")) // CANTOPEN
	if !mayBeFull(err) || s.file.ballast.release(err) || s.file.ballast.release(errors.New("another")) {
		t.Errorf("an error of another file (%v) released the ballast", err)
	}
	wantBallast(t, "after another error", s, true)
	if err := translateError(err); !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("a file that cannot be opened: %v; want %v", err, registryusers.ErrUnavailable)
	}
}

func TestBackupIsCompleteAndChecked(t *testing.T) {
	s := openStore(t, newPath(t))
	if _, err := s.ClaimServerKey(t.Context(), "the key"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the backup's mode: %v, %v; want 0600", info.Mode(), err)
	}
	if key, err := CheckBackup(t.Context(), path); key != "the key" || err != nil {
		t.Errorf("CheckBackup = %q, %v; want the key", key, err)
	}
	if err := s.Backup(t.Context(), path); err == nil {
		t.Error("Backup replaced a file; want an error")
	}
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckBackup(t.Context(), path); err == nil {
		t.Error("CheckBackup of no database succeeded; want an error")
	}
}

func TestReadsEndWhenTheDatabaseIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, filepath.Join(dir, "test.db"))
	if err := os.Rename(dir, dir+".moved"); err != nil {
		t.Fatal(err)
	}
	s.file.seen.Store(0) // as after the interval
	if _, err := s.APIKey(t.Context(), 1); !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("a read after the directory was moved: %v; want %v", err, registryusers.ErrUnavailable)
	}
	if kept, err := s.ReserveDisk(); kept || !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("ReserveDisk after the directory was moved = %v, %v; want none made, and %v", kept, err, registryusers.ErrUnavailable)
	}
	if err := os.Rename(dir+".moved", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.APIKey(t.Context(), 1); !errors.Is(err, registryusers.ErrAPIKeyNotFound) {
		t.Errorf("a read after it was put back: %v; want %v", err, registryusers.ErrAPIKeyNotFound)
	}
}
