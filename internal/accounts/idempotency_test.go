package accounts_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/sqlite"
	"github.com/registryusers/registryusers/internal/store/storetest"
)

// mine is the API key of all creates here.
var mine = accounts.APIKey{ID: 7, ProjectID: 3}

// keyed creates with an idempotency key.
func (e *env) keyed(t *testing.T, key string, n accounts.NewUser) (accounts.CreatedUser, error) {
	t.Helper()
	return e.CreateUser(t.Context(), mine, e.at, key, n)
}

// first creates a user with an idempotency key. It must succeed.
func (e *env) first(t *testing.T, key string, n accounts.NewUser) accounts.CreatedUser {
	t.Helper()
	u, err := e.keyed(t, key, n)
	if err != nil || u.Replayed || u.ID < 1 || u.Secret.IsZero() {
		t.Fatalf("CreateUser(%q, %+v) = %+v, %v; want a new user with a secret", key, n, u, err)
	}
	return u
}

// wantReplay checks that a create returned the first response again.
func wantReplay(t *testing.T, what string, got accounts.CreatedUser, err error, first accounts.CreatedUser) {
	t.Helper()
	type response struct {
		id, duration     int64
		name, secret     string
		readOnly         bool
		created, expires time.Time
	}
	of := func(u accounts.CreatedUser) response {
		return response{u.ID, u.Duration, u.Name, u.Secret.Reveal(), u.ReadOnly, u.CreatedAt, u.ExpiresAt}
	}
	if err != nil || !got.Replayed || of(got) != of(first) {
		t.Errorf("%s: %+v, %v, replayed %t; want the first response, %+v, replayed", what, of(got), err, got.Replayed, of(first))
	}
}

// wantRefusal checks that a create returned only an error.
func wantRefusal(t *testing.T, what string, got accounts.CreatedUser, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || !reflect.DeepEqual(got, accounts.CreatedUser{}) {
		t.Errorf("%s: %+v, %v; want %v and no user", what, got, err, want)
	}
}

// second returns another service, as of another process, on a database file.
func second(t *testing.T, file string, key accounts.ServerKey, now func() time.Time) *accounts.Service {
	t.Helper()
	store, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return accounts.New(store, key, now)
}

// testKey is the server key of [newEnv].
func testKey() accounts.ServerKey { return accounts.NewServerKey("test", [32]byte{1, 2, 3}) }

// dump returns the complete content of the database, which must not change when a
// request is refused.
func (e *env) dump(t *testing.T) string {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(e.dir, "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all strings.Builder
	for _, table := range []string{"registries", "users", "idempotency_records"} {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row := make([]any, len(columns))
			for i := range row {
				row[i] = &row[i]
			}
			if err := rows.Scan(row...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&all, "%s", table)
			for i, value := range row {
				fmt.Fprintf(&all, " %s=%x", columns[i], value)
			}
			fmt.Fprintln(&all)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// records returns how many records there are.
func (e *env) records(t *testing.T) int { return strings.Count(e.dump(t), "idempotency_records") }

func wantRecords(t *testing.T, what string, e *env, want int) {
	t.Helper()
	if got := e.records(t); got != want {
		t.Errorf("%s: %d records; want %d", what, got, want)
	}
}

func TestRepeatedCreateReturnsTheFirstResult(t *testing.T) {
	e := newEnv(t)
	for i, n := range []accounts.NewUser{
		{Name: "generated", Duration: 14},
		{Name: "", Duration: 365, ReadOnly: true},
		{Name: "ends", Duration: 0},
		{Name: "never", Duration: -1},
		{Name: "custom", Duration: 14, Secret: pw("pässword & more")},
		{Name: "chosenreader", Duration: -1, ReadOnly: true, Secret: pw("p")},
	} {
		key := fmt.Sprint("key", i)
		e.now = noon
		first := e.first(t, key, n)
		before := e.dump(t)
		for _, later := range []time.Duration{0, time.Microsecond, 23 * time.Hour} {
			e.now = noon.Add(later)
			got, err := e.keyed(t, key, n)
			wantReplay(t, fmt.Sprintf("%s, %v later", n.Name, later), got, err, first)
		}
		if after := e.dump(t); after != before {
			t.Errorf("%s: repeats changed the database from\n%sto\n%s", n.Name, before, after)
		}
		e.now = noon
		want := first.ID
		if n.Duration == 0 {
			want = 0
		}
		account, err := e.login(t, "3-5-demo+"+n.Name, first.Secret.Reveal(), "")
		wantLogin(t, n.Name, account, err, want)
	}
}

func TestWithoutAnIdempotencyKeyNothingIsRepeated(t *testing.T) {
	e := newEnv(t)
	n := accounts.NewUser{Name: "u", Duration: 1}
	e.create(t, n)
	for _, key := range []string{"", "key", ""} {
		got, err := e.keyed(t, key, n)
		wantRefusal(t, fmt.Sprintf("again, with the key %q", key), got, err, registryusers.ErrUserExists)
	}
	wantRecords(t, "without a key", e, 0)
	e.first(t, "key", accounts.NewUser{Name: "v", Duration: 1})
	got, err := e.keyed(t, "", accounts.NewUser{Name: "v", Duration: 1})
	wantRefusal(t, "the repeat without the key", got, err, registryusers.ErrUserExists)
}

// A repeat works after a restart, on a copy of the data directory,
// and in another process.
func TestRepeatInAnotherProcess(t *testing.T) {
	e := newEnv(t)
	requests := map[string]accounts.NewUser{
		"generated": {Name: "generated", Duration: 14},
		"custom":    {Name: "custom", Duration: 14, Secret: pw("custom")},
	}
	firsts := make(map[string]accounts.CreatedUser)
	for key, n := range requests {
		firsts[key] = e.first(t, key, n)
	}
	now := func() time.Time { return noon.Add(time.Hour) }
	file := filepath.Join(e.dir, "test.db")
	copied := func(files ...string) string {
		dir := t.TempDir()
		for _, name := range files {
			data, err := os.ReadFile(filepath.Join(e.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, "test.db")
	}
	replays := func(what string, s *accounts.Service) {
		t.Helper()
		for key, n := range requests {
			got, err := s.CreateUser(t.Context(), mine, e.at, key, n)
			wantReplay(t, what+": "+key, got, err, firsts[key])
		}
	}
	replays("another service on the store", accounts.New(e.store, testKey(), now))
	replays("another process on the file", second(t, file, testKey(), now))
	replays("a copy of the files in use", second(t, copied("test.db", "test.db-wal"), testKey(), now))
	backup := filepath.Join(t.TempDir(), "backup.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "VACUUM INTO ?", backup); err != nil {
		t.Fatal(err)
	}
	replays("a backup", second(t, backup, testKey(), now))
	if err := errors.Join(db.Close(), e.store.Close()); err != nil {
		t.Fatal(err)
	}
	replays("after a restart", second(t, file, testKey(), now))
}

func TestRepeatNeedsTheSameServerKey(t *testing.T) {
	e := newEnv(t)
	n := accounts.NewUser{Name: "u", Duration: 1}
	first := e.first(t, "key", n)
	// Both its id and its bytes differ; the id alone does not matter.
	other := accounts.New(e.store, accounts.NewServerKey("test", [32]byte{1, 2, 4}), func() time.Time { return e.now })
	got, err := other.CreateUser(t.Context(), mine, e.at, "key", n)
	wantRefusal(t, "the same request under another server key", got, err, registryusers.ErrUserExists)
	got, err = other.CreateUser(t.Context(), mine, e.at, "key", accounts.NewUser{Name: "v", Duration: 1})
	if err != nil || got.Replayed || got.ID == first.ID || got.Secret.Reveal() == first.Secret.Reveal() {
		t.Errorf("another request under another server key: the user %d, %v, replayed %t; want a new one with a secret of its own", got.ID, err, got.Replayed)
	}
	got, err = e.keyed(t, "key", n)
	wantReplay(t, "under the server key", got, err, first)
}

func TestRepeatAfterTheUserWasChanged(t *testing.T) {
	for _, test := range []struct {
		what   string
		change func(e *env, u accounts.User) error
		want   error // nil: the first response, whatever the user is now
	}{
		{"narrowed", func(e *env, u accounts.User) error { return e.change(u, accounts.UserUpdate{ReadOnly: new(true)}) }, nil},
		{"ended", func(e *env, u accounts.User) error { return e.change(u, accounts.UserUpdate{Days: new(int64(0))}) }, nil},
		{"never to end", func(e *env, u accounts.User) error { return e.change(u, accounts.UserUpdate{Days: new(int64(-1))}) }, nil},
		{"given a new secret", func(e *env, u accounts.User) error {
			return e.change(u, accounts.UserUpdate{NewSecret: true})
		}, registryusers.ErrUserChanged},
		{"given its own secret as a new one", func(e *env, u accounts.User) error {
			_, err := e.store.UpdateUser(context.Background(), e.registryOf(u.RegistryID), u.ID, func(u *accounts.User) error { u.SecretVersion++; return nil }, nil)
			return err
		}, registryusers.ErrUserChanged},
		{"deleted", func(e *env, u accounts.User) error {
			return e.DeleteUser(context.Background(), e.all, e.registryOf(u.RegistryID), u.ID)
		}, registryusers.ErrUserChanged},
		{"deleted, and another created with its name", func(e *env, u accounts.User) error {
			n := accounts.NewUser{Name: u.Name, Duration: u.Duration}
			if u.Verifier.Hash != "" {
				n.Secret = pw("custom")
			}
			err := e.DeleteUser(context.Background(), e.all, e.registryOf(u.RegistryID), u.ID)
			if err == nil {
				_, err = e.CreateUser(context.Background(), mine, e.at, "", n)
			}
			return err
		}, registryusers.ErrUserChanged},
	} {
		for _, n := range []accounts.NewUser{{Name: "u", Duration: 14}, {Name: "u", Duration: 14, Secret: pw("custom")}} {
			what := fmt.Sprintf("%s, custom secret %t", test.what, !n.Secret.IsZero())
			e := newEnv(t)
			first := e.first(t, "key", n)
			if err := test.change(e, first.User); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			before := e.dump(t)
			got, err := e.keyed(t, "key", n)
			if test.want == nil {
				wantReplay(t, what, got, err, first)
			} else {
				wantRefusal(t, what, got, err, test.want)
			}
			n.Duration++
			got, err = e.keyed(t, "key", n)
			wantRefusal(t, what+", another request", got, err, registryusers.ErrIdempotencyKeyReused)
			if after := e.dump(t); after != before {
				t.Errorf("%s: repeats changed the database from\n%sto\n%s", what, before, after)
			}
		}
	}
}

// The name is free after the user was removed, but its key is not: a caller that wants
// another user uses another key.
func TestAnotherKeyForTheNameOfARemovedUser(t *testing.T) {
	e := newEnv(t)
	n := accounts.NewUser{Name: "u", Duration: 1}
	first := e.first(t, "one", n)
	if err := e.DeleteUser(t.Context(), e.all, e.registryOf(first.RegistryID), first.ID); err != nil {
		t.Fatal(err)
	}
	another := e.first(t, "two", n)
	if another.ID <= first.ID || another.Secret.Reveal() == first.Secret.Reveal() {
		t.Errorf("the second user's id is %d; want above %d, and another secret", another.ID, first.ID)
	}
	got, err := e.keyed(t, "two", n)
	wantReplay(t, "the second one's key", got, err, another)
	got, err = e.keyed(t, "one", n)
	wantRefusal(t, "the first one's key", got, err, registryusers.ErrUserChanged)
}

func TestAnotherRequestWithTheSameKey(t *testing.T) {
	for _, first := range []accounts.NewUser{
		{Name: "generated", Duration: 14},
		{Name: "", Duration: 14},
		{Name: "custom", Duration: 14, Secret: pw("custom")},
	} {
		e := newEnv(t)
		response := e.first(t, "key", first)
		before := e.dump(t)
		for what, change := range map[string]func(n *accounts.NewUser){
			"another name":            func(n *accounts.NewUser) { n.Name = "another" },
			"a longer name":           func(n *accounts.NewUser) { n.Name += "0" },
			"one day more":            func(n *accounts.NewUser) { n.Duration++ },
			"duration 0":              func(n *accounts.NewUser) { n.Duration = 0 },
			"never to end":            func(n *accounts.NewUser) { n.Duration = -1 },
			"read-only":               func(n *accounts.NewUser) { n.ReadOnly = true },
			"another secret":          func(n *accounts.NewUser) { n.Secret = pw("another") },
			"the generated secret":    func(n *accounts.NewUser) { n.Secret = response.Secret },
			"a longer secret":         func(n *accounts.NewUser) { n.Secret = pw(n.Secret.Reveal() + " ") },
			"a longer secret, U+00A0": func(n *accounts.NewUser) { n.Secret = pw(n.Secret.Reveal() + "\u00a0") },
			"no secret":               func(n *accounts.NewUser) { n.Secret = registryusers.SecretText{} },
			"all of it": func(n *accounts.NewUser) {
				*n = accounts.NewUser{Name: "z", Duration: 1, ReadOnly: true, Secret: pw("z")}
			},
		} {
			n := first
			change(&n)
			if n.Secret.Reveal() == first.Secret.Reveal() && n.Name == first.Name && n.Duration == first.Duration && n.ReadOnly == first.ReadOnly {
				continue // no change to this one
			}
			got, err := e.keyed(t, "key", n)
			wantRefusal(t, first.Name+": "+what, got, err, registryusers.ErrIdempotencyKeyReused)
		}
		if after := e.dump(t); after != before {
			t.Errorf("%s: other requests changed the database from\n%sto\n%s", first.Name, before, after)
		}
		got, err := e.keyed(t, "key", first)
		wantReplay(t, first.Name+": the first request", got, err, response)
	}
}

// The same key by another API key, or for another path, is another key.
func TestOneKeyInOtherScopes(t *testing.T) {
	e := newEnv(t)
	place := func(project, region int64, registry string) accounts.RegistryRef {
		r, err := e.CreateRegistry(t.Context(), accounts.Administrator, project, region, registry)
		if err != nil {
			t.Fatal(err)
		}
		return accounts.RegistryRef{ProjectID: project, RegionID: region, RegistryID: r.ID}
	}
	two := place(3, 5, "two")
	type scope struct {
		caller accounts.APIKey
		at     accounts.RegistryRef
		key    string
	}
	var scopes []scope
	for _, caller := range []accounts.APIKey{{ID: 1}, {ID: 11}} {
		for _, ref := range []accounts.RegistryRef{e.at, two, place(2, caller.ID, "demo"), place(22, caller.ID, "demo")} {
			for _, key := range []string{"key", "Key", "KEY", "key ", "1key", "\x00key", "2\x00key", "0", strings.Repeat("k", 255), strings.Repeat("k", 254)} {
				scopes = append(scopes, scope{caller, ref, key})
			}
		}
	}
	responses := make([]accounts.CreatedUser, len(scopes))
	secrets := make(map[string]bool)
	for i, s := range scopes {
		var err error
		responses[i], err = e.CreateUser(t.Context(), s.caller, s.at, s.key, accounts.NewUser{Name: fmt.Sprint("u", i), Duration: 1})
		if err != nil || responses[i].Replayed {
			t.Fatalf("%+v: %+v, %v; want a new user", s, responses[i], err)
		}
		secrets[responses[i].Secret.Reveal()] = true
	}
	if len(secrets) != len(scopes) {
		t.Errorf("%d different secrets for %d users", len(secrets), len(scopes))
	}
	for i, s := range scopes {
		got, err := e.CreateUser(t.Context(), s.caller, s.at, s.key, accounts.NewUser{Name: fmt.Sprint("u", i), Duration: 1})
		wantReplay(t, fmt.Sprintf("%+v", s), got, err, responses[i])
	}
}

func TestAFailedCreateIsNotRecorded(t *testing.T) {
	const key = "key"
	valid := accounts.NewUser{Name: "valid", Duration: 1}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, custom := range []string{"", "custom"} {
		for _, test := range []struct {
			what string
			fail func(e *env) (accounts.CreatedUser, error)
			want error
		}{
			{"the name is taken", func(e *env) (accounts.CreatedUser, error) {
				return e.keyed(t, key, accounts.NewUser{Name: "taken", Duration: 1, Secret: pw(custom)})
			}, registryusers.ErrUserExists},
			{"no registry", func(e *env) (accounts.CreatedUser, error) {
				ref := e.at
				ref.RegistryID = 99
				return e.CreateUser(t.Context(), mine, ref, key, accounts.NewUser{Name: "u", Duration: 1, Secret: pw(custom)})
			}, registryusers.ErrRegistryNotFound},
			{"another project", func(e *env) (accounts.CreatedUser, error) {
				return e.CreateUser(t.Context(), accounts.APIKey{ID: mine.ID, ProjectID: 4}, e.at, key, accounts.NewUser{Name: "u", Duration: 1, Secret: pw(custom)})
			}, registryusers.ErrForbidden},
			{"an impossible duration", func(e *env) (accounts.CreatedUser, error) {
				return e.keyed(t, key, accounts.NewUser{Name: "u", Duration: -2, Secret: pw(custom)})
			}, registryusers.ErrInvalid},
			{"a canceled request", func(e *env) (accounts.CreatedUser, error) {
				return e.CreateUser(canceled, mine, e.at, key, accounts.NewUser{Name: "u", Duration: 1, Secret: pw(custom)})
			}, context.Canceled},
		} {
			e := newEnv(t)
			e.create(t, accounts.NewUser{Name: "taken", Duration: 1})
			before := e.dump(t)
			for range 2 { // the repeat of a failure is not replayed either
				got, err := test.fail(e)
				wantRefusal(t, test.what, got, err, test.want)
			}
			if after := e.dump(t); after != before {
				t.Errorf("%s: the database changed from\n%sto\n%s", test.what, before, after)
			}
			first := e.first(t, key, valid)
			got, err := e.keyed(t, key, valid)
			wantReplay(t, test.what+", then a valid one", got, err, first)
		}
	}
}

// The same request succeeds with its key as soon as the cause of the failure is removed.
func TestTheSameRequestAfterItsFailure(t *testing.T) {
	e := newEnv(t)
	taken, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1})
	n := accounts.NewUser{Name: "u", Duration: 1}
	got, err := e.keyed(t, "key", n)
	wantRefusal(t, "the name is taken", got, err, registryusers.ErrUserExists)
	if err := e.DeleteUser(t.Context(), e.all, e.registryOf(taken.RegistryID), taken.ID); err != nil {
		t.Fatal(err)
	}
	e.first(t, "key", n)

	ref := e.at
	ref.RegistryID++ // not created yet
	got, err = e.CreateUser(t.Context(), mine, ref, "key", n)
	wantRefusal(t, "no registry", got, err, registryusers.ErrRegistryNotFound)
	if generated := e.registry(t, "two"); generated != ref {
		t.Fatalf("the second registry is at %+v; want %+v", generated, ref)
	}
	if got, err = e.CreateUser(t.Context(), mine, ref, "key", n); err != nil || got.Replayed {
		t.Errorf("with the registry: %+v, %v; want a new user", got, err)
	}
}

func TestRepeatIsKnownFor24Hours(t *testing.T) {
	for _, n := range []accounts.NewUser{{Name: "u", Duration: 14}, {Name: "u", Duration: 14, Secret: pw("custom")}} {
		e := newEnv(t)
		e.now = noon.Add(999) // the stored time is in microseconds
		first := e.first(t, "key", n)
		end := noon.Add(24 * time.Hour)
		for _, before := range []time.Duration{time.Second, time.Microsecond, 1} {
			e.now = end.Add(-before)
			got, err := e.keyed(t, "key", n)
			wantReplay(t, fmt.Sprint(before, " before the end"), got, err, first)
			if err := e.DeleteExpired(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantRecords(t, fmt.Sprint("deleted expired records ", before, " before the end"), e, 1)
		}
		for _, after := range []time.Duration{0, 1, time.Microsecond, time.Hour} {
			e.now = end.Add(after)
			got, err := e.keyed(t, "key", n)
			wantRefusal(t, fmt.Sprint(after, " after the end"), got, err, registryusers.ErrUserExists)
		}
		// The expired record blocks no create, deleted or not.
		e.now = end
		other := accounts.NewUser{Name: "another", Duration: 1}
		second := e.first(t, "key", other)
		if n.Secret.IsZero() && second.Secret.Reveal() == first.Secret.Reveal() {
			t.Error("the second user has the first one's secret")
		}
		wantRecords(t, "replaced", e, 1)
		got, err := e.keyed(t, "key", n)
		wantRefusal(t, "the first request, when the key is another's", got, err, registryusers.ErrIdempotencyKeyReused)
		e.now = end.Add(24*time.Hour - time.Microsecond)
		got, err = e.keyed(t, "key", other)
		wantReplay(t, "the second request, before its own end", got, err, second)
	}
}

func TestDeleteExpired(t *testing.T) {
	e := newEnv(t)
	if err := e.DeleteExpired(t.Context()); err != nil {
		t.Errorf("DeleteExpired of nothing:  %v", err)
	}
	n := accounts.NewUser{Name: "u", Duration: 14}
	first := e.first(t, "key", n)
	e.now = noon.Add(time.Hour)
	later := e.first(t, "later", accounts.NewUser{Name: "later", Duration: 14})
	e.now = noon.Add(24 * time.Hour)
	for range 2 {
		if err := e.DeleteExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantRecords(t, "after 24 hours", e, 1)
	}
	account, err := e.login(t, "u", first.Secret.Reveal(), "")
	wantLogin(t, "the user whose record was deleted", account, err, first.ID)
	got, err := e.keyed(t, "key", n)
	wantRefusal(t, "the repeat", got, err, registryusers.ErrUserExists)
	got, err = e.keyed(t, "later", accounts.NewUser{Name: "later", Duration: 14})
	wantReplay(t, "the other's repeat", got, err, later)
	e.now = noon.Add(25 * time.Hour)
	if err := e.DeleteExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, "after 25 hours", e, 0)
	// The same key and name after the first record was deleted: another secret.
	if err := e.DeleteUser(t.Context(), e.all, e.registryOf(first.RegistryID), first.ID); err != nil {
		t.Fatal(err)
	}
	if again := e.first(t, "key", n); again.Secret.Reveal() == first.Secret.Reveal() {
		t.Error("the same request a day later has the same secret; want another salt")
	}
}

// gathered is a store in which the first lookups of the record wait for each
// other, so that all creates continue to CreateUser.
type gathered struct {
	accounts.Store
	missing *atomic.Int32 // lookups still to come
	all     chan struct{} // closed by the last of them
}

func (s gathered) IdempotencyRecord(ctx context.Context, key []byte) (accounts.IdempotencyRecord, error) {
	r, err := s.Store.IdempotencyRecord(ctx, key)
	if s.missing.Add(-1) == 0 {
		close(s.all)
	}
	select {
	case <-s.all:
	case <-time.After(3 * time.Second): // a lookup is missing
	}
	return r, err
}

// atOnce creates n times at once, in two processes.
func (e *env) atOnce(t *testing.T, n int, request func(i int) accounts.NewUser) ([]accounts.CreatedUser, []error) {
	t.Helper()
	other, err := sqlite.Open(t.Context(), filepath.Join(e.dir, "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	g := gathered{missing: new(atomic.Int32), all: make(chan struct{})}
	g.missing.Store(int32(n))
	var services []*accounts.Service
	for _, store := range []accounts.Store{e.store, other} {
		g.Store = store
		services = append(services, accounts.New(g, testKey(), func() time.Time { return noon }))
	}
	users, errs := make([]accounts.CreatedUser, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			users[i], errs[i] = services[i%2].CreateUser(t.Context(), mine, e.at, "key", request(i))
		})
	}
	wg.Wait()
	return users, errs
}

func TestOneRequestManyTimesAtOnce(t *testing.T) {
	for _, test := range []struct {
		what string
		n    int // argon2id takes its time
		accounts.NewUser
	}{
		{"generated", 64, accounts.NewUser{Name: "u", Duration: 14}},
		{"custom", 4, accounts.NewUser{Name: "u", Duration: 14, Secret: pw("custom")}},
	} {
		e := newEnv(t)
		users, errs := e.atOnce(t, test.n, func(int) accounts.NewUser { return test.NewUser })
		i := slices.IndexFunc(users, func(u accounts.CreatedUser) bool { return u.ID > 0 && !u.Replayed })
		if i < 0 {
			t.Fatalf("%s: no create succeeded: %v", test.what, errs)
		}
		first := users[i]
		for j, u := range users {
			if j != i {
				wantReplay(t, fmt.Sprintf("%s, %d of %d at once", test.what, j, test.n), u, errs[j], first)
			}
		}
		if all, err := e.Users(t.Context(), e.all, e.at); err != nil || len(all) != 1 || all[0].ID != first.ID {
			t.Errorf("%s: Users() = %+v, %v; want the one, %d", test.what, all, err, first.ID)
		}
		wantRecords(t, test.what, e, 1)
	}
}

func TestManyRequestsWithOneKeyAtOnce(t *testing.T) {
	for _, test := range []struct {
		what string
		n    int
		of   func(i int) accounts.NewUser
	}{
		{"different names", 64, func(i int) accounts.NewUser { return accounts.NewUser{Name: fmt.Sprint("u", i), Duration: 14} }},
		{"one name", 64, func(i int) accounts.NewUser { return accounts.NewUser{Name: "u", Duration: int64(i)} }},
		{"different secrets", 4, func(i int) accounts.NewUser {
			return accounts.NewUser{Name: "u", Duration: 14, Secret: pw(fmt.Sprint("secret", i))}
		}},
		{"different names and secrets", 4, func(i int) accounts.NewUser {
			return accounts.NewUser{Name: fmt.Sprint("u", i), Duration: 14, Secret: pw(fmt.Sprint("secret", i))}
		}},
	} {
		e := newEnv(t)
		users, errs := e.atOnce(t, test.n, test.of)
		winner := -1
		for i, u := range users {
			if errs[i] == nil && winner < 0 {
				winner = i
				continue
			}
			wantRefusal(t, fmt.Sprintf("%s, %d of %d at once", test.what, i, test.n), u, errs[i], registryusers.ErrIdempotencyKeyReused)
		}
		if winner < 0 || users[winner].Replayed {
			t.Fatalf("%s: no create succeeded", test.what)
		}
		if all, err := e.Users(t.Context(), e.all, e.at); err != nil || len(all) != 1 || all[0].ID != users[winner].ID {
			t.Errorf("%s: Users() = %+v, %v; want the one, %d", test.what, all, err, users[winner].ID)
		}
		got, err := e.keyed(t, "key", test.of(winner))
		wantReplay(t, test.what+": the winner's", got, err, users[winner])
	}
}

// Repeats must not cost the server less than other requests do, nor much more.
func TestArgon2idsOfARepeat(t *testing.T) {
	e := newEnv(t)
	custom := accounts.NewUser{Name: "custom", Duration: 14, Secret: pw("custom")}
	generated := accounts.NewUser{Name: "generated", Duration: 14}
	gone := accounts.NewUser{Name: "gone", Duration: 14, Secret: pw("custom")}
	if err := e.DeleteUser(t.Context(), e.all, e.at, e.first(t, "gone", gone).ID); err != nil {
		t.Fatal(err)
	}
	with := func(n accounts.NewUser, change func(*accounts.NewUser)) accounts.NewUser {
		change(&n)
		return n
	}
	for _, test := range []struct {
		what, key string
		n         accounts.NewUser
		want      int
	}{
		{"a generated secret, the first", "generated", generated, 0},
		{"a generated secret, the repeat", "generated", generated, 0},
		{"a generated secret, a custom one with its key", "generated", with(generated, func(n *accounts.NewUser) { n.Secret = pw("custom") }), 0},
		{"a custom secret, the first", "custom", custom, 1},
		{"a custom secret, the repeat", "custom", custom, 1},
		{"another custom secret", "custom", with(custom, func(n *accounts.NewUser) { n.Secret = pw("another") }), 1},
		{"another request", "custom", with(custom, func(n *accounts.NewUser) { n.Duration = 1 }), 0},
		{"a deleted user", "gone", gone, 0},
		{"a name that is taken, another key", "another", custom, 1},
	} {
		if got := hashes(func() { _, _ = e.keyed(t, test.key, test.n) }); got != test.want {
			t.Errorf("%s: %d argon2ids; want %d", test.what, got, test.want)
		}
	}
}

// spellings returns the byte sequences of the text, or of a hash of
// it that needs no key, in every likely encoding.
func spellings(text string) map[string]string {
	sum256, sum512 := sha256.Sum256([]byte(text)), sha512.Sum512([]byte(text))
	unkeyed := hmac.New(sha256.New, nil)
	unkeyed.Write([]byte(text))
	all := make(map[string]string)
	for what, data := range map[string][]byte{"": []byte(text), "SHA-256 of ": sum256[:], "SHA-512 of ": sum512[:], "HMAC without a key of ": unkeyed.Sum(nil)} {
		all[what+"it"] = string(data)
		all[what+"it, in hex"] = hex.EncodeToString(data)
		all[what+"it, in HEX"] = strings.ToUpper(hex.EncodeToString(data))
		for offset := range 3 { // its start in a group of three bytes
			shifted := append(make([]byte, offset), data...)
			for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
				encoded := encoding.EncodeToString(shifted)
				first := (offset*8 + 5) / 6 // the letters that depend only on it
				all[fmt.Sprintf("%sit, in %s at %d", what, name, offset)] = encoded[first : len(shifted)*8/6]
			}
		}
	}
	return all
}

func TestNoTraceOfARepeatsSecrets(t *testing.T) {
	e := newEnv(t)
	const key, custom = "idempotency-key-Xq7wZ", "custom-secret-Xq7wZ"
	generated := e.first(t, key, accounts.NewUser{Name: "madeuser", Duration: 14})
	n := accounts.NewUser{Name: "customuser", Duration: 14, Secret: pw(custom)}
	e.first(t, key+"2", n)
	for _, repeat := range []accounts.NewUser{n, {Name: "customuser", Duration: 14, Secret: pw(custom + "another")}} {
		_, _ = e.keyed(t, key+"2", repeat)
	}
	// The search finds stored text: a name, and the index in any form.
	for what, text := range map[string]string{"the name": "customuser", "the index": string(generated.Verifier.Index)} {
		if len(filesWith(t, e.dir, text)) == 0 {
			t.Fatalf("the files do not even have %s: the search is broken", what)
		}
	}
	look := func(when string) {
		for what, text := range map[string]string{
			"the generated secret": generated.Secret.Reveal(), "the custom secret": custom, "the idempotency key": key, "the second idempotency key": key + "2",
			"the key's scope": strings.Join([]string{"7", "create user", "3", "5", "1", key}, "\x00"),
		} {
			for form, spelling := range spellings(text) {
				if files := filesWith(t, e.dir, spelling); len(files) > 0 {
					t.Errorf("%s, %s: %s: it is in %q", when, what, form, files)
				}
			}
		}
	}
	look("in use")
	if err := e.store.Close(); err != nil { // the -wal goes into the file
		t.Fatal(err)
	}
	look("closed")
}

// The input of a derived secret is deleted with the record, also from the
// database's free space and its log.
func TestNoTraceOfAnEndedRecord(t *testing.T) {
	e := newEnv(t)
	var salts [][]byte
	for i := range 40 { // several pages
		key := fmt.Sprint("key ", i)
		e.first(t, key, accounts.NewUser{Name: fmt.Sprint("user", i), Duration: 14})
		scope := "7\x00create user\x003\x005\x001\x00" + key
		r, _, err := storetest.RecordedUser(t.Context(), e.store, keyedHash("idempotency key\x00"+scope))
		if err != nil {
			t.Fatal(err)
		}
		salts = append(salts, r.Salt)
	}
	found := func() (n int) {
		for _, salt := range salts {
			n += len(filesWith(t, e.dir, string(salt)))
		}
		return n
	}
	if n := found(); n < len(salts) {
		t.Fatalf("before they end: got %d salts in the files, want %d: the search is broken", n, len(salts))
	}
	e.now = e.now.Add(accounts.IdempotencyLifetime)
	if err := e.DeleteExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := found(); n > 0 {
		t.Errorf("after they ended, the database open: got %d salts in the files, want none", n)
	}
	if err := e.store.Close(); err != nil {
		t.Fatal(err)
	}
	if n := found(); n > 0 {
		t.Errorf("after they ended, the database closed: got %d salts in the files, want none", n)
	}
}

// forgetful finds no record.
type forgetful struct{ *sqlite.Store }

func (forgetful) IdempotencyRecord(context.Context, []byte) (accounts.IdempotencyRecord, error) {
	return accounts.IdempotencyRecord{}, registryusers.ErrNotFound
}

// A record that conflicts and is then deleted is no conflict that the
// caller can resolve; the caller should try again.
func TestARecordEndsWhileARepeatLooksForIt(t *testing.T) {
	e := newEnv(t)
	e.first(t, "key", accounts.NewUser{Name: "user", Duration: 14})
	e.Service = accounts.New(forgetful{e.store}, accounts.NewServerKey("test", [32]byte{1, 2, 3}), func() time.Time { return e.now })
	if u, err := e.keyed(t, "key", accounts.NewUser{Name: "another", Duration: 14}); !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("got %+v, %v; want %v", u, err, registryusers.ErrUnavailable)
	}
}

// keyedHash is HMAC-SHA-256 under the server key of [newEnv].
func keyedHash(data string) []byte {
	h := hmac.New(sha256.New, append([]byte{1, 2, 3}, make([]byte, 29)...))
	h.Write([]byte(data))
	return h.Sum(nil)
}

// The records of the last 24 hours must mean the same to the next
// version of the program, so this test spells it out: the hashes, HKDF
// (RFC 5869) by hand, and the digits to the base of 62.
func TestRecordsMeanTheSameInEveryVersion(t *testing.T) {
	e := newEnv(t)
	for _, n := range []accounts.NewUser{
		{Name: "generated", Duration: 14},
		{Name: "", Duration: -1, ReadOnly: true},
		{Name: "custom", Duration: 14, Secret: pw("custom")},
	} {
		key := "key of " + n.Name
		u := e.first(t, key, n)
		scope := "7\x00create user\x003\x005\x001\x00" + key
		r, of, err := storetest.RecordedUser(t.Context(), e.store, keyedHash("idempotency key\x00"+scope))
		if err != nil || of == nil || of.ID != u.ID || r.ObjectID != u.ID {
			t.Fatalf("%q: the record under its key: %+v, %+v, %v; want the user %d", n.Name, r, of, err, u.ID)
		}
		request := fmt.Sprintf("create user\x00%s\x00%d %t %t %s", scope, n.Duration, n.ReadOnly, !n.Secret.IsZero(), n.Name)
		if !bytes.Equal(r.Request, keyedHash(request)) {
			t.Errorf("%q: the request's hash is %x; want %x, of %q", n.Name, r.Request, keyedHash(request), request)
		}
		if want := noon.Add(24 * time.Hour); len(r.Salt) != 32 || !r.ExpiresAt.Equal(want) {
			t.Errorf("%q: the salt has %d bytes, the end is %v; want 32, and %v", n.Name, len(r.Salt), r.ExpiresAt, want)
		}
		if !n.Secret.IsZero() {
			continue
		}
		extract := hmac.New(sha256.New, r.Salt)
		extract.Write(append([]byte{1, 2, 3}, make([]byte, 29)...))
		expand := hmac.New(sha256.New, extract.Sum(nil))
		expand.Write([]byte("user secret\x00" + scope + "\x01"))
		number, base, digit := new(big.Int).SetBytes(expand.Sum(nil)), big.NewInt(62), new(big.Int)
		var want strings.Builder
		for range 32 {
			number.DivMod(number, base, digit)
			want.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[digit.Int64()])
		}
		if got := u.Secret.Reveal(); got != want.String() {
			t.Errorf("%q: the secret is %s; want %s, which its salt gives", n.Name, got, want.String())
		}
	}
}

func TestEveryRecordHasASaltOfItsOwn(t *testing.T) {
	e := newEnv(t)
	seen := make(map[string]bool)
	for i := range 50 {
		key := fmt.Sprint("key", i)
		e.first(t, key, accounts.NewUser{Name: fmt.Sprint("u", i), Duration: 1})
		r, _, err := storetest.RecordedUser(t.Context(), e.store, keyedHash("idempotency key\x007\x00create user\x003\x005\x001\x00"+key))
		if err != nil || len(r.Salt) != 32 || seen[string(r.Salt)] || bytes.Equal(r.Salt, make([]byte, 32)) {
			t.Fatalf("the salt %d is %x, %v; want 32 random bytes", i, r.Salt, err)
		}
		seen[string(r.Salt)] = true
	}
}

// change changes a user.
func (e *env) change(u accounts.User, update accounts.UserUpdate) error {
	_, _, err := e.UpdateUser(context.Background(), e.all, e.registryOf(u.RegistryID), u.ID, update)
	return err
}

// An idempotency key works for every operation in the same way.
func TestIdempotencyKeyOfAnotherOperation(t *testing.T) {
	e := newEnv(t)
	created := e.first(t, "key", accounts.NewUser{Name: "u", Duration: 1})
	update := func(key string, readOnly bool) (accounts.User, bool, error) {
		return accounts.UpdateOnce(t.Context(), e.Service, mine, e.at, created.ID, key, readOnly)
	}
	// The key of a create is free: keys count for each operation.
	if u, isRepeat, err := update("key", true); err != nil || isRepeat || !u.ReadOnly {
		t.Fatalf("the first update = %+v, repeated %t, %v; want the change", u, isRepeat, err)
	}
	if err := e.change(created.User, accounts.UserUpdate{ReadOnly: new(false)}); err != nil {
		t.Fatal(err)
	}
	if u, isRepeat, err := update("key", true); err != nil || !isRepeat || u.ID != created.ID || u.ReadOnly {
		t.Errorf("the same update = %+v, repeated %t, %v; want the user as it is, without a change", u, isRepeat, err)
	}
	if _, _, err := update("key", false); !errors.Is(err, registryusers.ErrIdempotencyKeyReused) {
		t.Errorf("another update with the key: %v; want %v", err, registryusers.ErrIdempotencyKeyReused)
	}
	e.now = e.now.Add(accounts.IdempotencyLifetime)
	if u, isRepeat, err := update("key", true); err != nil || isRepeat || !u.ReadOnly {
		t.Errorf("the update a day later = %+v, repeated %t, %v; want the change", u, isRepeat, err)
	}
}
