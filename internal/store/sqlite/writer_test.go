package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// stalled is a store whose next writes wait for the current one, until resume is
// called.
type stalled struct {
	*Store
	path   string
	at     accounts.RegistryRef
	resume func()
}

// newStalled must be called in a [synctest] bubble. Its Wait returns when all
// writes that were begun wait.
func newStalled(t *testing.T) *stalled {
	t.Helper()
	s := &stalled{path: filepath.Join(t.TempDir(), "test.db")}
	var err error
	if s.Store, err = Open(t.Context(), s.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 1, RegionID: 1, Name: "demo", CreatedAt: time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.at = accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: r.ID}
	atWork, goOn := make(chan struct{}), make(chan struct{})
	go func() {
		if err := s.writer.do(t.Context(), &write{run: func(*conn) error {
			close(atWork)
			<-goOn
			return nil
		}}); err != nil {
			t.Error(err)
		}
	}()
	<-atWork
	s.resume = func() { close(goOn) }
	return s
}

// create creates a user, whose name is its secret's index.
func (s *stalled) create(ctx context.Context, name string, index int) error {
	_, err := s.CreateUser(ctx, s.at, accounts.User{
		Name: name, CreatedAt: time.Now(), ExpiresAt: time.Now(), SecretVersion: 1, Verifier: accounts.Verifier{Index: []byte(strconv.Itoa(index))},
	}, nil)
	return err
}

// commits returns how many transactions the write-ahead log has: the frames
// that say how large the database is then (SQLite's file format, section 4.1).
func (s *stalled) commits(t *testing.T) int {
	t.Helper()
	log, err := os.ReadFile(s.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	const header, frameHeader = 32, 24
	page := int(binary.BigEndian.Uint32(log[8:]))
	n := 0
	for ref := header; ref+frameHeader+page <= len(log); ref += frameHeader + page {
		if binary.BigEndian.Uint32(log[ref+4:]) > 0 {
			n++
		}
	}
	return n
}

// Writes that wait together are synced to the disk together, and one that
// conflicts fails alone.
func TestWritesThatWaitShareACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStalled(t)
		before := s.commits(t)
		const callers = 200
		errs := make([]error, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				name := "u" + strconv.Itoa(i)
				if i%4 == 0 {
					name = "same"
				}
				errs[i] = s.create(t.Context(), name, i)
			})
		}
		synctest.Wait()
		s.resume()
		wg.Wait()
		valid, conflicts := 0, 0
		for i, err := range errs {
			switch {
			case err == nil:
				valid++
			case errors.Is(err, registryusers.ErrUserExists) && i%4 == 0:
				conflicts++
			default:
				t.Errorf("create %d: %v", i, err)
			}
		}
		if valid != 151 || conflicts != 49 {
			t.Errorf("%d were created, %d conflicted; want 151 and 49", valid, conflicts)
		}
		if users, _, err := s.Users(t.Context(), s.at, every); err != nil || len(users) != valid {
			t.Errorf("%d users are stored, %v; want %d", len(users), err, valid)
		}
		if got := s.commits(t) - before; got != 1 {
			t.Errorf("%d commits, want 1", got)
		}
	})
}

func TestALoneWriteCostsOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStalled(t)
		s.resume()
		for i := range 5 {
			before, began := s.commits(t), time.Now()
			if err := s.create(t.Context(), "u"+strconv.Itoa(i), i); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited != 0 { // in the bubble's time: no timer was awaited
				t.Errorf("it waited for %v, want no wait", waited)
			}
			if got := s.commits(t) - before; got != 1 {
				t.Errorf("%d commits, want 1", got)
			}
		}
	})
}

func TestWritesBeyondTheQueueAreRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStalled(t)
		ctx, cancel := context.WithCancel(t.Context())
		var refused, gaveUp, other atomic.Int64
		var wg sync.WaitGroup
		for i := range maxWaiting + 100 {
			wg.Go(func() {
				switch err := s.create(ctx, "u"+strconv.Itoa(i), i); {
				case errors.Is(err, registryusers.ErrUnavailable) && errors.Is(err, context.Canceled): // nothing was written
					gaveUp.Add(1)
				case errors.Is(err, registryusers.ErrUnavailable):
					refused.Add(1)
				default:
					other.Add(1)
				}
			})
		}
		synctest.Wait()
		if refused.Load() != 100 {
			t.Errorf("%d writes were refused, want 100", refused.Load())
		}
		cancel() // canceled writes write nothing
		wg.Wait()
		s.resume()
		if other.Load() > 0 || gaveUp.Load() == 0 {
			t.Errorf("%d writes ended in another way than refused (%d) or given up (%d)", other.Load(), refused.Load(), gaveUp.Load())
		}
		synctest.Wait() // until the canceled writes have left the queue
		if err := s.create(t.Context(), "last", -1); err != nil {
			t.Fatal(err)
		}
		if users, _, err := s.Users(t.Context(), s.at, every); err != nil || len(users) != 1 {
			t.Errorf("%d users are stored, %v; want only the last one", len(users), err)
		}
	})
}

func TestCloseWritesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStalled(t)
		const callers = 50
		var wg sync.WaitGroup
		var failed atomic.Int64
		for i := range callers {
			wg.Go(func() {
				if err := s.create(t.Context(), "u"+strconv.Itoa(i), i); err != nil {
					failed.Add(1)
					t.Errorf("create %d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		s.resume()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		wg.Wait()
		if err := s.create(t.Context(), "late", -1); err == nil {
			t.Error("a write after Close succeeded")
		}
	})
}

// A write that fails in the middle is undone completely, alone or with others.
func TestAFailedWriteIsUndone(t *testing.T) {
	for _, others := range []int{0, 3} {
		t.Run(strconv.Itoa(others)+" others", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { failedWrite(t, others) })
		})
	}
}

func failedWrite(t *testing.T, others int) {
	s := newStalled(t)
	var wg sync.WaitGroup
	broken := errors.New("broken")
	wg.Go(func() {
		err := s.writer.do(t.Context(), &write{run: func(c *conn) error {
			if _, _, err := c.exec("INSERT INTO registries (project_id, region_id, name, created_at) VALUES (8, 8, 'undone', 0)"); err != nil {
				return err
			}
			return broken
		}})
		if !errors.Is(err, broken) {
			t.Errorf("got %v, want what the write returned", err)
		}
	})
	for i := range others {
		wg.Go(func() {
			if err := s.create(t.Context(), "u"+strconv.Itoa(i), i); err != nil {
				t.Errorf("create: %v", err)
			}
		})
	}
	synctest.Wait()
	s.resume()
	wg.Wait()
	if all, _, err := s.Registries(t.Context(), every); err != nil || len(all) != 1 {
		t.Errorf("%d registries, %v; want 1: the failed write is undone", len(all), err)
	}
	if users, _, err := s.Users(t.Context(), s.at, every); err != nil || len(users) != others {
		t.Errorf("%d users, %v; want the %d of the others", len(users), err, others)
	}
}

// The panic of a write reaches its caller, undoes that write alone, and leaves the
// writer running.
func TestAPanicFailsItsWriteAlone(t *testing.T) {
	for _, isStatement := range []bool{true, false} {
		t.Run("isStatement="+strconv.FormatBool(isStatement), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { panickingWrite(t, isStatement) })
		})
	}
}

func panickingWrite(t *testing.T, isStatement bool) {
	s := newStalled(t)
	var wg sync.WaitGroup
	create := func(i int) func() {
		return func() {
			if err := s.create(t.Context(), "u"+strconv.Itoa(i), i); err != nil {
				t.Errorf("create: %v", err)
			}
		}
	}
	wg.Go(create(0))
	synctest.Wait() // so that the write that panics is between the others
	wg.Go(func() {
		defer func() {
			if p, ok := recover().(*runPanic); !ok || p.value != "a defect" {
				t.Errorf("the caller recovered %v, want the panic of its write", p)
			}
		}()
		_ = s.writer.do(t.Context(), &write{isStatement: isStatement, run: func(c *conn) error {
			if !isStatement {
				if _, _, err := c.exec("INSERT INTO registries (project_id, region_id, name, created_at) VALUES (8, 8, 'undone', 0)"); err != nil {
					return err
				}
			}
			panic("a defect")
		}})
	})
	synctest.Wait()
	wg.Go(create(1))
	synctest.Wait()
	s.resume()
	wg.Wait()
	create(2)()
	if all, _, err := s.Registries(t.Context(), every); err != nil || len(all) != 1 {
		t.Errorf("%d registries, %v; want 1: the write that panicked is undone", len(all), err)
	}
	if users, _, err := s.Users(t.Context(), s.at, every); err != nil || len(users) != 3 {
		t.Errorf("%d users, %v; want the 3 of the other writes", len(users), err)
	}
}

// An error of the database, other than a violated constraint, may have rolled back
// the transaction: it fails all writes of the batch, those before it and after it.
func TestADatabaseErrorFailsItsWholeBatch(t *testing.T) {
	for _, isStatement := range []bool{true, false} {
		t.Run("isStatement="+strconv.FormatBool(isStatement), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { brokenBatch(t, isStatement) })
		})
	}
}

func brokenBatch(t *testing.T, isStatement bool) {
	s := newStalled(t)
	writes := []func() error{
		func() error { return s.create(t.Context(), "before", 1) },
		func() error {
			return s.writer.do(t.Context(), &write{isStatement: isStatement, run: func(c *conn) error {
				_, _, err := c.exec("DELETE FROM a_table_that_does_not_exist")
				return err
			}})
		},
		func() error { return s.create(t.Context(), "after", 2) },
	}
	errs := make([]error, len(writes))
	var wg sync.WaitGroup
	for i, write := range writes {
		wg.Go(func() { errs[i] = write() })
		synctest.Wait() // so that they are in this order
	}
	s.resume()
	wg.Wait()
	for i, err := range errs {
		if code(err) != sqlite3.SQLITE_ERROR {
			t.Errorf("write %d: %v, want the error of the database", i, err)
		}
	}
	if users, _, err := s.Users(t.Context(), s.at, every); err != nil || len(users) != 0 {
		t.Errorf("%d users, %v; want none", len(users), err)
	}
	if err := s.create(t.Context(), "later", 3); err != nil {
		t.Errorf("a write after the batch: %v", err)
	}
}

// A read does not wait for a write, and sees the committed state.
func TestReadersDoNotWaitForTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStalled(t) // with a transaction open
		if all, _, err := s.Registries(t.Context(), every); err != nil || len(all) != 1 {
			t.Errorf("%d registries, %v; want 1", len(all), err)
		}
		s.resume()
	})
}

// When a commit fails, all its writes return that error, even a write
// that conflicted, perhaps with one that was not committed.
func TestFailedCommitFailsAllItsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStalled(t)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if err := s.create(t.Context(), "same", i); err == nil || errors.Is(err, registryusers.ErrUserExists) {
					t.Errorf("create: %v, want that the commit failed", err)
				}
			})
		}
		wg.Go(func() {
			_ = s.writer.do(t.Context(), &write{run: func(c *conn) error {
				// A reference that is checked when the transaction ends.
				_, _, _ = c.exec("PRAGMA defer_foreign_keys = ON")
				_, _, err := c.exec("INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_version, incarnation) VALUES (12345, 'lost', 0, 0, 0, 0, x'00', 1, randomblob(16))")
				return err
			}})
		})
		synctest.Wait()
		s.resume()
		wg.Wait()
		if users, _, err := s.Users(t.Context(), s.at, every); err != nil || len(users) != 0 {
			t.Errorf("%d users, %v; want none", len(users), err)
		}
	})
}
