// Package storetest is the contract of [accounts.Store] as tests, to be run on
// every implementation.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// Run tests the stores that open returns. Each is new and empty;
// open closes it when its test ends.
func Run(t *testing.T, open func(t *testing.T) accounts.Store) {
	type test struct {
		name string
		run  func(t *testing.T, s accounts.Store)
	}
	for _, group := range []struct {
		name  string // the interface, without "Store"
		tests []test
	}{
		{"Registry", []test{
			{"Registries", testRegistries},
			{"NamesAreUniqueInTheirPlace", testRegistryNames},
			{"OnlyAtItsPlace", testRegistryRef},
			{"RaceForOneName", testRaceForRegistryName},
		}},
		{"User", []test{
			{"Users", testUsers},
			{"NamesAreUniqueInTheirRegistry", testUserNames},
			{"Pages", testUserPages},
			{"Changes", testChanges},
			{"ChangesOfNobody", testChangesOfNoUser},
			{"UpdateUser", testUpdateUser},
			{"SetSecretEndsTheOldOne", testSetSecret},
			{"DeleteUser", testDeleteUser},
			{"RaceForOneName", testRaceForUserName},
			{"RaceToSetSecrets", testRaceToSetSecrets},
			{"RaceToUpdateUser", testRaceToUpdateUser},
		}},
		{"Idempotency", []test{
			{"Records", testRecords},
			{"NoRecordOfAUserThatIsRefused", testRecordOfRefusedUser},
			{"NoUserOfARecordThatIsRefused", testUserOfRefusedRecord},
			{"RecordsAreReplacedAtTheirEnd", testRecordEnds},
			{"DeleteRecords", testDeleteRecords},
			{"RaceForOneRecord", testRaceForRecord},
			{"RaceForOneUserName", testRaceForUserNameWithRecords},
			{"RaceToDeleteRecords", testRaceToDeleteRecords},
			{"CanceledCreates", testCanceledWithRecord},
			{"OfOtherOperations", testRecordsOfOtherOperations},
		}},
		{"Account", []test{
			{"BySecret", testAccountBySecret},
			{"Accounts", testAccounts},
			{"SoleAccountByName", testSoleAccountByName},
		}},
		{"Key", []test{
			{"Keys", testKeys},
		}},
		{"All", []test{
			{"Empty", testEmpty},
			{"IDsAreNeverUsedAgain", testIDs},
			{"Times", testTimes},
			{"RaceToDelete", testRaceToDelete},
			{"CanceledContextChangesNothing", testCanceled},
		}},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
			}
		})
	}
}

// every is a page with all users.
var every = accounts.Page{Limit: 1 << 40}

// created is the time of all creates here.
var created = time.Date(2024, 6, 18, 9, 36, 53, 335_001_000, time.UTC)

func testEmpty(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	if got, _, err := s.Registries(ctx, every); err != nil || len(got) != 0 {
		t.Errorf("Registries() = %v, %v; want none", got, err)
	}
	_, _, err := s.Users(ctx, accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}, every)
	wantIs(t, "Users(1)", err, registryusers.ErrRegistryNotFound)
	if got, _, err := s.APIKeys(ctx, every); err != nil || len(got) != 0 {
		t.Errorf("Keys() = %v, %v; want none", got, err)
	}
	_, err = s.Registry(ctx, accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1})
	wantIs(t, "Registry", err, registryusers.ErrRegistryNotFound)
	_, err = s.User(ctx, accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}, "")
	wantIs(t, "User", err, registryusers.ErrRegistryNotFound)
	_, err = s.AccountBySecret(ctx, index("none"))
	wantIs(t, "AccountBySecret", err, registryusers.ErrUserNotFound)
	_, err = s.APIKey(ctx, 1)
	wantIs(t, "Key", err, registryusers.ErrAPIKeyNotFound)
	_, err = s.CreateUser(ctx, accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}, user("a"), nil)
	wantIs(t, "CreateUser", err, registryusers.ErrRegistryNotFound)
}

func testRegistries(t *testing.T, s accounts.Store) {
	var want []accounts.Registry
	for i, name := range []string{"b", "a", "c"} {
		r := accounts.Registry{ProjectID: 7, RegionID: int64(i + 1), Name: name, CreatedAt: created}
		got, err := s.CreateRegistry(t.Context(), r, nil)
		if err != nil {
			t.Fatalf("CreateRegistry(%+v): %v", r, err)
		}
		if got.ID < 1 || i > 0 && got.ID <= want[i-1].ID {
			t.Errorf("CreateRegistry(%q) has the id %d; want 1 or more, above those before: %+v", name, got.ID, want)
		}
		r.ID = got.ID
		if got != r {
			t.Errorf("CreateRegistry = %+v; want %+v", got, r)
		}
		want = append(want, r)
	}
	got, _, err := s.Registries(t.Context(), every)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Registries() = %+v, %v; want, by id, %+v", got, err, want)
	}
	wantPages(t, "Registries", s.Registries, want, func(r accounts.Registry) int64 { return r.ID })
	for _, r := range want {
		if got, err := s.Registry(t.Context(), r.Ref()); err != nil || got != r {
			t.Errorf("Registry(%+v) = %+v, %v; want %+v", r.Ref(), got, err, r)
		}
	}
}

func testRegistryNames(t *testing.T, s accounts.Store) {
	for _, test := range []struct {
		project, region int64
		name            string
		want            error
	}{
		{1, 1, "demo", nil},
		{1, 1, "demo", registryusers.ErrRegistryExists},
		{1, 2, "demo", nil},
		{2, 1, "demo", nil},
		{2, 1, "demo", registryusers.ErrRegistryExists},
		{1, 1, "demo2", nil},
		{1, 1, "Demo", nil},  // a store does not validate
		{1, 1, "demo ", nil}, // names
	} {
		_, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: test.project, RegionID: test.region, Name: test.name, CreatedAt: created}, nil)
		if !errors.Is(err, test.want) {
			t.Errorf("CreateRegistry(%d, %d, %q): %v; want %v", test.project, test.region, test.name, err, test.want)
		}
	}
	if all, _, err := s.Registries(t.Context(), every); err != nil || len(all) != 6 {
		t.Errorf("Registries() = %+v, %v; want 6", all, err)
	}
}

func testRegistryRef(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	at := r.Ref()
	for _, test := range []struct {
		name string
		at   accounts.RegistryRef
	}{
		{"project", accounts.RegistryRef{ProjectID: at.ProjectID + 1, RegionID: at.RegionID, RegistryID: at.RegistryID}},
		{"region", accounts.RegistryRef{ProjectID: at.ProjectID, RegionID: at.RegionID + 1, RegistryID: at.RegistryID}},
		{"registry", accounts.RegistryRef{ProjectID: at.ProjectID, RegionID: at.RegionID, RegistryID: at.RegistryID + 1}},
		{"exchanged", accounts.RegistryRef{ProjectID: at.RegionID, RegionID: at.ProjectID, RegistryID: at.RegistryID}},
		{"zero", accounts.RegistryRef{}},
		{"negative", accounts.RegistryRef{ProjectID: -at.ProjectID, RegionID: -at.RegionID, RegistryID: -at.RegistryID}},
		{"extreme", accounts.RegistryRef{ProjectID: 1<<63 - 1, RegionID: -1 << 63, RegistryID: 1<<63 - 1}},
	} {
		_, err := s.Registry(t.Context(), test.at)
		wantIs(t, "another "+test.name+": Registry", err, registryusers.ErrRegistryNotFound)
		_, err = s.CreateUser(t.Context(), test.at, user("a"), nil)
		wantIs(t, "another "+test.name+": CreateUser", err, registryusers.ErrRegistryNotFound)
	}
	a := createUser(t, s, r, "a")
	wrong := at
	wrong.ProjectID++
	_, err := s.CreateUser(t.Context(), wrong, user("a"), nil)
	wantIs(t, "a name that exists, another project: CreateUser", err, registryusers.ErrRegistryNotFound)
	if errors.Is(err, registryusers.ErrExists) {
		t.Errorf("a name that exists, another project: CreateUser: %v; want no word of the name", err)
	}
	otherRegion := at
	otherRegion.RegionID++
	for _, ref := range []accounts.RegistryRef{wrong, otherRegion} {
		_, _, err := s.Users(t.Context(), ref, every)
		wantIs(t, "Users", err, registryusers.ErrRegistryNotFound)
		_, err = s.User(t.Context(), ref, "a")
		wantIs(t, "User", err, registryusers.ErrRegistryNotFound)
		_, err = s.UpdateUser(t.Context(), ref, a.ID, func(*accounts.User) error { return nil }, nil)
		wantIs(t, "UpdateUser", err, registryusers.ErrRegistryNotFound)
		wantIs(t, "DeleteUser", s.DeleteUser(t.Context(), ref, a.ID), registryusers.ErrRegistryNotFound)
	}
	if all, _, err := s.Users(t.Context(), r.Ref(), every); err != nil || len(all) != 1 {
		t.Errorf("Users(%d) = %+v, %v; want the one", r.ID, all, err)
	}
}

func testUsers(t *testing.T, s accounts.Store) {
	r, other := registry(t, s, "demo"), registry(t, s, "other")
	var want []accounts.User
	for i, u := range []accounts.User{
		{Name: "generated", ReadOnly: true, Duration: 365, CreatedAt: created, ExpiresAt: created.AddDate(1, 0, 0), Verifier: accounts.Verifier{Index: index("generated")}, SecretVersion: 1},
		{Name: "custom", Duration: -1, CreatedAt: created, ExpiresAt: accounts.Never, Verifier: accounts.Verifier{Hash: "$argon2id$v=19$m=1,t=1,p=1$YQ$YQ"}, SecretVersion: 1},
		{Name: "", CreatedAt: created, ExpiresAt: created, Verifier: accounts.Verifier{Index: index("")}, SecretVersion: 1},
		{Name: "'; DROP TABLE users; --\x00ü", CreatedAt: created, ExpiresAt: created, Verifier: accounts.Verifier{Index: index("sql")}, SecretVersion: 3},
	} {
		got, err := s.CreateUser(t.Context(), r.Ref(), u, nil)
		if err != nil {
			t.Fatalf("CreateUser(%+v): %v", u, err)
		}
		if got.ID < 1 || i > 0 && got.ID <= want[i-1].ID {
			t.Errorf("CreateUser(%q) has the id %d; want 1 or more, above those before: %+v", u.Name, got.ID, want)
		}
		u.ID, u.RegistryID = got.ID, r.ID
		wantUser(t, "CreateUser", got, u)
		want = append(want, u)
	}
	elsewhere := createUser(t, s, other, "generated elsewhere")

	all, _, err := s.Users(t.Context(), r.Ref(), every)
	if err != nil || len(all) != len(want) {
		t.Fatalf("Users(%d) = %+v, %v; want %+v", r.ID, all, err, want)
	}
	for i, u := range want {
		wantUser(t, "Users, by id", all[i], u)
		got, err := s.User(t.Context(), r.Ref(), u.Name)
		if err != nil {
			t.Errorf("User(%d, %q): %v", r.ID, u.Name, err)
		}
		wantUser(t, "User", got, u)
	}
	if all, _, err := s.Users(t.Context(), other.Ref(), every); err != nil || len(all) != 1 || all[0].ID != elsewhere.ID {
		t.Errorf("Users(%d) = %+v, %v; want %+v alone", other.ID, all, err, elsewhere)
	}
	for _, test := range []struct {
		in   accounts.Registry
		name string
	}{{r, "generate"}, {r, "generated "}, {r, "GENERATED"}, {r, "%"}, {other, "generated"}} {
		_, err := s.User(t.Context(), test.in.Ref(), test.name)
		wantIs(t, fmt.Sprintf("User(%d, %q)", test.in.ID, test.name), err, registryusers.ErrUserNotFound)
	}
}

func testUserNames(t *testing.T, s accounts.Store) {
	r, other := registry(t, s, "demo"), registry(t, s, "other")
	for i, test := range []struct {
		in   accounts.Registry
		name string
		want error
	}{
		{r, "ci", nil},
		{r, "ci", registryusers.ErrUserExists},
		{other, "ci", nil},
		{other, "ci", registryusers.ErrUserExists},
		{r, "ci2", nil},
		{r, "", nil},
		{r, "", registryusers.ErrUserExists},
		{other, "", nil},
	} {
		u := user(test.name)
		u.Verifier.Index = index(fmt.Sprint("secret ", i))
		_, err := s.CreateUser(t.Context(), test.in.Ref(), u, nil)
		if !errors.Is(err, test.want) {
			t.Errorf("CreateUser(%s, %q): %v; want %v", test.in.Name, test.name, err, test.want)
		}
	}
	// An expired user still exists.
	u := user("old")
	u.ExpiresAt = created.AddDate(-10, 0, 0)
	if _, err := s.CreateUser(t.Context(), r.Ref(), u, nil); err != nil {
		t.Fatal(err)
	}
	u.Verifier.Index = index("another")
	_, err := s.CreateUser(t.Context(), r.Ref(), u, nil)
	wantIs(t, "CreateUser with an expired user's name", err, registryusers.ErrUserExists)
	_, err = s.AccountBySecret(t.Context(), index("another"))
	wantIs(t, "AccountBySecret of a user that was refused", err, registryusers.ErrUserNotFound)
}

func testAccountBySecret(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	a, b := createUser(t, s, r, "a"), createUser(t, s, r, "b")
	custom := user("custom")
	custom.Verifier = accounts.Verifier{Hash: "$argon2id$"}
	if _, err := s.CreateUser(t.Context(), r.Ref(), custom, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []accounts.User{a, b} {
		got, err := s.AccountBySecret(t.Context(), want.Verifier.Index)
		if err != nil {
			t.Errorf("AccountBySecret(%s's): %v", want.Name, err)
		}
		wantUser(t, "AccountBySecret", got.User, want)
	}
	for name, index := range map[string][]byte{
		"no user's":     index("nobody"),
		"nil":           nil,
		"empty":         {},
		"cut":           a.Verifier.Index[:31],
		"longer":        append(a.Verifier.Index[:32:32], 0),
		"a custom hash": []byte(custom.Verifier.Hash),
	} {
		got, err := s.AccountBySecret(t.Context(), index)
		if !errors.Is(err, registryusers.ErrUserNotFound) {
			t.Errorf("AccountBySecret(%s) = %+v, %v; want %v", name, got, err, registryusers.ErrUserNotFound)
		}
	}
}

func testAccounts(t *testing.T, s accounts.Store) {
	r, other := registry(t, s, "demo"), registry(t, s, "de+mo")
	var all []accounts.Account
	for _, in := range []accounts.Registry{r, other} {
		for _, name := range []string{"u", ""} {
			u := user(name)
			u.Verifier.Index = index(in.Name + name)
			u, err := s.CreateUser(t.Context(), in.Ref(), u, nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, accounts.Account{User: u, Namespace: accounts.Namespace(in.ProjectID, in.RegionID, in.Name)})
		}
	}
	check := func(what string, got accounts.Account, err error, want accounts.Account) {
		t.Helper()
		if err != nil || got.Namespace != want.Namespace {
			t.Errorf("%s = %+v, %v; want %+v", what, got, err, want)
		}
		wantUser(t, what, got.User, want.User)
	}
	for i, want := range all {
		got, err := s.Account(t.Context(), want.ID)
		check("Account", got, err, want)
		got, err = s.AccountBySecret(t.Context(), want.Verifier.Index)
		check("AccountBySecret", got, err, want)
		in := []accounts.Registry{r, other}[i/2]
		got, err = s.AccountByName(t.Context(), in.ProjectID, in.RegionID, in.Name, want.Name)
		check("AccountByName", got, err, want)
	}
	for _, id := range []int64{0, -1, all[3].ID + 1, 1<<63 - 1} {
		_, err := s.Account(t.Context(), id)
		wantIs(t, fmt.Sprintf("Account(%d)", id), err, registryusers.ErrUserNotFound)
	}
	for name, index := range map[string][]byte{"no user's": index("nobody"), "nil": nil, "empty": {}, "cut": all[0].Verifier.Index[:31]} {
		_, err := s.AccountBySecret(t.Context(), index)
		wantIs(t, "AccountBySecret("+name+")", err, registryusers.ErrUserNotFound)
	}
	for _, test := range []struct {
		project, region int64
		registry, name  string
	}{
		{r.ProjectID + 1, r.RegionID, "demo", "u"},
		{r.ProjectID, r.RegionID + 1, "demo", "u"},
		{r.ProjectID, r.RegionID, "dem", "u"},
		{r.ProjectID, r.RegionID, "DEMO", "u"},
		{r.ProjectID, r.RegionID, "", "u"},
		{r.ProjectID, r.RegionID, "demo", "U"},
		{r.ProjectID, r.RegionID, "demo", "u "},
		{r.ProjectID, r.RegionID, "demo", "%"},
	} {
		_, err := s.AccountByName(t.Context(), test.project, test.region, test.registry, test.name)
		wantIs(t, fmt.Sprintf("AccountByName(%+v)", test), err, registryusers.ErrUserNotFound)
	}

	// A change is visible at once.
	want := all[0]
	want.ReadOnly, want.Verifier, want.SecretVersion = true, accounts.Verifier{Hash: "$argon2id$"}, 2
	for _, err := range []error{setReadOnly(t.Context(), s, want.User, true), setSecret(t.Context(), s, want.User, want.Verifier), s.DeleteUser(t.Context(), userRef(all[1].User), all[1].ID)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Account(t.Context(), want.ID)
	check("Account after changes", got, err, want)
	_, err = s.AccountBySecret(t.Context(), all[0].Verifier.Index)
	wantIs(t, "AccountBySecret(the old one's)", err, registryusers.ErrUserNotFound)
	_, err = s.Account(t.Context(), all[1].ID)
	wantIs(t, "Account after DeleteUser", err, registryusers.ErrUserNotFound)
	_, err = s.AccountByName(t.Context(), r.ProjectID, r.RegionID, "demo", "")
	wantIs(t, "AccountByName after DeleteUser", err, registryusers.ErrUserNotFound)
}

func testSoleAccountByName(t *testing.T, s accounts.Store) {
	create := func(r accounts.Registry, name string, v accounts.Verifier) accounts.Account {
		t.Helper()
		u := user(name)
		u.Verifier = v
		u, err := s.CreateUser(t.Context(), r.Ref(), u, nil)
		if err != nil {
			t.Fatal(err)
		}
		return accounts.Account{User: u, Namespace: accounts.Namespace(r.ProjectID, r.RegionID, r.Name)}
	}
	want := func(what, name string, want *accounts.Account) {
		t.Helper()
		got, err := s.SoleAccountByName(t.Context(), name)
		if want == nil {
			wantIs(t, what, err, registryusers.ErrUserNotFound)
		} else if err != nil || !reflect.DeepEqual(got, *want) {
			t.Errorf("%s: SoleAccountByName(%q) = %+v, %v; want %+v", what, name, got, err, *want)
		}
	}
	want("no registry", "u", nil)
	one, two, three := registry(t, s, "one"), registry(t, s, "two"), registry(t, s, "three")
	custom := create(one, "u", accounts.Verifier{Hash: "$argon2id$1"})
	other := create(one, "other", accounts.Verifier{Hash: "$argon2id$2"})
	create(one, "generated", accounts.Verifier{Index: index("generated")})
	want("one", "u", &custom)
	for _, name := range []string{"generated", "nobody", "", "U", "u ", "%"} {
		want("no such user with a custom secret", name, nil)
	}
	create(two, "u", accounts.Verifier{Index: index("u")})
	want("another has a generated secret", "u", &custom)
	second := create(three, "u", accounts.Verifier{Hash: "$argon2id$3"})
	want("two", "u", nil)
	want("the other name", "other", &other)
	if err := s.DeleteUser(t.Context(), userRef(custom.User), custom.ID); err != nil {
		t.Fatal(err)
	}
	want("one again", "u", &second)
	if _, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 4, RegionID: 5, Name: "one", CreatedAt: created}, nil); err != nil {
		t.Fatal(err)
	}
	want("two projects", "u", nil)
	want("two projects", "other", nil)
}

func testChanges(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	before, u, after := createUser(t, s, r, "before"), createUser(t, s, r, "u"), createUser(t, s, r, "zafter")
	check := func(what string, err error, want accounts.User) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for _, want := range []accounts.User{before, want, after} { // the other users do not change
			got, err := s.User(t.Context(), r.Ref(), want.Name)
			if err != nil {
				t.Errorf("%s: User(%q): %v", what, want.Name, err)
			}
			wantUser(t, what, got, want)
		}
	}
	u.ReadOnly = true
	check("SetReadOnly(true)", setReadOnly(t.Context(), s, u, true), u)
	check("SetReadOnly(true) again", setReadOnly(t.Context(), s, u, true), u)
	u.ReadOnly = false
	check("SetReadOnly(false)", setReadOnly(t.Context(), s, u, false), u)
	u.Duration, u.ExpiresAt = -1, accounts.Never
	check("SetEnd(never)", setEnd(t.Context(), s, u, u.Duration, u.ExpiresAt), u)
	u.Duration, u.ExpiresAt = 0, u.CreatedAt
	check("SetEnd(at once)", setEnd(t.Context(), s, u, u.Duration, u.ExpiresAt), u)
	u.Verifier, u.SecretVersion = accounts.Verifier{Hash: "$argon2id$1"}, 2
	check("SetSecret(custom)", setSecret(t.Context(), s, u, u.Verifier), u)
	u.Verifier, u.SecretVersion = accounts.Verifier{Index: index("new")}, 3
	check("SetSecret(generated)", setSecret(t.Context(), s, u, u.Verifier), u)
	check("SetSecret(the same)", setSecret(t.Context(), s, u, u.Verifier), func() accounts.User { u.SecretVersion = 4; return u }())
}

func testChangesOfNoUser(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	u := createUser(t, s, r, "a")
	for _, id := range []int64{u.ID + 1, 0, -1, 1<<63 - 1, -1 << 63} {
		nobody := accounts.User{ID: id, RegistryID: r.ID}
		for method, err := range map[string]error{
			"SetReadOnly": setReadOnly(t.Context(), s, nobody, true),
			"SetEnd":      setEnd(t.Context(), s, nobody, -1, accounts.Never),
			"SetSecret":   setSecret(t.Context(), s, nobody, accounts.Verifier{Index: index("x")}),
			"DeleteUser":  s.DeleteUser(t.Context(), r.Ref(), id),
		} {
			wantIs(t, fmt.Sprintf("%s(%d)", method, id), err, registryusers.ErrUserNotFound)
		}
		wantIs(t, fmt.Sprintf("DeleteKey(%d)", id), s.DeleteAPIKey(t.Context(), id), registryusers.ErrAPIKeyNotFound)
	}
	got, err := s.User(t.Context(), r.Ref(), "a")
	if err != nil {
		t.Fatal(err)
	}
	wantUser(t, "after changes of no user", got, u)
}

func testUpdateUser(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	before, other := createUser(t, s, r, "u"), createUser(t, s, r, "other")
	want := before
	want.ReadOnly, want.Duration, want.ExpiresAt = true, -1, accounts.Never
	want.Verifier, want.SecretVersion, want.Incarnation = accounts.Verifier{Hash: "$argon2id$"}, 7, accounts.Incarnation{9, 0, 1}
	got, err := s.UpdateUser(t.Context(), userRef(before), before.ID, func(u *accounts.User) error {
		wantUser(t, "what change gets", *u, before)
		*u = want
		u.ID, u.RegistryID, u.Name, u.CreatedAt = other.ID, r.ID+1, "new", created.Add(1) // stay as they are
		return nil
	}, nil)
	if err != nil {
		t.Fatalf("UpdateUser: %v", err)
	}
	wantUser(t, "UpdateUser", got, want)
	wantUsers(t, "after UpdateUser", s, r, want, other)

	refused := errors.New("refused")
	got, err = s.UpdateUser(t.Context(), userRef(before), before.ID, func(u *accounts.User) error {
		u.ReadOnly, u.Duration = false, 3
		return refused
	}, nil)
	if !errors.Is(err, refused) || got.ID != 0 {
		t.Errorf("UpdateUser with a change that fails = %+v, %v; want %v", got, err, refused)
	}
	another := registry(t, s, "another").Ref()
	for what, of := range map[string]struct {
		at accounts.RegistryRef
		id int64
	}{"no user": {r.Ref(), other.ID + 1}, "another registry's user": {another, other.ID}} {
		_, err = s.UpdateUser(t.Context(), of.at, of.id, func(u *accounts.User) error {
			t.Errorf("change is called with %+v for %s", u, what)
			return nil
		}, nil)
		wantIs(t, "UpdateUser of "+what, err, registryusers.ErrUserNotFound)
	}
	wantUsers(t, "after what failed", s, r, want, other)
}

// Concurrent updates do not undo each other.
func testRaceToUpdateUser(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	u := createUser(t, s, r, "u")
	for i, err := range race(func(i int) error {
		_, err := s.UpdateUser(t.Context(), userRef(u), u.ID, func(u *accounts.User) error {
			if u.Duration++; i%4 == 3 {
				return context.Canceled
			}
			return nil
		}, nil)
		return err
	}) {
		if (err != nil) != (i%4 == 3) {
			t.Errorf("%d: UpdateUser: %v", i, err)
		}
	}
	u.Duration += racers * 3 / 4
	wantUsers(t, "after the updates", s, r, u)
}

func testSetSecret(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	u := createUser(t, s, r, "a")
	old := u.Verifier.Index
	for i, v := range []accounts.Verifier{{Index: index("second")}, {Hash: "$argon2id$third"}, {Index: index("fourth")}} {
		if err := setSecret(t.Context(), s, u, v); err != nil {
			t.Fatalf("SetSecret(%d): %v", i, err)
		}
		if old != nil {
			got, err := s.AccountBySecret(t.Context(), old)
			if !errors.Is(err, registryusers.ErrUserNotFound) {
				t.Errorf("AccountBySecret(the index before %d) = %+v, %v; want %v", i, got, err, registryusers.ErrUserNotFound)
			}
		}
		u.Verifier, u.SecretVersion = v, u.SecretVersion+1
		got, err := s.User(t.Context(), r.Ref(), "a")
		if err != nil {
			t.Fatal(err)
		}
		wantUser(t, "SetSecret, User", got, u)
		if v.Index != nil {
			got, err := s.AccountBySecret(t.Context(), v.Index)
			if err != nil {
				t.Errorf("AccountBySecret(the new index): %v", err)
			}
			wantUser(t, "SetSecret, AccountBySecret", got.User, u)
		}
		old = v.Index
	}
}

// Pages of a registry's users, with another registry's users in between.
func testUserPages(t *testing.T, s accounts.Store) {
	r, other := registry(t, s, "demo"), registry(t, s, "other")
	var users []accounts.User
	for i := range 20 {
		users = append(users, createUser(t, s, r, fmt.Sprint("u", i)))
		createUser(t, s, other, fmt.Sprint("o", i))
	}
	check := func(what string) {
		t.Helper()
		for offset := range int64(len(users)) + 2 {
			for _, limit := range []int64{1, 3, 100} {
				begin := min(offset, int64(len(users)))
				want := users[begin:min(begin+limit, int64(len(users)))]
				wantPage(t, what, s, r, accounts.Page{Limit: limit, Offset: offset}, want, len(users))
				if begin > 0 {
					wantPage(t, what, s, r, accounts.Page{Limit: limit, Offset: 7, After: users[begin-1].ID}, want, len(users))
				}
			}
		}
		wantPage(t, what, s, r, accounts.Page{Limit: 1, Offset: 1<<63 - 1}, nil, len(users))
		wantPage(t, what, s, r, accounts.Page{Limit: 1, After: 1<<63 - 1}, nil, len(users))
	}
	check("all")
	for _, i := range []int{19, 7, 6, 0} {
		if err := s.DeleteUser(t.Context(), r.Ref(), users[i].ID); err != nil {
			t.Fatal(err)
		}
		// What fails does not count.
		wantIs(t, "DeleteUser of another registry's user", s.DeleteUser(t.Context(), other.Ref(), users[1].ID), registryusers.ErrUserNotFound)
		_, err := s.CreateUser(t.Context(), r.Ref(), user("u1"), nil)
		wantIs(t, "CreateUser of a name that is taken", err, registryusers.ErrUserExists)
		users = slices.Delete(users, i, i+1)
		check(fmt.Sprint("without ", i))
	}
	for len(users) > 0 {
		if err := s.DeleteUser(t.Context(), r.Ref(), users[0].ID); err != nil {
			t.Fatal(err)
		}
		users = users[1:]
	}
	check("none")
	users = []accounts.User{createUser(t, s, r, "u")}
	check("one again")
}

func wantPage(t *testing.T, what string, s accounts.Store, r accounts.Registry, page accounts.Page, want []accounts.User, total int) {
	t.Helper()
	got, count, err := s.Users(t.Context(), r.Ref(), page)
	if err != nil || count != int64(total) || len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%s: Users(%+v) = %+v of %d, %v; want %+v of %d", what, page, got, count, err, want, total)
	}
}

func testDeleteUser(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	a, b := createUser(t, s, r, "a"), createUser(t, s, r, "b")
	if err := s.DeleteUser(t.Context(), userRef(a), a.ID); err != nil {
		t.Fatalf("DeleteUser(%d): %v", a.ID, err)
	}
	_, err := s.User(t.Context(), r.Ref(), "a")
	wantIs(t, "User after DeleteUser", err, registryusers.ErrUserNotFound)
	_, err = s.AccountBySecret(t.Context(), a.Verifier.Index)
	wantIs(t, "AccountBySecret after DeleteUser", err, registryusers.ErrUserNotFound)
	wantIs(t, "DeleteUser again", s.DeleteUser(t.Context(), userRef(a), a.ID), registryusers.ErrUserNotFound)
	if all, _, err := s.Users(t.Context(), r.Ref(), every); err != nil || len(all) != 1 || all[0].ID != b.ID {
		t.Errorf("Users(%d) = %+v, %v; want %+v alone", r.ID, all, err, b)
	}
	createUser(t, s, r, "a") // the name is free, and the secret too
}

func testKeys(t *testing.T, s accounts.Store) {
	var want []accounts.APIKey
	for i, project := range []int64{3, 0, 1<<63 - 1, 3} {
		k := accounts.APIKey{ProjectID: project, Hash: sha256.Sum256(fmt.Append(nil, i)), CreatedAt: created}
		got, err := s.CreateAPIKey(t.Context(), k)
		if err != nil {
			t.Fatalf("CreateKey(%+v): %v", k, err)
		}
		if got.ID < 1 || i > 0 && got.ID <= want[i-1].ID {
			t.Errorf("CreateKey has the id %d; want 1 or more, above those before: %+v", got.ID, want)
		}
		k.ID = got.ID
		if got != k {
			t.Errorf("CreateKey = %+v; want %+v", got, k)
		}
		want = append(want, k)
	}
	wantKeys := func(want []accounts.APIKey) {
		t.Helper()
		got, _, err := s.APIKeys(t.Context(), every)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Keys() = %+v, %v; want, by id, %+v", got, err, want)
		}
		for _, k := range want {
			if got, err := s.APIKey(t.Context(), k.ID); err != nil || got != k {
				t.Errorf("Key(%d) = %+v, %v; want %+v", k.ID, got, err, k)
			}
		}
	}
	wantKeys(want)
	wantPages(t, "APIKeys", s.APIKeys, want, func(k accounts.APIKey) int64 { return k.ID })
	if err := s.DeleteAPIKey(t.Context(), want[1].ID); err != nil {
		t.Fatalf("DeleteKey(%d): %v", want[1].ID, err)
	}
	_, err := s.APIKey(t.Context(), want[1].ID)
	wantIs(t, "Key after DeleteKey", err, registryusers.ErrAPIKeyNotFound)
	wantIs(t, "DeleteKey again", s.DeleteAPIKey(t.Context(), want[1].ID), registryusers.ErrAPIKeyNotFound)
	wantKeys([]accounts.APIKey{want[0], want[2], want[3]})
}

func testIDs(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	var last int64
	for range 3 {
		u := createUser(t, s, r, "a")
		if u.ID <= last {
			t.Errorf("CreateUser has the id %d; want above %d, which a deleted user had", u.ID, last)
		}
		if last = u.ID; s.DeleteUser(t.Context(), userRef(u), u.ID) != nil {
			t.Fatalf("DeleteUser(%d) failed", u.ID)
		}
	}
	last = 0
	for range 3 {
		k, err := s.CreateAPIKey(t.Context(), accounts.APIKey{CreatedAt: created})
		if err != nil {
			t.Fatal(err)
		}
		if k.ID <= last {
			t.Errorf("CreateKey has the id %d; want above %d, which a deleted key had", k.ID, last)
		}
		if last = k.ID; s.DeleteAPIKey(t.Context(), k.ID) != nil {
			t.Fatalf("DeleteKey(%d) failed", k.ID)
		}
	}
}

func testTimes(t *testing.T, s accounts.Store) {
	for i, want := range []time.Time{
		created,
		accounts.Never,
		time.Date(2024, 2, 29, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(2024, 1, 1, 0, 0, 0, 1_000, time.UTC),
		time.Unix(0, 0).UTC(),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
	} {
		check := func(what string, got time.Time) {
			t.Helper()
			if !got.Equal(want) || got.Location() != time.UTC {
				t.Errorf("%s = %v; want %v", what, got, want)
			}
		}
		r, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 3, RegionID: 5, Name: fmt.Sprint("r", i), CreatedAt: want}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = s.Registry(t.Context(), r.Ref()); err != nil {
			t.Fatal(err)
		}
		check("Registry's CreatedAt", r.CreatedAt)

		u := user("a")
		u.CreatedAt, u.ExpiresAt, u.Verifier.Index = want, want, index(fmt.Sprint(i))
		if u, err = s.CreateUser(t.Context(), r.Ref(), u, nil); err != nil {
			t.Fatal(err)
		}
		if u, err = s.User(t.Context(), r.Ref(), "a"); err != nil {
			t.Fatal(err)
		}
		check("User's CreatedAt", u.CreatedAt)
		check("User's ExpiresAt", u.ExpiresAt)
		if err = setEnd(t.Context(), s, u, 1, created); err != nil {
			t.Fatal(err)
		}
		if err = setEnd(t.Context(), s, u, 1, want); err != nil {
			t.Fatal(err)
		}
		a, err := s.AccountBySecret(t.Context(), u.Verifier.Index)
		if err != nil {
			t.Fatal(err)
		}
		check("ExpiresAt after SetEnd", a.ExpiresAt)

		k, err := s.CreateAPIKey(t.Context(), accounts.APIKey{CreatedAt: want})
		if err != nil {
			t.Fatal(err)
		}
		if k, err = s.APIKey(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		check("Key's CreatedAt", k.CreatedAt)
	}
}

const racers = 64

// race calls f from many goroutines at once and returns their errors.
func race(f func(i int) error) []error {
	errs := make([]error, racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// wantOneWinner checks that one error is nil and the others are want.
func wantOneWinner(t *testing.T, what string, errs []error, want error) {
	t.Helper()
	won, lost := 0, 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case errors.Is(err, want):
			lost++
		default:
			t.Errorf("%s: %v; want nil or %v", what, err, want)
		}
	}
	if won != 1 || lost != len(errs)-1 {
		t.Errorf("%s: %d won, %d got %v; want 1 and %d", what, won, lost, want, len(errs)-1)
	}
}

func testRaceForUserName(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	ids := make([]int64, racers)
	wantOneWinner(t, "CreateUser", race(func(i int) error {
		u := user("same")
		u.Verifier.Index = index(fmt.Sprint(i))
		u, err := s.CreateUser(t.Context(), r.Ref(), u, nil)
		if err == nil {
			ids[i] = u.ID
		}
		return err
	}), registryusers.ErrUserExists)
	all, _, err := s.Users(t.Context(), r.Ref(), every)
	if err != nil || len(all) != 1 {
		t.Fatalf("Users(%d) = %+v, %v; want one", r.ID, all, err)
	}
	for i, id := range ids {
		if id == 0 {
			continue
		}
		got, err := s.AccountBySecret(t.Context(), index(fmt.Sprint(i)))
		if err != nil || got.ID != id || id != all[0].ID {
			t.Errorf("the winner's secret finds %+v, %v; want the user %d", got, err, all[0].ID)
		}
	}
}

func testRaceForRegistryName(t *testing.T, s accounts.Store) {
	wantOneWinner(t, "CreateRegistry", race(func(int) error {
		_, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 1, RegionID: 1, Name: "same", CreatedAt: created}, nil)
		return err
	}), registryusers.ErrRegistryExists)
}

func testRaceToDelete(t *testing.T, s accounts.Store) {
	u := createUser(t, s, registry(t, s, "demo"), "a")
	wantOneWinner(t, "DeleteUser", race(func(int) error { return s.DeleteUser(t.Context(), userRef(u), u.ID) }), registryusers.ErrUserNotFound)
	k, err := s.CreateAPIKey(t.Context(), accounts.APIKey{CreatedAt: created})
	if err != nil {
		t.Fatal(err)
	}
	wantOneWinner(t, "DeleteAPIKey", race(func(int) error { return s.DeleteAPIKey(t.Context(), k.ID) }), registryusers.ErrAPIKeyNotFound)
}

func testRaceToSetSecrets(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	u := createUser(t, s, r, "a")
	for i, err := range race(func(i int) error {
		return setSecret(t.Context(), s, u, accounts.Verifier{Index: index(fmt.Sprint(i))})
	}) {
		if err != nil {
			t.Errorf("SetSecret(%d): %v", i, err)
		}
	}
	got, err := s.User(t.Context(), r.Ref(), "a")
	if want := u.SecretVersion + racers; err != nil || got.SecretVersion != want {
		t.Errorf("SecretVersion after %d new secrets = %d, %v; want %d", racers, got.SecretVersion, err, want)
	}
	found := 0
	for i := range racers {
		if _, err := s.AccountBySecret(t.Context(), index(fmt.Sprint(i))); err == nil {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d of the secrets find the user; want the last alone", found)
	}
}

func testCanceled(t *testing.T, s accounts.Store) {
	r := registry(t, s, "demo")
	u, kept := createWith(t, s, r, "a", record("a", created))
	k, err := s.CreateAPIKey(t.Context(), accounts.APIKey{CreatedAt: created})
	if err != nil {
		t.Fatal(err)
	}
	fresh := record("new", created)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for method, call := range map[string]func() error{
		"CreateRegistry": func() error {
			_, err := s.CreateRegistry(ctx, accounts.Registry{ProjectID: 1, RegionID: 1, Name: "new", CreatedAt: created}, nil)
			return err
		},
		"Registry":                  func() error { _, err := s.Registry(ctx, r.Ref()); return err },
		"Registries":                func() error { _, _, err := s.Registries(ctx, every); return err },
		"CreateUser":                func() error { _, err := s.CreateUser(ctx, r.Ref(), user("new"), nil); return err },
		"CreateUser, with a record": func() error { _, err := s.CreateUser(ctx, r.Ref(), user("new"), &fresh); return err },
		"Record":                    func() error { _, _, err := RecordedUser(ctx, s, kept.Key); return err },
		"DeleteRecords":             func() error { return s.DeleteIdempotencyRecords(ctx, accounts.Never) },
		"AccountBySecret":           func() error { _, err := s.AccountBySecret(ctx, u.Verifier.Index); return err },
		"Account":                   func() error { _, err := s.Account(ctx, u.ID); return err },
		"AccountByName":             func() error { _, err := s.AccountByName(ctx, r.ProjectID, r.RegionID, r.Name, "a"); return err },
		"SoleAccountByName":         func() error { _, err := s.SoleAccountByName(ctx, "a"); return err },
		"Users":                     func() error { _, _, err := s.Users(ctx, r.Ref(), every); return err },
		"UpdateUser":                func() error { return setReadOnly(ctx, s, u, true) },
		"DeleteUser":                func() error { return s.DeleteUser(ctx, userRef(u), u.ID) },
		"CreateAPIKey":              func() error { _, err := s.CreateAPIKey(ctx, accounts.APIKey{CreatedAt: created}); return err },
		"APIKey":                    func() error { _, err := s.APIKey(ctx, k.ID); return err },
		"APIKeys":                   func() error { _, _, err := s.APIKeys(ctx, every); return err },
		"DeleteAPIKey":              func() error { return s.DeleteAPIKey(ctx, k.ID) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a canceled context: %v; want %v", method, err, context.Canceled)
		}
	}
	registries, _, err := s.Registries(t.Context(), every)
	if want := []accounts.Registry{r}; err != nil || !reflect.DeepEqual(registries, want) {
		t.Errorf("Registries() = %+v, %v; want, as before, %+v", registries, err, want)
	}
	users, _, err := s.Users(t.Context(), r.Ref(), every)
	if err != nil || len(users) != 1 {
		t.Fatalf("Users() = %+v, %v; want one, as before", users, err)
	}
	wantUser(t, "after the canceled calls", users[0], u)
	wantRecord(t, "after the canceled calls", s, kept, &u)
	wantNoRecord(t, "after the canceled calls", s, fresh.Key)
	keys, _, err := s.APIKeys(t.Context(), every)
	if want := []accounts.APIKey{k}; err != nil || !reflect.DeepEqual(keys, want) {
		t.Errorf("Keys() = %+v, %v; want, as before, %+v", keys, err, want)
	}
}

// wantPages reads every page of a list, which has the rows want.
func wantPages[T any](t *testing.T, method string, list func(context.Context, accounts.Page) ([]T, int64, error), want []T, id func(T) int64) {
	t.Helper()
	n := int64(len(want))
	for limit := int64(1); limit <= n+1; limit++ {
		for offset := int64(0); offset <= n+1; offset++ {
			pages := []accounts.Page{{Limit: limit, Offset: offset}}
			if offset > 0 && offset <= n {
				pages = append(pages, accounts.Page{Limit: limit, Offset: 1, After: id(want[offset-1])})
			}
			for _, page := range pages {
				got, total, err := list(t.Context(), page)
				rows := want[min(offset, n):min(offset+limit, n)]
				if err != nil || total != n || len(got) != len(rows) || len(rows) > 0 && !reflect.DeepEqual(got, rows) {
					t.Errorf("%s(%+v) = %+v, %d, %v; want %+v of %d", method, page, got, total, err, rows, n)
				}
			}
		}
	}
}

// userRef refers to the registry of a user, one that [registry] has created.
func userRef(u accounts.User) accounts.RegistryRef {
	return accounts.RegistryRef{ProjectID: 3, RegionID: 5, RegistryID: u.RegistryID}
}

// registry creates a registry in project 3 and region 5.
func registry(t *testing.T, s accounts.Store, name string) accounts.Registry {
	t.Helper()
	r, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 3, RegionID: 5, Name: name, CreatedAt: created}, nil)
	if err != nil {
		t.Fatalf("CreateRegistry(%q): %v", name, err)
	}
	return r
}

// user returns a user with a generated secret, to create.
func user(name string) accounts.User {
	return accounts.User{
		Name:          name,
		Duration:      14,
		CreatedAt:     created,
		ExpiresAt:     created.AddDate(0, 0, 14),
		Verifier:      accounts.Verifier{Index: index(name)},
		SecretVersion: 1,
		Incarnation:   accounts.Incarnation(index("incarnation of " + name)[:16]),
	}
}

func createUser(t *testing.T, s accounts.Store, r accounts.Registry, name string) accounts.User {
	t.Helper()
	u, err := s.CreateUser(t.Context(), r.Ref(), user(name), nil)
	if err != nil {
		t.Fatalf("CreateUser(%q): %v", name, err)
	}
	return u
}

// setReadOnly, setEnd and setSecret update a user.
func setReadOnly(ctx context.Context, s accounts.Store, u accounts.User, readOnly bool) error {
	_, err := s.UpdateUser(ctx, userRef(u), u.ID, func(u *accounts.User) error { u.ReadOnly = readOnly; return nil }, nil)
	return err
}

func setEnd(ctx context.Context, s accounts.Store, u accounts.User, duration int64, expiresAt time.Time) error {
	_, err := s.UpdateUser(ctx, userRef(u), u.ID, func(u *accounts.User) error { u.Duration, u.ExpiresAt = duration, expiresAt; return nil }, nil)
	return err
}

func setSecret(ctx context.Context, s accounts.Store, u accounts.User, v accounts.Verifier) error {
	_, err := s.UpdateUser(ctx, userRef(u), u.ID, func(u *accounts.User) error { u.Verifier = v; u.SecretVersion++; return nil }, nil)
	return err
}

// index returns an index as long as those of generated secrets.
func index(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func wantIs(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v; want %v", what, got, want)
	}
}

func wantUser(t *testing.T, what string, got, want accounts.User) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: the user is\n%+v; want\n%+v", what, got, want)
	}
}
