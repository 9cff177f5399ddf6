package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// record returns a record of a create at that time, to store.
func record(key string, at time.Time) accounts.IdempotencyRecord {
	return accounts.IdempotencyRecord{Key: index("key " + key), Request: index("request " + key), Salt: index("salt " + key), ExpiresAt: at.Add(24 * time.Hour)}
}

// createWith creates a user of that name with the record. It must succeed.
func createWith(t *testing.T, s accounts.Store, r accounts.Registry, name string, record accounts.IdempotencyRecord) (accounts.User, accounts.IdempotencyRecord) {
	t.Helper()
	u, err := s.CreateUser(t.Context(), r.Ref(), user(name), &record)
	if err != nil {
		t.Fatalf("CreateUser(%q), with a record: %v", name, err)
	}
	record.ObjectID = u.ID
	return u, record
}

// RecordedUser returns the record with a key, and its user, or nil if the user was
// deleted. ErrNotFound.
func RecordedUser(ctx context.Context, s accounts.Store, key []byte) (accounts.IdempotencyRecord, *accounts.User, error) {
	r, err := s.IdempotencyRecord(ctx, key)
	if err != nil {
		return r, nil, err
	}
	account, err := s.Account(ctx, r.ObjectID)
	if errors.Is(err, registryusers.ErrUserNotFound) {
		return r, nil, nil
	}
	return r, &account.User, err
}

// wantRecord checks the record of a key, and its user; nil: there must be none.
func wantRecord(t *testing.T, what string, s accounts.Store, want accounts.IdempotencyRecord, user *accounts.User) {
	t.Helper()
	got, u, err := RecordedUser(t.Context(), s, want.Key)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: Record = %+v, %v; want %+v", what, got, err, want)
	}
	if !reflect.DeepEqual(u, user) {
		t.Errorf("%s: the record's user is %+v; want %+v", what, u, user)
	}
}

func wantNoRecord(t *testing.T, what string, s accounts.Store, key []byte) {
	t.Helper()
	r, u, err := RecordedUser(t.Context(), s, key)
	if !errors.Is(err, registryusers.ErrNotFound) || u != nil {
		t.Errorf("%s: Record = %+v, %+v, %v; want %v", what, r, u, err, registryusers.ErrNotFound)
	}
}

func wantUsers(t *testing.T, what string, s accounts.Store, r accounts.Registry, want ...accounts.User) {
	t.Helper()
	got, _, err := s.Users(t.Context(), r.Ref(), every)
	if err != nil || len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%s: Users() = %+v, %v; want %+v", what, got, err, want)
	}
}

func testRecords(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	wantNoRecord(t, "at first", s, index("key a"))
	a, first := createWith(t, s, r, "a", record("a", created))
	odd := record("b", created)
	odd.Key, odd.Request, odd.Salt, odd.ExpiresAt = []byte{0, 'k', 0xff, 0}, []byte{0}, bytes.Repeat([]byte{0xff}, 32), created.Add(time.Microsecond)
	b, second := createWith(t, s, r, "b", odd)
	createUser(t, s, r, "c") // has none
	wantRecord(t, "a", s, first, &a)
	wantRecord(t, "b", s, second, &b)
	for what, key := range map[string][]byte{
		"no key": nil, "empty": {}, "cut": first.Key[:31], "longer": append(bytes.Clone(first.Key), 0), "up to a zero": {0, 'k', 0xff},
		"a request": first.Request, "a salt": first.Salt, "in hex": fmt.Appendf(nil, "%x", first.Key),
	} {
		wantNoRecord(t, what, s, key)
	}

	// The record is unchanged; its user is the current one.
	if err := setReadOnly(t.Context(), s, a, true); err != nil {
		t.Fatal(err)
	}
	if err := setEnd(t.Context(), s, a, -1, accounts.Never); err != nil {
		t.Fatal(err)
	}
	if err := setSecret(t.Context(), s, a, accounts.Verifier{Hash: "$argon2id$"}); err != nil {
		t.Fatal(err)
	}
	a.ReadOnly, a.Duration, a.ExpiresAt, a.Verifier, a.SecretVersion = true, -1, accounts.Never, accounts.Verifier{Hash: "$argon2id$"}, 2
	wantRecord(t, "after changes", s, first, &a)
	if err := s.DeleteUser(t.Context(), userRef(a), a.ID); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, "after DeleteUser", s, first, nil)
	createUser(t, s, r, "a")
	wantRecord(t, "after another has the name", s, first, nil)
	wantRecord(t, "the other record", s, second, &b)
}

func testRecordOfRefusedUser(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	taken, old := createWith(t, s, r, "taken", record("old", created))
	elsewhere := r.Ref()
	elsewhere.RegionID++
	for _, test := range []struct {
		what string
		at   accounts.RegistryRef
		want error
	}{
		{"a name that is taken", r.Ref(), registryusers.ErrUserExists},
		{"no such registry", elsewhere, registryusers.ErrRegistryNotFound},
	} {
		fresh := record("fresh", created)
		u := user("taken")
		u.Verifier.Index = index("another")
		_, err := s.CreateUser(t.Context(), test.at, u, &fresh)
		wantIs(t, test.what, err, test.want)
		wantNoRecord(t, test.what, s, fresh.Key)

		over := record("old", old.ExpiresAt)
		over.Salt = index("another salt")
		u.CreatedAt = old.ExpiresAt // so that the record of this key may be replaced
		_, err = s.CreateUser(t.Context(), test.at, u, &over)
		wantIs(t, test.what+", over an old record", err, test.want)
		wantRecord(t, test.what+", over an old record", s, old, &taken)
	}
	// A refused create leaves nothing behind.
	createWith(t, s, r, "new", record("fresh", created))
}

func testUserOfRefusedRecord(t *testing.T, s accounts.Store) {
	r, other := registry(t, s, "demo"), registry(t, s, "other")
	a, first := createWith(t, s, r, "a", record("one", created))
	for what, in := range map[string]accounts.Registry{"the same registry": r, "another registry": other} {
		again := record("one", created)
		again.Request, again.Salt = index("another request"), index("another salt")
		_, err := s.CreateUser(t.Context(), in.Ref(), user("b"), &again)
		wantIs(t, what, err, registryusers.ErrExists)
		if errors.Is(err, registryusers.ErrUserExists) {
			t.Errorf("%s: CreateUser, with a key that has a record: %v; want no word of a user", what, err)
		}
	}
	wantRecord(t, "after the refusals", s, first, &a)
	wantUsers(t, "after the refusals", s, r, a)
	wantUsers(t, "after the refusals", s, other)
	_, err := s.AccountBySecret(t.Context(), index("b"))
	wantIs(t, "AccountBySecret of a user that was refused", err, registryusers.ErrUserNotFound)
	again := record("one", created)
	_, err = s.CreateUser(t.Context(), r.Ref(), user("a"), &again)
	wantIs(t, "the name and the key again", err, registryusers.ErrExists)

	b := createUser(t, s, r, "b") // its name and its secret are free
	// A record outlives its user: it shows that there was one.
	if err := s.DeleteUser(t.Context(), userRef(a), a.ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.CreateUser(t.Context(), r.Ref(), user("a"), &again)
	wantIs(t, "after DeleteUser", err, registryusers.ErrExists)
	wantUsers(t, "after DeleteUser", s, r, b)
}

func testRecordEnds(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	a, first := createWith(t, s, r, "a", record("one", created))
	at := func(name string, now time.Time) (accounts.User, accounts.IdempotencyRecord, error) {
		u := user(name)
		u.CreatedAt, u.ExpiresAt = now, now
		replacing := record("one", now)
		replacing.Request, replacing.Salt = index("request "+name), index("salt "+name)
		u, err := s.CreateUser(t.Context(), r.Ref(), u, &replacing)
		replacing.ObjectID = u.ID
		return u, replacing, err
	}
	for _, before := range []time.Duration{24 * time.Hour, time.Second, time.Microsecond} {
		_, _, err := at("b", first.ExpiresAt.Add(-before))
		wantIs(t, fmt.Sprint(before, " before its end"), err, registryusers.ErrExists)
	}
	wantRecord(t, "before its end", s, first, &a)
	b, second, err := at("b", first.ExpiresAt)
	wantIs(t, "at its end", err, nil)
	wantRecord(t, "replaced at its end", s, second, &b)
	_, _, err = at("c", second.ExpiresAt.Add(-time.Microsecond))
	wantIs(t, "before the second one's end", err, registryusers.ErrExists)
	c, third, err := at("c", second.ExpiresAt.AddDate(1, 0, 0))
	wantIs(t, "long after its end", err, nil)
	wantRecord(t, "replaced long after its end", s, third, &c)
	wantUsers(t, "in the end", s, r, a, b, c)
}

func testDeleteRecords(t *testing.T, s accounts.Store) {
	if err := s.DeleteIdempotencyRecords(t.Context(), created); err != nil {
		t.Errorf("DeleteRecords, of none: %v", err)
	}
	r := registry(t, s, "demo")
	users := make(map[string]accounts.User)
	records := make(map[string]accounts.IdempotencyRecord)
	for name, end := range map[string]time.Time{
		"past": created.AddDate(-1, 0, 0), "just past": created.Add(-time.Microsecond), "now": created,
		"next": created.Add(time.Microsecond), "later": created.AddDate(0, 0, 1), "never": accounts.Never,
	} {
		kept := record(name, created)
		kept.ExpiresAt = end
		users[name], records[name] = createWith(t, s, r, name, kept)
	}
	gone := users["later"]
	if err := s.DeleteUser(t.Context(), userRef(gone), gone.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, there is nothing to delete
		if err := s.DeleteIdempotencyRecords(t.Context(), created); err != nil {
			t.Fatalf("DeleteRecords: %v", err)
		}
		for _, name := range []string{"past", "just past", "now"} {
			wantNoRecord(t, name, s, records[name].Key)
			u, err := s.User(t.Context(), r.Ref(), name)
			if err != nil {
				t.Errorf("%s: User: %v; want it kept, without its record", name, err)
			}
			wantUser(t, name, u, users[name])
		}
		for _, name := range []string{"next", "never"} {
			u := users[name]
			wantRecord(t, name, s, records[name], &u)
		}
		wantRecord(t, "of a deleted user", s, records["later"], nil)
	}
	createWith(t, s, r, "new", record("now", created)) // the key is free
}

func testRaceForRecord(t *testing.T, s accounts.Store) {
	for _, names := range []struct {
		what string
		of   func(i int) string
	}{
		{"different", func(i int) string { return fmt.Sprint("u", i) }},
		{"same", func(int) string { return "same" }},
	} {
		what, r := names.what+" names", registry(t, s, names.what)
		for _, now := range []time.Time{created, created.Add(24 * time.Hour)} { // first, and then replacing the old record
			before, _, err := s.Users(t.Context(), r.Ref(), every)
			if err != nil {
				t.Fatal(err)
			}
			winners := make([]accounts.User, racers)
			salt := func(i int) []byte { return index(fmt.Sprint("salt ", i, now)) }
			errs := race(func(i int) error {
				u := user(names.of(i) + fmt.Sprint(now.Day())) // not the name of an earlier winner
				u.CreatedAt, u.Verifier.Index = now, index(fmt.Sprint(what, i, now))
				kept := record(what, now)
				kept.Salt = salt(i)
				u, err := s.CreateUser(t.Context(), r.Ref(), u, &kept)
				winners[i] = u
				return err
			})
			wantOneWinner(t, what+": CreateUser", errs, registryusers.ErrExists)
			for i, err := range errs {
				if err == nil {
					want := record(what, now)
					want.Salt, want.ObjectID = salt(i), winners[i].ID
					wantRecord(t, what, s, want, &winners[i])
					wantUsers(t, what, s, r, append(before, winners[i])...)
				}
			}
		}
	}
}

// Creates of one name, each with its own key: the losers leave no record.
func testRaceForUserNameWithRecords(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	errs := race(func(i int) error {
		u := user("same")
		u.Verifier.Index = index(fmt.Sprint(i))
		kept := record(fmt.Sprint(i), created)
		_, err := s.CreateUser(t.Context(), r.Ref(), u, &kept)
		return err
	})
	wantOneWinner(t, "CreateUser", errs, registryusers.ErrUserExists)
	for i, err := range errs {
		if err != nil {
			wantNoRecord(t, "a loser", s, record(fmt.Sprint(i), created).Key)
		}
	}
}

// Only expired records are removed, also while others write.
func testRaceToDeleteRecords(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	old := record("old", created.AddDate(0, 0, -1)) // ends now
	if _, err := s.CreateUser(t.Context(), r.Ref(), user("old"), &old); err != nil {
		t.Fatal(err)
	}
	key := func(i int) string { // some replace the old record, and one of them does
		if i%4 == 1 {
			return "old"
		}
		return fmt.Sprint(i)
	}
	errs := race(func(i int) error {
		if i%2 == 0 {
			return s.DeleteIdempotencyRecords(t.Context(), created)
		}
		kept := record(key(i), created)
		_, err := s.CreateUser(t.Context(), r.Ref(), user(fmt.Sprint(i)), &kept)
		return err
	})
	replaced := 0
	for i, err := range errs {
		switch {
		case i%4 == 1 && err == nil:
			replaced++
		case i%4 == 1 && errors.Is(err, registryusers.ErrExists):
		case err != nil:
			t.Errorf("%d: %v", i, err)
		}
		if i%2 == 1 {
			if _, u, err := RecordedUser(t.Context(), s, record(key(i), created).Key); err != nil || u == nil {
				t.Errorf("the record %s, which has not expired: %v, its user %v; want both", key(i), err, u)
			}
		}
	}
	if replaced != 1 {
		t.Errorf("%d replaced the old record; want one", replaced)
	}
}

// A create that is interrupted at any time stores both the user and the record, or neither.
func testCanceledWithRecord(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	const n = 200
	key := func(i int) []byte { return fmt.Append(nil, "key ", i) }
	var wg sync.WaitGroup
	for i := range n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		wg.Go(func() {
			defer cancel()
			kept := accounts.IdempotencyRecord{Key: key(i), Request: []byte("r"), Salt: []byte("s"), ExpiresAt: accounts.Never}
			_, err := s.CreateUser(ctx, r.Ref(), user(fmt.Sprint(i)), &kept)
			_, u, gone := RecordedUser(t.Context(), s, key(i))
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d: CreateUser: %v; want nil or %v", i, err, context.DeadlineExceeded)
			}
			if err == nil && (gone != nil || u == nil) {
				t.Errorf("%d: CreateUser succeeded, and its record is %v, its user %v; want both", i, gone, u)
			}
		})
	}
	wg.Wait()
	for i := range n {
		_, recorded, err := RecordedUser(t.Context(), s, key(i))
		if err != nil && !errors.Is(err, registryusers.ErrNotFound) {
			t.Errorf("%d: Record: %v", i, err)
		}
		u, err := s.User(t.Context(), r.Ref(), fmt.Sprint(i))
		switch {
		case errors.Is(err, registryusers.ErrUserNotFound) && recorded == nil:
		case err != nil || recorded == nil || recorded.ID != u.ID:
			t.Errorf("%d: the record's user is %+v, the user %+v, %v; want both or neither", i, recorded, u, err)
		}
	}
	createWith(t, s, r, "after", record("after", created))
}

// Every operation that takes a record stores it with its change, or neither.
func testRecordsOfOtherOperations(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	u := createUser(t, s, r, "u")
	update := func(readOnly bool, record accounts.IdempotencyRecord) error {
		_, err := s.UpdateUser(t.Context(), r.Ref(), u.ID, func(u *accounts.User) error { u.ReadOnly = readOnly; return nil }, &record)
		return err
	}
	create := func(name string, record accounts.IdempotencyRecord) (accounts.Registry, error) {
		return s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 3, RegionID: 5, Name: name, CreatedAt: created}, &record)
	}

	updated := record("update", created)
	if err := update(true, updated); err != nil {
		t.Fatalf("UpdateUser, with a record: %v", err)
	}
	updated.ObjectID, u.ReadOnly = u.ID, true
	wantRecord(t, "UpdateUser", s, updated, &u)
	second, err := create("second", record("create", created))
	if err != nil {
		t.Fatalf("CreateRegistry, with a record: %v", err)
	}
	of := record("create", created)
	of.ObjectID = second.ID
	if got, err := s.IdempotencyRecord(t.Context(), of.Key); err != nil || !reflect.DeepEqual(got, of) {
		t.Errorf("CreateRegistry: Record = %+v, %v; want %+v", got, err, of)
	}

	// A record that exists, also of another operation, keeps the change from happening.
	for _, key := range []string{"update", "create"} {
		again := record(key, updated.ExpiresAt.Add(-time.Microsecond))
		again.Request = index("another request")
		wantIs(t, key+": UpdateUser, with a key that has a record", update(false, again), registryusers.ErrExists)
		_, err := create("third", again)
		wantIs(t, key+": CreateRegistry, with a key that has a record", err, registryusers.ErrExists)
		if errors.Is(err, registryusers.ErrRegistryExists) {
			t.Errorf("%s: CreateRegistry, with a key that has a record: %v; want no word of a registry", key, err)
		}
	}
	wantRecord(t, "after the refusals", s, updated, &u)
	wantUsers(t, "after the refusals", s, r, u)

	// An operation that fails stores no record.
	failed := record("failed", created)
	_, err = create("demo", failed)
	wantIs(t, "CreateRegistry of a name that is taken", err, registryusers.ErrRegistryExists)
	_, err = s.UpdateUser(t.Context(), r.Ref(), u.ID, func(*accounts.User) error { return context.Canceled }, &failed)
	wantIs(t, "UpdateUser with a change that fails", err, context.Canceled)
	wantNoRecord(t, "after what failed", s, failed.Key)
	if all, _, err := s.Registries(t.Context(), every); err != nil || len(all) != 2 {
		t.Errorf("Registries() = %+v, %v; want two", all, err)
	}

	replacing := record("update", updated.ExpiresAt)
	if err := update(false, replacing); err != nil {
		t.Errorf("UpdateUser, when the record has expired: %v", err)
	}
	replacing.ObjectID, u.ReadOnly = u.ID, false
	wantRecord(t, "replaced", s, replacing, &u)
}
