package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// login logs in from an address of its own, so that no limit is met by chance.
func (e *env) login(t *testing.T, account, secret, repository string) (accounts.Account, error) {
	t.Helper()
	return e.Login(t.Context(), accounts.LoginAttempt{
		Account: account, Secret: registryusers.NewSecret(secret), Repository: repository,
		From: fmt.Sprint(t.Name(), account, secret, repository),
	})
}

// wantLogin checks which user a login is of; the id 0 means a refusal.
func wantLogin(t *testing.T, what string, got accounts.Account, err error, id int64) {
	t.Helper()
	if id == 0 {
		if err != registryusers.ErrUnauthenticated && err != accounts.ErrBareName {
			t.Errorf("%s: the user %d, %v; want only %v", what, got.ID, err, registryusers.ErrUnauthenticated)
		}
	} else if err != nil || got.ID != id {
		t.Errorf("%s: the user %d, %v; want %d", what, got.ID, err, id)
	}
}

func TestLogin(t *testing.T) {
	e := newEnv(t)
	generated, generatedSecret := e.create(t, accounts.NewUser{Name: "generated", Duration: 1})
	empty, emptySecret := e.create(t, accounts.NewUser{Name: "", Duration: 1})
	custom, _ := e.create(t, accounts.NewUser{Name: "custom", Duration: 1, Secret: registryusers.NewSecretText("pw")})
	for _, test := range []struct {
		account, secret, repository string
		want                        int64
	}{
		{"generated", generatedSecret.Reveal(), "", generated.ID},
		{"3-5-demo+generated", generatedSecret.Reveal(), "", generated.ID},
		{"generated", generatedSecret.Reveal(), "9-9-other/image", generated.ID}, // the secret identifies the user
		{"9-9-other+generated", generatedSecret.Reveal(), "", 0},
		{"custom", generatedSecret.Reveal(), "", 0},
		{"generated", generatedSecret.Reveal() + "x", "", 0},
		{"generated", "", "", 0},
		{"3-5-demo+", emptySecret.Reveal(), "", empty.ID},
		{"3-5-demo+", "", "", 0},
		{"", "", "", 0},
		{"custom", "pw", "", 0}, // the registry is unknown
		{"custom", "pw", "3-5-demo/image", custom.ID},
		{"custom", "pw", "3-5-demo", custom.ID},
		{"custom", "pw", "3-5-other/image", 0}, // another registry has no such user
		{"custom", "pw", "image", 0},
		{"3-5-demo+custom", "pw", "", custom.ID},
		{"3-5-demo+custom", "pw", "9-9-other/image", custom.ID},
		{"03-5-demo+custom", "pw", "", 0},
		{"3-5+custom", "pw", "", 0},
		{"x-5-demo+custom", "pw", "", 0},
		{"demo+custom", "pw", "", 0},
		{"+custom", "pw", "", 0},
		{"custom+", "pw", "", 0},
		{"3-5-demo+custom", "PW", "", 0},
		{"3-5-demo+CUSTOM", "pw", "", 0},
		{"custom", "PW", "3-5-demo/image", 0},
		{"nobody", "pw", "3-5-demo/image", 0},
		{"3-5-demo+nobody", "pw", "", 0},
	} {
		got, err := e.login(t, test.account, test.secret, test.repository)
		wantLogin(t, fmt.Sprintf("Login(%q, %.3q, %q)", test.account, test.secret, test.repository), got, err, test.want)
		bare := !strings.Contains(test.account, "+") && test.repository == ""
		if errors.Is(err, accounts.ErrBareName) != (bare && test.want == 0) {
			t.Errorf("Login(%q, %q): %v; want %v for every bare name that is refused without a repository, and no other", test.account, test.repository, err, accounts.ErrBareName)
		}
		if err == nil && (got.Namespace != "3-5-demo" || got.FullName() != "3-5-demo+"+got.Name) {
			t.Errorf("Login(%q) = %+v; want the namespace 3-5-demo", test.account, got)
		}
	}
}

// A verified login must not be cached longer than it is valid.
func TestLoginEndsWithTheUsersRights(t *testing.T) {
	for _, custom := range []string{"", "pw"} {
		e := newEnv(t)
		u, text := e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: registryusers.NewSecretText(custom)})
		secret := text.Reveal()
		account, err := e.login(t, "3-5-demo+u", secret, "")
		wantLogin(t, "at first", account, err, u.ID)
		refresh := e.RefreshToken(account, "service")
		both := func(what string, id int64) accounts.Account {
			t.Helper()
			got, err := e.login(t, "3-5-demo+u", secret, "")
			wantLogin(t, what+": Login", got, err, id)
			got, err = e.Refresh(t.Context(), refresh, "service")
			wantLogin(t, what+": Refresh", got, err, id)
			got, err = e.Current(t.Context(), u.ID, u.Incarnation)
			wantLogin(t, what+": Current", got, err, id)
			return got
		}
		both("unchanged", u.ID)
		e.update(t, u, accounts.UserUpdate{ReadOnly: new(true)})
		if got := both("narrowed", u.ID); !got.ReadOnly {
			t.Error("narrowed: the account may still push")
		}
		e.now = u.ExpiresAt.Add(-time.Microsecond)
		both("before its end", u.ID)
		e.now = u.ExpiresAt
		both("at its end", 0)
		e.now = noon
		both("before its end again", u.ID)
		e.update(t, u, accounts.UserUpdate{NewSecret: true})
		both("with a new secret", 0)
		if err := e.DeleteUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID); err != nil {
			t.Fatal(err)
		}
		both("deleted", 0)
	}
}

func TestFailedLoginsAreLimited(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: registryusers.NewSecretText("pw")})
	generated, generatedSecret := e.create(t, accounts.NewUser{Name: "generated", Duration: 1})
	try := func(name, secret, from string) error {
		_, err := e.Login(t.Context(), accounts.LoginAttempt{Account: "3-5-demo+" + name, Secret: registryusers.NewSecret(secret), From: from})
		return err
	}
	for i := range 10 {
		if err := try("u", fmt.Sprint("wrong", i), "a"); !errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Fatalf("failure %d: %v; want %v", i, err, registryusers.ErrUnauthenticated)
		}
	}
	for _, secret := range []string{"wrong", "pw"} { // the first differs from the earlier ones
		err := try("u", secret, "a")
		limit, ok := errors.AsType[*accounts.LimitError](err)
		if !ok || !errors.Is(err, registryusers.ErrTooManyRequests) || limit.RetryAfter != 5*time.Minute {
			t.Errorf("after ten failures, with %q: %v; want a limit of five minutes", secret, err)
		}
	}
	if err := try("u", "pw", "b"); err != nil {
		t.Errorf("from another address: %v; want success", err)
	}
	if err := try("generated", generatedSecret.Reveal(), "a"); err != nil {
		t.Errorf("the generated secret of %q: %v; want success regardless of the limit", generated.Name, err)
	}
	e.now = noon.Add(5 * time.Minute)
	if err := try("u", "pw", "a"); err != nil {
		t.Errorf("after the five minutes: %v; want success", err)
	}
}

func TestRefreshTokenForgedOrOfAnother(t *testing.T) {
	e := newEnv(t)
	u, secret := e.create(t, accounts.NewUser{Name: "u", Duration: 1})
	e.create(t, accounts.NewUser{Name: "v", Duration: 1})
	account, err := e.login(t, "u", secret.Reveal(), "")
	if err != nil {
		t.Fatal(err)
	}
	valid := e.RefreshToken(account, "service").Reveal()
	if strings.Contains(valid, secret.Reveal()) {
		t.Error("the refresh token has the secret in it")
	}
	got, err := e.Refresh(t.Context(), registryusers.NewSecret(valid), "service")
	wantLogin(t, "valid", got, err, u.ID)
	payload, mac, _ := cutLast(valid)
	for name, token := range map[string]string{
		"empty": "", "dots": "..", "no code": payload, "another user": "2" + payload[1:] + "." + mac, "another incarnation": "1." + strings.Repeat("A", 22) + "." + mac,
		"cut": valid[:len(valid)-1], "longer": valid + "A", "only the code": "." + mac,
	} {
		got, err := e.Refresh(t.Context(), registryusers.NewSecret(token), "service")
		wantLogin(t, name, got, err, 0)
	}
	got, err = e.Refresh(t.Context(), registryusers.NewSecret(valid), "another")
	wantLogin(t, "another service", got, err, 0)
	other := accounts.New(e.store, accounts.NewServerKey("other", [32]byte{9}), func() time.Time { return e.now })
	got, err = other.Refresh(t.Context(), registryusers.NewSecret(valid), "service")
	wantLogin(t, "another server key", got, err, 0)
}

// cutLast cuts a token before its last dot.
func cutLast(token string) (before, after string, found bool) {
	i := strings.LastIndexByte(token, '.')
	return token[:max(i, 0)], token[i+1:], i >= 0
}

func TestActions(t *testing.T) {
	for _, test := range []struct {
		repository string
		readOnly   bool
		want       []string
	}{
		{"3-5-demo/image", false, []string{accounts.Pull, accounts.Push, accounts.Delete}},
		{"3-5-demo/image", true, []string{accounts.Pull}},
		{"3-5-demo/a/b", true, []string{accounts.Pull}},
		{"3-5-demo/", false, nil},
		{"3-5-demo", false, nil},
		{"3-5-demo2/image", false, nil},
		{"13-5-demo/image", false, nil},
		{"/3-5-demo/image", false, nil},
		{"3-5-DEMO/image", false, nil},
		{"", false, nil},
	} {
		a := accounts.Account{User: accounts.User{ReadOnly: test.readOnly}, Namespace: accounts.Namespace(3, 5, "demo")}
		if got := a.Actions(test.repository); !slices.Equal(got, test.want) || a.Owns(test.repository) != (test.want != nil) {
			t.Errorf("Actions(%q), read-only %t: %q, owned %t; want %q", test.repository, test.readOnly, got, a.Owns(test.repository), test.want)
		}
	}
}

// pw is a custom secret.
func pw(text string) registryusers.SecretText { return registryusers.NewSecretText(text) }

// registry creates another registry and returns its ref.
func (e *env) registry(t *testing.T, name string) accounts.RegistryRef {
	t.Helper()
	r, err := e.CreateRegistry(t.Context(), accounts.Administrator, e.at.ProjectID, e.at.RegionID, name)
	if err != nil {
		t.Fatal(err)
	}
	return accounts.RegistryRef{ProjectID: r.ProjectID, RegionID: r.RegionID, RegistryID: r.ID}
}

// hashes returns how many argon2ids a function runs: each allocates its 19 MiB
// at once, and nothing else here allocates nearly as much.
func hashes(f func()) int {
	const each = 19 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int((after.TotalAlloc - before.TotalAlloc) / each)
}

func TestOneNameAndOneCustomSecretInTwoRegistries(t *testing.T) {
	e := newEnv(t)
	first, _ := e.create(t, accounts.NewUser{Name: "same", Duration: 1, Secret: pw("pw")})
	second, err := e.CreateUser(t.Context(), e.all, e.registry(t, "two"), "", accounts.NewUser{Name: "same", Duration: 1, Secret: pw("pw")})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		account, repository string
		want                int64
	}{
		{"3-5-demo+same", "", first.ID},
		{"3-5-two+same", "", second.ID},
		{"same", "3-5-demo/a", first.ID},
		{"same", "3-5-two/a/b", second.ID},
		{"3-5-two+same", "3-5-demo/a", second.ID}, // the prefix of the name decides
		{"3-5-none+same", "", 0},
	} {
		got, err := e.login(t, test.account, "pw", test.repository)
		wantLogin(t, fmt.Sprintf("Login(%q, %q)", test.account, test.repository), got, err, test.want)
	}
	if _, err := e.login(t, "same", "pw", ""); !errors.Is(err, accounts.ErrBareName) {
		t.Errorf("the bare name: %v; want %v", err, accounts.ErrBareName)
	}
}

func TestEmptyNameWithAGeneratedSecret(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "u", Duration: 1})
	u, secret := e.create(t, accounts.NewUser{Name: "", Duration: 1})
	for account, want := range map[string]int64{
		"": u.ID, "3-5-demo+": u.ID, "+": 0, "3-5-demo": 0, "3-5-demo++": 0, "3-5-two+": 0, "3-5-demo+x": 0,
	} {
		got, err := e.login(t, account, secret.Reveal(), "")
		wantLogin(t, fmt.Sprintf("the empty name as %q", account), got, err, want)
	}
}

// A name that the database could cut off at the NUL is another name.
func TestSimilarNamesAreOtherUsers(t *testing.T) {
	e := newEnv(t)
	_, secret := e.create(t, accounts.NewUser{Name: "generated", Duration: 1})
	e.create(t, accounts.NewUser{Name: "custom", Duration: 1, Secret: pw("pw")})
	for _, account := range []string{"generated\x00", "generated\x00x", "generated ", "GENERATED", "3-5-demo+generated\x00", "3-5-DEMO+generated"} {
		got, err := e.login(t, account, secret.Reveal(), "")
		wantLogin(t, fmt.Sprintf("a generated secret, as %q", account), got, err, 0)
	}
	const name = "custom"
	for _, account := range []string{
		name + "\x00", name + "\x00x", "\x00" + name, name + " ", name + "\n", name + "%", "cust%", "CUSTOM",
		"3-5-demo\x00+" + name, "3-5-demo+" + name + "\x00", "3-5-DEMO+" + name, "3-5-demo++" + name, "3-5-demo+" + name + "+", "+3-5-demo+" + name,
		"3-05-demo+" + name, "3-+5-demo+" + name, "-3-5-demo+" + name, "99999999999999999999-5-demo+" + name, "3-5-demo/+" + name, "3-5-%+" + name,
		name + "\xff", "' OR 1=1 --",
	} {
		for _, repository := range []string{"", "3-5-demo/a"} {
			got, err := e.login(t, account, "pw", repository)
			wantLogin(t, fmt.Sprintf("a custom secret, as %q for %q", account, repository), got, err, 0)
		}
	}
}

func TestOneArgon2idForFiftyLogins(t *testing.T) {
	e := newEnv(t)
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 10, Secret: pw("pw")})
	e.create(t, accounts.NewUser{Name: "v", Duration: 10, Secret: pw("other")})
	fifty := func() {
		for i := range 50 {
			if got, err := e.login(t, "3-5-demo+u", "pw", ""); err != nil || got.ID != u.ID {
				t.Fatalf("login %d: the user %d, %v; want %d", i, got.ID, err, u.ID)
			}
		}
	}
	if got := hashes(fifty); got != 1 {
		t.Errorf("fifty logins: %d argon2ids; want 1", got)
	}
	e.now = noon.Add(5*time.Minute - 1)
	if got := hashes(fifty); got != 0 {
		t.Errorf("fifty more within five minutes: %d argon2ids; want 0", got)
	}
	e.now = noon.Add(5 * time.Minute)
	if got := hashes(fifty); got != 1 {
		t.Errorf("after five minutes: %d argon2ids; want 1", got)
	}
	// A cached verification is of the stored hash: another hash invalidates it.
	verifier := e.stored(t, "v").Verifier
	if _, err := e.store.UpdateUser(t.Context(), e.registryOf(u.RegistryID), u.ID, func(u *accounts.User) error { u.Verifier = verifier; return nil }, nil); err != nil {
		t.Fatal(err)
	}
	if n := hashes(func() {
		got, err := e.login(t, "3-5-demo+u", "pw", "")
		wantLogin(t, "the old secret, remembered", got, err, 0)
	}); n != 1 {
		t.Errorf("the old secret, remembered: %d argon2ids; want 1", n)
	}
	got, err := e.login(t, "3-5-demo+u", "other", "")
	wantLogin(t, "the new secret", got, err, u.ID)
}

func TestUnknownStoredHash(t *testing.T) {
	for _, hash := range []string{
		"plain", "$", "$$$$$$", "$argon2id$", "$2b$10$abcdefghijklmnopqrstuv", "$argon2i$v=19$m=19456,t=2,p=1$YWFhYQ$YWFhYQ",
		"$argon2id$v=19$m=4294967295,t=2,p=1$YWFhYQ$YWFhYQ", "$argon2id$v=19$m=19456,t=0,p=0$YWFhYQ$YWFhYQ",
		"$argon2id$v=19$m=19456,t=2,p=1$YWFhYQ", "$argon2id$v=19$m=19456,t=2,p=1$?$?", "$argon2id$v=19$m=19456,t=2,p=1$YWFhYQ$YWFhYQ$x",
	} {
		e := newEnv(t)
		_, err := e.store.CreateUser(t.Context(), e.at, accounts.User{
			Name: "u", CreatedAt: noon, ExpiresAt: accounts.Never, SecretVersion: 1, Verifier: accounts.Verifier{Hash: hash},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.login(t, "3-5-demo+u", "a-marked-secret", "")
		switch {
		case err == nil, errors.Is(err, registryusers.ErrUnauthenticated), errors.Is(err, registryusers.ErrTooManyRequests):
			t.Errorf("the stored hash %q: the user %d, %v; want an error that is no refusal", hash, got.ID, err)
		case strings.Contains(err.Error(), hash) && len(hash) > 1, strings.Contains(err.Error(), "marked"):
			t.Errorf("the stored hash %q: %v; want an error that quotes neither it nor the secret", hash, err)
		}
	}
}

func TestFailedLoginsOfEveryFormOfANameCountTogether(t *testing.T) {
	for _, bare := range []bool{false, true} {
		e := newEnv(t)
		e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
		forms := []struct{ account, repository string }{{"3-5-demo+u", ""}, {"u", "3-5-demo/a"}, {"3-5-demo+u", "9-9-other/a"}}
		if bare {
			if err := e.AllowBareNames(t.Context()); err != nil {
				t.Fatal(err)
			}
			forms = append(forms, struct{ account, repository string }{"u", ""})
		}
		try := func(account, secret, repository string) error {
			_, err := e.Login(t.Context(), accounts.LoginAttempt{Account: account, Secret: registryusers.NewSecret(secret), Repository: repository, From: "a"})
			return err
		}
		for i := range 10 {
			form := forms[i%len(forms)]
			if err := try(form.account, fmt.Sprint("wrong", i), form.repository); !errors.Is(err, registryusers.ErrUnauthenticated) {
				t.Fatalf("failure %d, as %q: %v; want %v", i, form, err, registryusers.ErrUnauthenticated)
			}
		}
		for _, form := range forms {
			if err := try(form.account, "pw", form.repository); !errors.Is(err, registryusers.ErrTooManyRequests) {
				t.Errorf("after ten failures, as %q: %v; want %v", form, err, registryusers.ErrTooManyRequests)
			}
		}
		if n := hashes(func() { _ = try("3-5-demo+u", "another", "") }); n != 0 {
			t.Errorf("a limited login: %d argon2ids; want none", n)
		}
		if err := try("3-5-demo+v", "pw", ""); !errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("another name: %v; want %v", err, registryusers.ErrUnauthenticated)
		}
	}
}

// Ten failed logins from the same address must not refuse a secret
// that was verified a minute ago.
func TestAVerifiedSecretPassesAheadOfTheThrottle(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	e.create(t, accounts.NewUser{Name: "v", Duration: 1, Secret: pw("pw")})
	try := func(name, secret string) error {
		_, err := e.Login(t.Context(), accounts.LoginAttempt{Account: "3-5-demo+" + name, Secret: registryusers.NewSecret(secret), From: "a"})
		return err
	}
	if err := try("u", "pw"); err != nil {
		t.Fatal(err)
	}
	e.now = noon.Add(time.Minute)
	for _, name := range []string{"u", "v"} {
		for i := range 11 {
			_ = try(name, fmt.Sprint("wrong", i))
		}
	}
	if n := hashes(func() {
		if err := try("u", "pw"); err != nil {
			t.Errorf("the verified secret after eleven failures: %v; want success", err)
		}
	}); n != 0 {
		t.Errorf("the verified secret: %d argon2ids; want none", n)
	}
	if err := try("v", "pw"); !errors.Is(err, registryusers.ErrTooManyRequests) {
		t.Errorf("a secret that was not verified, after eleven failures: %v; want %v", err, registryusers.ErrTooManyRequests)
	}
}

// containerd sends a wrong secret several times for one login.
func TestARepeatedWrongSecretIsOneFailure(t *testing.T) {
	e := newEnv(t)
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	e.create(t, accounts.NewUser{Name: "generated", Duration: 1})
	for _, name := range []string{"u", "generated", "nobody"} {
		try := func(secret, from string) error {
			_, err := e.Login(t.Context(), accounts.LoginAttempt{Account: "3-5-demo+" + name, Secret: registryusers.NewSecret(secret), From: from})
			return err
		}
		if n := hashes(func() {
			for range 20 {
				if err := try("wrong", "a"); !errors.Is(err, registryusers.ErrUnauthenticated) {
					t.Fatalf("%s: a wrong secret again: %v; want %v", name, err, registryusers.ErrUnauthenticated)
				}
			}
		}); n != 20 {
			t.Errorf("%s: a wrong secret twenty times: %d argon2ids; want 20: a repeat costs the same", name, n)
		}
		if n := hashes(func() { _ = try("wrong", "b") }); n != 1 {
			t.Errorf("%s: the wrong secret from another address: %d argon2ids; want 1", name, n)
		}
		for i := range 9 {
			if err := try(fmt.Sprint("wrong", i), "a"); !errors.Is(err, registryusers.ErrUnauthenticated) {
				t.Fatalf("%s: wrong secret %d after one that was repeated: %v; want %v", name, i, err, registryusers.ErrUnauthenticated)
			}
		}
		if err := try("wrong0", "a"); !errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("%s: a repeated secret after ten others: %v; want %v", name, err, registryusers.ErrUnauthenticated)
		}
		if err := try("wrong9", "a"); !errors.Is(err, registryusers.ErrTooManyRequests) {
			t.Errorf("%s: an eleventh wrong secret: %v; want %v", name, err, registryusers.ErrTooManyRequests)
		}
	}
	// A wrong secret may become right later, also where it was tried before.
	other, _ := e.create(t, accounts.NewUser{Name: "other", Duration: 1, Secret: pw("wrong")})
	if _, err := e.store.UpdateUser(t.Context(), e.registryOf(u.RegistryID), u.ID, func(u *accounts.User) error { u.Verifier = other.Verifier; return nil }, nil); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"b", "a"} {
		got, err := e.Login(t.Context(), accounts.LoginAttempt{Account: "3-5-demo+u", Secret: registryusers.NewSecret("wrong"), From: from})
		wantLogin(t, "the secret that was wrong before, from "+from, got, err, u.ID)
		e.now = e.now.Add(time.Minute)
	}
}

// The same wrong secret many times at once is one failure, too.
func TestOneWrongSecretAtOnceIsOneFailure(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	for i, err := range e.together(32, func(int) accounts.LoginAttempt {
		return accounts.LoginAttempt{Account: "3-5-demo+u", Secret: registryusers.NewSecret("wrong"), From: "a"}
	}) {
		if !errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("login %d of 32 at once with one wrong secret: %v; want %v", i, err, registryusers.ErrUnauthenticated)
		}
	}
}

func TestNamesOfMegabytesDoNotFillTheMemory(t *testing.T) {
	e := newEnv(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 6 {
		name := strconv.Itoa(i) + strings.Repeat("x", 4<<20)
		for _, account := range []string{name, "3-5-demo+" + name, name + "+u"} {
			_, err := e.Login(t.Context(), accounts.LoginAttempt{Account: account, Secret: registryusers.NewSecret(name), Repository: name, From: "a"})
			if err == nil {
				t.Fatalf("Login(%.8q…): success; want it refused", account)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("after names of 72 MiB together the heap is %d KiB larger; want nearly none of them kept", grown>>10)
	}
	runtime.KeepAlive(e)
}

// gate is a store that holds back look-ups by name until it is opened.
type gate struct {
	accounts.Store
	arrived chan struct{}
	open    chan struct{}
}

func (s gate) AccountByName(ctx context.Context, projectID, regionID int64, registry, name string) (accounts.Account, error) {
	s.arrived <- struct{}{}
	<-s.open
	return s.Store.AccountByName(ctx, projectID, regionID, registry, name)
}

// together runs logins at once: all have passed the first check of the limit, or
// ended, before any continues.
func (e *env) together(n int, attempt func(i int) accounts.LoginAttempt) []error {
	g := gate{e.store, make(chan struct{}, n), make(chan struct{})}
	service := accounts.New(g, accounts.NewServerKey("test", [32]byte{1}), func() time.Time { return noon })
	errs, done := make([]error, n), make(chan struct{}, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, errs[i] = service.Login(context.Background(), attempt(i))
			done <- struct{}{}
		})
	}
	for range n {
		select {
		case <-g.arrived:
		case <-done:
		}
	}
	close(g.open)
	wg.Wait()
	return errs
}

// Concurrent guesses must not all pass before the first has failed. Those that
// are being hashed may end.
func TestGuessesAtOnceAreLimitedAsThoseInTurn(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	guesses := 0
	for i, err := range e.together(64, func(i int) accounts.LoginAttempt {
		return accounts.LoginAttempt{Account: "3-5-demo+u", Secret: registryusers.NewSecret(fmt.Sprint("guess", i)), From: "a"}
	}) {
		switch {
		case errors.Is(err, registryusers.ErrUnauthenticated):
			guesses++
		case !errors.Is(err, registryusers.ErrTooManyRequests):
			t.Errorf("guess %d: %v; want it refused or limited", i, err)
		}
	}
	if guesses < 10 || guesses > 20 {
		t.Errorf("64 guesses at once: %d were verified; want ten, or a few more, and the rest limited", guesses)
	}
}

func TestConcurrentValidLoginsSucceed(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: pw("pw")})
	for i, err := range e.together(32, func(int) accounts.LoginAttempt {
		return accounts.LoginAttempt{Account: "3-5-demo+u", Secret: registryusers.NewSecret("pw"), From: "a"}
	}) {
		if err != nil {
			t.Errorf("login %d of 32 at once with the right secret: %v; want success", i, err)
		}
	}
}

// TestMemoryOfLoginsAtOnce runs itself in a process of its own, as on a
// machine of many processors, and asks that for the most memory it ever had.
func TestMemoryOfLoginsAtOnce(t *testing.T) {
	const logins, most = 64, 256 << 20
	const variable = "REGISTRYUSERS_TEST_LOGINS_AT_ONCE"
	if os.Getenv(variable) == "" {
		if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
			t.Skip("the race detector has memory of its own")
		}
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		command.Env = append(os.Environ(), variable+"=1", "GOMAXPROCS=64")
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%d logins at once: %v\n%s", logins, err, out)
		}
		return
	}
	e := newEnv(t)
	first, _ := e.create(t, accounts.NewUser{Name: "u0", Duration: 1, Secret: pw("pw")})
	for i := range logins - 1 { // with the same hash: a create would compute another
		u, _ := e.create(t, accounts.NewUser{Name: "u" + strconv.Itoa(i+1), Duration: 1})
		if _, err := e.store.UpdateUser(t.Context(), e.registryOf(u.RegistryID), u.ID, func(u *accounts.User) error { u.Verifier = first.Verifier; return nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, err := range e.together(logins, func(i int) accounts.LoginAttempt {
		return accounts.LoginAttempt{Account: "3-5-demo+u" + strconv.Itoa(i), Secret: registryusers.NewSecret("pw"), From: "a"}
	}) {
		if err != nil {
			t.Errorf("login %d: %v; want success", i, err)
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	if stats.Sys > most { // memory from the system; it never decreases
		t.Errorf("%d logins at once took %d MiB; want at most %d", logins, stats.Sys>>20, most>>20)
	}
	t.Logf("%d MiB", stats.Sys>>20)
}
