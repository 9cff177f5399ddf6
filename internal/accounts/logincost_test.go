package accounts_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/storetest"
	"github.com/registryusers/registryusers/internal/testkit"
)

// A failed login costs the same, in argon2ids and reads of the store, whether or not
// the user exists.
func TestFailedLoginCostDoesNotRevealUsers(t *testing.T) {
	for _, bare := range []bool{false, true} {
		e := newEnv(t)
		_, generated := e.create(t, accounts.NewUser{Name: "generated", Duration: 1})
		e.create(t, accounts.NewUser{Name: "custom", Duration: 1, Secret: pw("pw")})
		e.create(t, accounts.NewUser{Name: "expired", Duration: 0, Secret: pw("pw")})
		e.create(t, accounts.NewUser{Name: "two", Duration: 1, Secret: pw("pw")})
		if _, err := e.CreateUser(t.Context(), e.all, e.registry(t, "second"), "", accounts.NewUser{Name: "two", Duration: 1, Secret: pw("other")}); err != nil {
			t.Fatal(err)
		}
		counting := &storetest.Counting{Store: e.store}
		e.Service = accounts.New(counting, accounts.NewServerKey("test", [32]byte{1, 2, 3}), func() time.Time { return e.now })
		if bare {
			if err := e.AllowBareNames(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		cost := func(what, account, secret, repository string, wantHashes int, wantReads ...string) error {
			t.Helper()
			var err error
			n := hashes(func() { _, err = e.login(t, account, secret, repository) })
			if reads := counting.Take(); n != wantHashes || !slices.Equal(reads, wantReads) {
				t.Errorf("bare names %t: %s, as %q for %q: %d argon2ids and the reads %q; want %d and %q", bare, what, account, repository, n, reads, wantHashes, wantReads)
			}
			return err
		}
		for _, user := range []struct{ what, name, secret string }{
			{"a wrong secret", "custom", "no"},
			{"no secret", "custom", ""},
			{"no such user", "nobody", "no"},
			{"no name", "", "no"},
			{"a user with a generated secret", "generated", "no"},
			{"another's generated secret", "nobody", generated.Reveal()},
			{"an expired user", "expired", "no"},
			{"an expired user with its secret", "expired", "pw"},
			{"two users of the name", "two", "no"},
		} {
			forms := []struct{ account, repository string }{
				{"3-5-demo+" + user.name, ""},
				{"3-5-none+" + user.name, ""},
				{user.name, "3-5-demo/app"},
				{user.name, "3-5-none/app"},
				{"garbled+" + user.name, ""},
				{user.name, "garbled"},
			}
			for _, form := range forms[:testkit.InCI(len(forms), 3)] {
				err := cost(user.what, form.account, user.secret, form.repository, 1, "AccountBySecret", "AccountByName")
				if !errors.Is(err, registryusers.ErrUnauthenticated) || errors.Is(err, accounts.ErrBareName) {
					t.Errorf("%s, as %q: %v; want %v", user.what, form, err, registryusers.ErrUnauthenticated)
				}
				if err := cost(user.what+", again", form.account, user.secret, form.repository, 1, "AccountBySecret", "AccountByName"); !errors.Is(err, registryusers.ErrUnauthenticated) {
					t.Errorf("%s, as %q, again: %v; want %v", user.what, form, err, registryusers.ErrUnauthenticated)
				}
			}
			want, wantHashes, wantReads := accounts.ErrBareName, 0, []string{"AccountBySecret"}
			if bare {
				want, wantHashes, wantReads = registryusers.ErrUnauthenticated, 1, []string{"AccountBySecret", "SoleAccountByName"}
			}
			if err := cost(user.what, user.name, user.secret, "", wantHashes, wantReads...); err != want {
				t.Errorf("bare names %t: %s: %v; want %v", bare, user.what, err, want)
			}
		}

		// The cost of a repeated wrong secret does not show either that a user
		// has been created since, or has got another secret.
		again := func(what string) {
			t.Helper()
			if err := cost(what, "3-5-demo+later", "no", "", 1, "AccountBySecret", "AccountByName"); !errors.Is(err, registryusers.ErrUnauthenticated) {
				t.Errorf("a wrong secret %s: %v; want %v", what, err, registryusers.ErrUnauthenticated)
			}
		}
		again("for the first time")
		again("before the user is created")
		later, _ := e.create(t, accounts.NewUser{Name: "later", Duration: 1, Secret: pw("pw")})
		counting.Take()
		again("when the user has been created")
		again("the user exists")
		e.update(t, later, accounts.UserUpdate{NewSecret: true})
		counting.Take()
		again("when the user has another secret")
		again("the user has that secret")

		// A successful login reads once with a generated secret, and hashes once with a custom one.
		for _, account := range []string{"generated", "3-5-demo+generated"} {
			if err := cost("a generated secret", account, generated.Reveal(), "9-9-other/app", 0, "AccountBySecret"); err != nil {
				t.Errorf("a generated secret, as %q: %v; want success", account, err)
			}
		}
		for i, account := range []string{"3-5-demo+custom", "3-5-demo+custom", "custom"} {
			if err := cost("a custom secret", account, "pw", "3-5-demo/app", max(0, 1-i), "AccountBySecret", "AccountByName"); err != nil {
				t.Errorf("a custom secret, as %q: %v; want success", account, err)
			}
		}
	}
}

// One secret, sent from one address with each form of a name, must not show by its
// cost which of them name the same user, or none.
func TestFormsOfANameCostTheSameFromOneAddress(t *testing.T) {
	for _, bare := range []bool{false, true} {
		e := newEnv(t)
		e.create(t, accounts.NewUser{Name: "custom", Duration: 1, Secret: pw("pw")})
		e.create(t, accounts.NewUser{Name: "generated", Duration: 1})
		forms := []string{"3-5-none+", "3-5-demo+", "+", "garbled+"}
		if bare {
			if err := e.AllowBareNames(t.Context()); err != nil {
				t.Fatal(err)
			}
			forms = append(forms, "")
		}
		for _, name := range []string{"custom", "generated", "nobody"} {
			for _, form := range forms {
				for i := range 2 {
					n := hashes(func() {
						_, err := e.Login(t.Context(), accounts.LoginAttempt{Account: form + name, Secret: registryusers.NewSecret("no"), From: "a"})
						if !errors.Is(err, registryusers.ErrUnauthenticated) {
							t.Errorf("%s%s: %v; want %v", form, name, err, registryusers.ErrUnauthenticated)
						}
					})
					if n != 1 {
						t.Errorf("bare names %t: %s%s, time %d: %d argon2ids; want 1", bare, form, name, i+1, n)
					}
				}
			}
		}
	}
}

// A login of an expired user costs the same as others, also at the moment it expires, and its
// secret works as soon as its duration is extended.
func TestLoginsOfAnExpiredUser(t *testing.T) {
	e := newEnv(t)
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	e.create(t, accounts.NewUser{Name: "v", Duration: 2, Secret: pw("pw")})
	try := func(name, secret string, wantHashes int, want error) {
		t.Helper()
		var err error
		n := hashes(func() {
			_, err = e.Login(t.Context(), accounts.LoginAttempt{Account: "3-5-demo+" + name, Secret: registryusers.NewSecret(secret), From: "a"})
		})
		if n != wantHashes || !errors.Is(err, want) {
			t.Errorf("%s with %s: %d argon2ids, %v; want %d, %v", name, secret, n, err, wantHashes, want)
		}
	}
	e.now = u.ExpiresAt.Add(-time.Minute)
	for _, name := range []string{"u", "v"} {
		try(name, "no", 1, registryusers.ErrUnauthenticated)
	}
	e.now = u.ExpiresAt
	for _, name := range []string{"u", "v"} {
		try(name, "no", 1, registryusers.ErrUnauthenticated)
	}
	try("u", "pw", 1, registryusers.ErrUnauthenticated)
	for range 20 { // one failure, like a wrong secret
		try("u", "pw", 1, registryusers.ErrUnauthenticated)
	}
	e.update(t, u, accounts.UserUpdate{Days: new(int64(3))})
	try("u", "pw", 1, nil)
}

// A refused bare name is not counted: there is nothing to guess.
func TestBareNamesAreNotCounted(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	for i := range 200 {
		_, err := e.Login(t.Context(), accounts.LoginAttempt{Account: "u", Secret: registryusers.NewSecret(fmt.Sprint(i)), From: "a"})
		if !errors.Is(err, accounts.ErrBareName) {
			t.Fatalf("bare name %d: %v; want %v", i, err, accounts.ErrBareName)
		}
	}
	if _, err := e.Login(t.Context(), accounts.LoginAttempt{Account: "3-5-demo+u", Secret: registryusers.NewSecret("pw"), From: "a"}); err != nil {
		t.Errorf("the long name after 200 bare ones: %v; want success", err)
	}
}

func TestAllowBareNames(t *testing.T) {
	e := newEnv(t)
	if err := e.AllowBareNames(t.Context()); err != nil {
		t.Fatalf("AllowBareNames with one registry: %v", err)
	}
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	got, err := e.login(t, "u", "pw", "")
	wantLogin(t, "the only user of the name", got, err, u.ID)
	got, err = e.login(t, "u", "pw", "3-5-demo/app")
	wantLogin(t, "with a repository", got, err, u.ID)
	got, err = e.login(t, "u", "pw", "3-5-other/app")
	wantLogin(t, "with another registry's repository", got, err, 0)

	// A squatted name makes the bare name ambiguous, and has no other effect.
	second := e.registry(t, "second")
	squatter, err := e.CreateUser(t.Context(), e.all, second, "", accounts.NewUser{Name: "u", Duration: 1, Secret: pw("squatter's")})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"pw", "squatter's"} {
		got, err = e.login(t, "u", secret, "")
		wantLogin(t, "two users of the name, with "+secret, got, err, 0)
	}
	got, err = e.login(t, "3-5-demo+u", "pw", "")
	wantLogin(t, "the long name", got, err, u.ID)
	if err := e.DeleteUser(t.Context(), e.all, e.registryOf(squatter.RegistryID), squatter.ID); err != nil {
		t.Fatal(err)
	}
	got, err = e.login(t, "u", "pw", "")
	wantLogin(t, "one user of the name again", got, err, u.ID)

	// A project that is added while serving.
	if _, err := e.CreateRegistry(t.Context(), accounts.Administrator, 4, 5, "demo"); err != nil {
		t.Fatal(err)
	}
	got, err = e.login(t, "u", "pw", "")
	wantLogin(t, "two projects", got, err, 0)
	if err := e.AllowBareNames(t.Context()); !errors.Is(err, registryusers.ErrInvalid) {
		t.Errorf("AllowBareNames with two projects: %v; want %v", err, registryusers.ErrInvalid)
	}
}

// Four users of one name in other registries once made a valid login fail.
func TestSquattedNamesDoNotBlockLogins(t *testing.T) {
	e := newEnv(t)
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	for i := range 6 {
		if _, err := e.CreateUser(t.Context(), e.all, e.registry(t, fmt.Sprint("squat", i)), "", accounts.NewUser{Name: "u", Duration: 1, Secret: pw("squatter's")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, form := range []struct{ account, repository string }{{"3-5-demo+u", ""}, {"u", "3-5-demo/app"}} {
		got, err := e.login(t, form.account, "pw", form.repository)
		wantLogin(t, fmt.Sprint("as ", form), got, err, u.ID)
		got, err = e.login(t, form.account, "squatter's", form.repository)
		wantLogin(t, fmt.Sprint("the squatter's secret, as ", form), got, err, 0)
	}
}
