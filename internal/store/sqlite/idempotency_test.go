package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/storetest"
)

// recordOf returns a record of the sample's time.
func recordOf(key string, u accounts.User) *accounts.IdempotencyRecord {
	return &accounts.IdempotencyRecord{Key: []byte(key), Request: []byte("a request"), Salt: []byte("a salt"), ExpiresAt: u.CreatedAt.Add(24 * time.Hour)}
}

func TestRaceForOneRecordBetweenTwoStores(t *testing.T) {
	for what, name := range map[string]func(i int) string{
		"different names": func(i int) string { return fmt.Sprint("u", i) },
		"one name":        func(int) string { return "same" },
	} {
		path := newPath(t)
		stores := []*Store{openStore(t, path), openStore(t, path)}
		r, ref, u := sample(t, stores[0])
		errs := make([]error, 64)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				u := u
				u.Name, u.Verifier.Index = name(i), fmt.Append(nil, "index ", i)
				_, errs[i] = stores[i%2].CreateUser(t.Context(), ref, u, recordOf("key", u))
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, registryusers.ErrExists) {
				t.Errorf("%s: CreateUser: %v; want nil or %v", what, err, registryusers.ErrExists)
			}
		}
		users, _, err := stores[0].Users(t.Context(), r.Ref(), every)
		if won != 1 || err != nil || len(users) != 1 {
			t.Fatalf("%s: %d of %d creates succeeded, and there are the users %+v, %v; want one", what, won, len(errs), users, err)
		}
		want := *recordOf("key", u)
		want.ObjectID = users[0].ID
		for i, s := range stores {
			if got, of, err := storetest.RecordedUser(t.Context(), s, []byte("key")); err != nil || !reflect.DeepEqual(got, want) || of == nil || of.ID != want.ObjectID {
				t.Errorf("%s: store %d: Record = %+v, %+v, %v; want %+v and its user", what, i, got, of, err, want)
			}
		}
	}
}

func TestTwoStoresSeeEachOthersRecordsAtOnce(t *testing.T) {
	path := newPath(t)
	writer, reader := openStore(t, path), openStore(t, path)
	_, ref, u := sample(t, writer)
	for i := range 20 {
		writer, reader = reader, writer
		u.Name, u.Verifier.Index = fmt.Sprint("u", i), fmt.Append(nil, "index ", i)
		created, err := writer.CreateUser(t.Context(), ref, u, recordOf("key", u))
		if err != nil {
			t.Fatalf("%d: CreateUser: %v", i, err)
		}
		if r, of, err := storetest.RecordedUser(t.Context(), reader, []byte("key")); err != nil || r.ObjectID != created.ID || of == nil || of.Name != u.Name {
			t.Fatalf("%d: the other's Record = %+v, %+v, %v; want the user %d", i, r, of, err, created.ID)
		}
		if err := reader.DeleteUser(t.Context(), ref, created.ID); err != nil {
			t.Fatal(err)
		}
		if _, of, err := storetest.RecordedUser(t.Context(), writer, []byte("key")); err != nil || of != nil {
			t.Fatalf("%d: after the other's DeleteUser: the record's user is %+v, %v; want none", i, of, err)
		}
		if err := writer.DeleteIdempotencyRecords(t.Context(), u.CreatedAt.Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := storetest.RecordedUser(t.Context(), reader, []byte("key")); !errors.Is(err, registryusers.ErrNotFound) {
			t.Fatalf("%d: after the other's DeleteRecords: %v; want %v", i, err, registryusers.ErrNotFound)
		}
	}
}

func TestRecordSurvivesReopening(t *testing.T) {
	path := newPath(t)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, ref, u := sample(t, s)
	want := recordOf("key", u)
	if u, err = s.CreateUser(t.Context(), ref, u, want); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want.ObjectID = u.ID
	if got, of, err := storetest.RecordedUser(t.Context(), openStore(t, path), []byte("key")); err != nil || !reflect.DeepEqual(&got, want) || !reflect.DeepEqual(of, &u) {
		t.Errorf("Record = %+v, %+v, %v; want %+v, %+v", got, of, err, want, u)
	}
}

// More than the thousand records that are deleted in one step.
func TestDeleteManyRecords(t *testing.T) {
	const n = 2500
	for _, open := range []func(t *testing.T) *Store{
		func(t *testing.T) *Store { return openStore(t, newPath(t)) },
		openMemory,
	} {
		s := open(t)
		_, _, u := sample(t, s)
		now := u.CreatedAt.UnixMicro()
		err := exec(t, s, `
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO idempotency_records (key, request, salt, object_id, expires_at)
			SELECT randomblob(32), x'00', x'00', i, CASE i % 5 WHEN 0 THEN ? + i ELSE ? - i / 5 END FROM n`, int64(n), now, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteIdempotencyRecords(t.Context(), u.CreatedAt); err != nil {
			t.Fatalf("DeleteRecords: %v", err)
		}
		var left, lasting int64
		err = s.view(t.Context(), func(c *conn) error {
			return c.query(t.Context(), func(r row) error { return r.scan(&left, &lasting) },
				"SELECT count(*), count(*) FILTER (WHERE expires_at > ? AND object_id % 5 = 0) FROM idempotency_records", now)
		})
		if err != nil || left != n/5 || lasting != n/5 {
			t.Errorf("after DeleteRecords, of %d records %d are left, %d of them not expired, %v; want %d", n, left, lasting, err, n/5)
		}
	}
}

// A database of the program's first version, with a user in it.
func TestUpgradeFromVersionOne(t *testing.T) {
	path := newPath(t)
	script, err := migrations.ReadFile("migrations/0001_accounts.sql")
	if err != nil {
		t.Fatal(err)
	}
	raw(t, path, string(script), "PRAGMA user_version = 1",
		"INSERT INTO registries (project_id, region_id, name, created_at) VALUES (1, 1, 'demo', 0)",
		`INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_version)
		VALUES (1, 'old', 0, 0, 0, 0, x'0102', 1)`)
	upgrade(t, path)
	s := openStore(t, path)
	old, err := s.AccountBySecret(t.Context(), []byte{1, 2})
	if err != nil || old.Name != "old" {
		t.Errorf("AccountBySecret = %+v, %v; want the user old", old, err)
	}
	ref := accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}
	u := accounts.User{Name: "new", ExpiresAt: accounts.Never, SecretVersion: 1, Verifier: accounts.Verifier{Index: []byte("an index")}}
	if u, err = s.CreateUser(t.Context(), ref, u, recordOf("key", u)); err != nil || u.ID <= old.ID {
		t.Errorf("CreateUser, with a record = %+v, %v; want an id above %d", u, err, old.ID)
	}
	if _, of, err := storetest.RecordedUser(t.Context(), s, []byte("key")); err != nil || of == nil || of.ID != u.ID {
		t.Errorf("Record: its user is %+v, %v; want %+v", of, err, u)
	}
}

// A write that waits for another process must not hold a lock that the other needs, nor wait
// for ever.
func TestRecordWhileAnotherWrites(t *testing.T) {
	path := newPath(t)
	s, other := openStore(t, path), openStore(t, path)
	_, ref, u := sample(t, s)
	if err := exec(t, other, begin); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := s.CreateUser(ctx, ref, u, recordOf("key", u)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("CreateUser while another writes: %v; want %v", err, context.DeadlineExceeded)
	}
	if waited := time.Since(start); waited > busyTimeout/2 {
		t.Errorf("CreateUser gave up after %v; want it to end with its context", waited)
	}
	if err := exec(t, other, rollback); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateUser(t.Context(), ref, u, recordOf("key", u)); err != nil {
		t.Errorf("CreateUser when the other is done: %v", err)
	}
}

// logSize returns the size of the write-ahead log.
func logSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A long read keeps the log from being emptied; then the next call
// empties it, also in another process and with nothing left to delete.
func TestTheLogIsEmptiedWhenReadersHaveEnded(t *testing.T) {
	path := newPath(t)
	s := openStore(t, path)
	_, ref, u := sample(t, s)
	if _, err := s.CreateUser(t.Context(), ref, u, recordOf("key", u)); err != nil {
		t.Fatal(err)
	}
	end := u.CreatedAt.Add(24 * time.Hour)
	ids := 0
	err := s.view(t.Context(), func(c *conn) error {
		return c.query(t.Context(), func(row) error { // the read's snapshot has the record
			ids++
			if err := s.DeleteIdempotencyRecords(t.Context(), end); err != nil {
				return err
			}
			if logSize(t, path) == 0 {
				t.Error("the log is empty during a read: this test shows nothing")
			}
			return nil
		}, "SELECT id FROM users")
	})
	if err != nil || ids != 1 {
		t.Fatalf("%d users, %v; want 1", ids, err)
	}
	if err := s.DeleteIdempotencyRecords(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if size := logSize(t, path); size != 0 {
		t.Errorf("the log has %d bytes, want none", size)
	}

	u.Name, u.Verifier.Index = "another", []byte("another index")
	if _, err := s.CreateUser(t.Context(), ref, u, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteIdempotencyRecords(t.Context(), end); err != nil || logSize(t, path) == 0 {
		t.Errorf("with nothing deleted: DeleteRecords = %v, and the log has %d bytes; want it left alone", err, logSize(t, path))
	}
	if err := openStore(t, path).DeleteIdempotencyRecords(t.Context(), end); err != nil || logSize(t, path) != 0 {
		t.Errorf("after another process: DeleteRecords = %v, and the log has %d bytes; want none", err, logSize(t, path))
	}
}

// A record may replace an expired one that has not been deleted yet.
func TestTheLogIsEmptiedAfterARecordWasReplaced(t *testing.T) {
	path := newPath(t)
	s := openStore(t, path)
	_, ref, u := sample(t, s)
	for i := range 2 {
		u.Name, u.Verifier.Index = fmt.Sprint("u", i), fmt.Append(nil, "index ", i)
		u.CreatedAt = u.CreatedAt.Add(48 * time.Hour)
		if err := s.DeleteIdempotencyRecords(t.Context(), time.Unix(0, 0)); err != nil { // none has expired by then
			t.Fatal(err)
		}
		if size := logSize(t, path); size != 0 {
			t.Fatalf("before create %d: the log has %d bytes, want none", i, size)
		}
		if _, err := s.CreateUser(t.Context(), ref, u, recordOf("key", u)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteIdempotencyRecords(t.Context(), time.Unix(0, 0)); err != nil || logSize(t, path) != 0 {
		t.Errorf("DeleteRecords = %v, and the log has %d bytes; want none", err, logSize(t, path))
	}
}

// While the log is emptied, the write connection has a short busy timeout; no write
// may run with it.
func TestWritesKeepTheirPatienceWhenTheLogIsEmptied(t *testing.T) {
	s := openStore(t, newPath(t))
	var wg sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				err := s.writer.do(t.Context(), &write{run: func(c *conn) error {
					if patience, err := queryOne(c, scanInt, nil, "PRAGMA busy_timeout"); err != nil || patience != busyTimeout.Milliseconds() {
						t.Errorf("busy_timeout in a write: got %d, %v; want %d", patience, err, busyTimeout.Milliseconds())
					}
					return nil
				}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		s.walDirty.Store(true)
		if err := s.emptyLog(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(over)
	wg.Wait()
}
