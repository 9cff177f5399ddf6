package sqlite

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// recount counts users that a test has inserted past CreateUser.
const recount = "REPLACE INTO user_counts SELECT registry_id, id / 4096, count(*) FROM users GROUP BY 1, 2"

// One transaction creates users, some of which fail, and deletes two, one of them
// its own.
func TestUsersOfOneTransactionAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStalled(t)
		var wg sync.WaitGroup
		wait := func(do func() error, want error) {
			wg.Go(func() {
				if err := do(); !errors.Is(err, want) {
					t.Errorf("got the error %v, want %v", err, want)
				}
			})
			synctest.Wait() // the writes wait in this order
		}
		create := func(name string, index int) func() error {
			return func() error { return s.create(t.Context(), name, index) }
		}
		record := func(name string) func() error {
			return func() error {
				u := accounts.User{Name: name, CreatedAt: time.Now(), ExpiresAt: time.Now(), SecretVersion: 1, Verifier: accounts.Verifier{Index: []byte(name)}}
				_, err := s.CreateUser(t.Context(), s.at, u, recordOf("key", u))
				return err
			}
		}
		remove := func(id int64) func() error {
			return func() error { return s.DeleteUser(t.Context(), s.at, id) }
		}
		wait(create("one", 1), nil)
		wait(remove(1), nil)
		wait(create("two", 2), nil)
		wait(create("two", 3), registryusers.ErrUserExists)
		wait(record("three"), nil)
		wait(record("four"), registryusers.ErrExists)
		wait(create("five", 5), nil)
		wait(remove(2), nil)
		before := s.commits(t)
		s.resume()
		wg.Wait()
		if got := s.commits(t) - before; got != 1 {
			t.Fatalf("%d transactions, want 1: this test shows nothing", got)
		}
		users, total, err := s.Users(t.Context(), s.at, every)
		if err != nil || total != 2 || len(users) != 2 {
			t.Errorf("Users = %+v of %d, %v; want three and five", users, total, err)
		}
	})
}

// Registries with users in many blocks of user_counts, some of which have no user
// any more.
func TestPagesOverManyBlocks(t *testing.T) {
	s := openMemory(t)
	r, _, _ := sample(t, s)
	other, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 1, RegionID: 1, Name: "other"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = exec(t, s, `INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_version, incarnation)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
		SELECT CASE i % 3 WHEN 0 THEN ? ELSE ? END, printf('u%d', i), 0, -1, 0, 0, randomblob(32), 1, randomblob(16) FROM n`, other.ID, r.ID)
	if err == nil {
		err = exec(t, s, recount)
	}
	if err == nil {
		err = exec(t, s, "DELETE FROM users WHERE id BETWEEN 5000 AND 17000 AND id % 7 > 0 OR id BETWEEN 20000 AND 25000")
	}
	if err != nil {
		t.Fatal(err)
	}
	all, total, err := s.Users(t.Context(), r.Ref(), every)
	if err != nil || int64(len(all)) != total || total < 9000 {
		t.Fatalf("Users() = %d users of %d, %v; want all of more than 9,000", len(all), total, err)
	}
	for offset := int64(0); offset < total+2; offset += 97 {
		users, count, err := s.Users(t.Context(), r.Ref(), accounts.Page{Limit: 10, Offset: offset})
		if err != nil || count != total || int64(len(users)) != max(0, min(10, total-offset)) || len(users) > 0 && users[0].ID != all[offset].ID {
			t.Fatalf("Users at the offset %d = %+v of %d, %v; want 10 of %d from %+v", offset, users, count, err, total, all[min(offset, total-1)])
		}
	}
}
