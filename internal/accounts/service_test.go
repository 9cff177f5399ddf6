package accounts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/sqlite"
)

// env is a service over a real store, with a registry and a settable clock.
type env struct {
	*accounts.Service
	store *sqlite.Store
	dir   string
	now   time.Time
	at    accounts.RegistryRef // of the registry demo
	all   accounts.APIKey      // a key for all projects
}

var noon = time.Date(2024, 6, 18, 12, 0, 0, 123_456_000, time.UTC)

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{dir: t.TempDir(), now: noon}
	var err error
	if e.store, err = sqlite.Open(t.Context(), filepath.Join(e.dir, "test.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.store.Close(); err != nil {
			t.Error(err)
		}
	})
	e.Service = accounts.New(e.store, accounts.NewServerKey("test", [32]byte{1, 2, 3}), func() time.Time { return e.now })
	r, err := e.CreateRegistry(t.Context(), accounts.Administrator, 3, 5, "demo")
	if err != nil {
		t.Fatal(err)
	}
	e.at = accounts.RegistryRef{ProjectID: 3, RegionID: 5, RegistryID: r.ID}
	return e
}

// registryOf returns what refers to the registry with the id.
func (e *env) registryOf(id int64) accounts.RegistryRef {
	registries, err := e.Registries(context.Background())
	for _, r := range registries {
		if r.ID == id {
			return r.Ref()
		}
	}
	panic(fmt.Sprintf("no registry %d: %v", id, err))
}

// create creates a user. It must succeed.
func (e *env) create(t *testing.T, n accounts.NewUser) (accounts.User, registryusers.SecretText) {
	t.Helper()
	u, err := e.CreateUser(t.Context(), e.all, e.at, "", n)
	if err != nil || u.Replayed {
		t.Fatalf("CreateUser(%+v): %v, replayed %t", n, err, u.Replayed)
	}
	return u.User, u.Secret
}

// update changes a user, which must succeed, and returns its new secret.
func (e *env) update(t *testing.T, u accounts.User, update accounts.UserUpdate) registryusers.SecretText {
	t.Helper()
	updated, secret, err := e.UpdateUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID, update)
	if err != nil {
		t.Fatalf("UpdateUser(%+v): %v", update, err)
	}
	if stored := e.stored(t, u.Name); !reflect.DeepEqual(updated, stored) {
		t.Errorf("UpdateUser = %+v; want what is stored, %+v", updated, stored)
	}
	return secret
}

// stored returns the user as the store has it.
func (e *env) stored(t *testing.T, name string) accounts.User {
	t.Helper()
	u, err := e.User(t.Context(), e.all, e.at, name)
	if err != nil {
		t.Fatalf("User(%q): %v", name, err)
	}
	return u
}

func TestExpiry(t *testing.T) {
	day := 24 * time.Hour
	for i, test := range []struct {
		now  time.Time
		days int64
		want time.Time
	}{
		{noon, 0, noon},
		{noon, 1, noon.Add(day)},
		{noon, 14, time.Date(2024, 7, 2, 12, 0, 0, 123_456_000, time.UTC)},
		{noon, 365, noon.Add(365 * day)},
		{noon, -1, time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)},
		{noon.Add(999), 1, noon.Add(day)},                                                // truncated, not rounded
		{noon.In(time.FixedZone("east", 9*3600)), 1, noon.Add(day)},                      // UTC
		{time.Date(2024, 2, 28, 1, 0, 0, 0, time.UTC), 2, noonless(2024, time.March, 1)}, // a leap year
		{time.Date(2024, 12, 31, 1, 0, 0, 0, time.UTC), 1, noonless(2025, time.January, 1)},
		{time.Now(), 1, time.Time{}}, // with a monotonic reading
	} {
		e := newEnv(t)
		e.now = test.now
		created := test.now.UTC().Truncate(time.Microsecond)
		want := test.want
		if want.IsZero() {
			want = created.Add(day)
		}
		u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: test.days})
		for what, got := range map[string]accounts.User{"returned": u, "stored": e.stored(t, "u")} {
			if got.CreatedAt != created || got.ExpiresAt != want || got.Duration != test.days {
				t.Errorf("%d: at %v for %d days, %s: created %v, expires %v, duration %d; want %v, %v, %d",
					i, test.now, test.days, what, got.CreatedAt, got.ExpiresAt, got.Duration, created, want, test.days)
			}
		}
	}
}

// noonless returns one o'clock at night.
func noonless(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 1, 0, 0, 0, time.UTC)
}

func TestInvalidDuration(t *testing.T) {
	e := newEnv(t)
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1})
	for _, days := range []int64{-2, -365, math.MinInt64, 36526, 106752, 213504, math.MaxInt64} {
		for _, key := range []string{"", "key"} {
			got, err := e.CreateUser(t.Context(), e.all, e.at, key, accounts.NewUser{Name: "new", Duration: days})
			if !errors.Is(err, registryusers.ErrInvalid) || got.ID != 0 || !got.Secret.IsZero() {
				t.Errorf("CreateUser for %d days, with the key %q = %+v, %v; want %v", days, key, got, err, registryusers.ErrInvalid)
			}
		}
		if got, secret, err := e.UpdateUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID, accounts.UserUpdate{Days: &days, ReadOnly: new(true), NewSecret: true}); !errors.Is(err, registryusers.ErrInvalid) || got.ID != 0 || !secret.IsZero() {
			t.Errorf("UpdateUser to %d days, read-only, with a new secret = %+v, %v; want %v", days, got, err, registryusers.ErrInvalid)
		}
	}
	if all, err := e.Users(t.Context(), e.all, e.at); err != nil || !reflect.DeepEqual(all, []accounts.User{u}) {
		t.Errorf("Users() = %+v, %v; want only %+v, unchanged", all, err, u)
	}
}

func TestExpiredAtTheBoundary(t *testing.T) {
	end := noon
	for _, test := range []struct {
		now  time.Time
		want bool
	}{
		{end.Add(-time.Hour), false},
		{end.Add(-time.Nanosecond), false},
		{end, true},
		{end.Add(time.Nanosecond), true},
		{end.In(time.FixedZone("west", -5*3600)), true},
	} {
		if got := (accounts.User{ExpiresAt: end}).Expired(test.now); got != test.want {
			t.Errorf("a user that ends at %v is expired at %v: %t; want %t", end, test.now, got, test.want)
		}
	}
	if (accounts.User{ExpiresAt: accounts.Never}).Expired(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Error("a user that never ends is expired in 9999")
	}
}

func TestUserOfDuration0ExpiresAtOnce(t *testing.T) {
	e := newEnv(t)
	if u, _ := e.create(t, accounts.NewUser{Name: "u"}); !u.Expired(e.now) {
		t.Errorf("%+v is not expired at %v; want a user of duration 0 to expire at once", u, e.now)
	}
}

// untouchable is a store whose methods must not be called.
type untouchable struct {
	accounts.Store // nil: the other methods panic
	t              *testing.T
}

func (s untouchable) Registry(context.Context, accounts.RegistryRef) (accounts.Registry, error) {
	s.t.Error("the store's Registry was called")
	return accounts.Registry{}, nil
}

func (s untouchable) CreateUser(_ context.Context, _ accounts.RegistryRef, u accounts.User, _ *accounts.IdempotencyRecord) (accounts.User, error) {
	s.t.Error("the store's CreateUser was called")
	return u, nil
}

func (s untouchable) IdempotencyRecord(context.Context, []byte) (accounts.IdempotencyRecord, error) {
	s.t.Error("the store's IdempotencyRecord was called")
	return accounts.IdempotencyRecord{}, registryusers.ErrNotFound
}

func (s untouchable) APIKey(context.Context, int64) (accounts.APIKey, error) {
	s.t.Error("the store's Key was called")
	return accounts.APIKey{}, nil
}

// Every method that refers to a registry, also one that is written later, takes the
// caller's API key, and decides by it before it calls the store.
func TestEveryOperationInAProjectChecksTheKey(t *testing.T) {
	s := accounts.New(untouchable{t: t}, accounts.NewServerKey("k", [32]byte{}), nil)
	service, checked := reflect.ValueOf(s), 0
	for i := range service.NumMethod() {
		name, method := service.Type().Method(i).Name, service.Method(i)
		in, hasKey, hasRef := make([]reflect.Value, method.Type().NumIn()), false, false
		for j := range in {
			of := method.Type().In(j)
			in[j] = reflect.Zero(of)
			switch of {
			case reflect.TypeFor[context.Context]():
				in[j] = reflect.ValueOf(t.Context())
			case reflect.TypeFor[accounts.APIKey]():
				in[j], hasKey = reflect.ValueOf(accounts.APIKey{ID: 1, ProjectID: 3}), true
			case reflect.TypeFor[accounts.RegistryRef]():
				in[j], hasRef = reflect.ValueOf(accounts.RegistryRef{ProjectID: 4, RegionID: 5, RegistryID: 1}), true
			}
		}
		if name == "CreateRegistry" { // which refers to a project
			in[2], in[3], in[4], hasRef = reflect.ValueOf(int64(4)), reflect.ValueOf(int64(5)), reflect.ValueOf("demo"), true
		}
		if !hasRef {
			continue
		}
		checked++
		if !hasKey {
			t.Errorf("%s refers to a registry, and takes no API key of the caller", name)
			continue
		}
		out := method.Call(in)
		if err, _ := out[len(out)-1].Interface().(error); !errors.Is(err, registryusers.ErrForbidden) {
			t.Errorf("%s, with an API key of another project: %v; want %v", name, err, registryusers.ErrForbidden)
		}
	}
	if checked < 6 {
		t.Errorf("%d methods refer to a registry; want at least the operations on users and CreateRegistry", checked)
	}
}

func TestForbiddenBeforeAnyLookUp(t *testing.T) {
	s := accounts.New(untouchable{t: t}, accounts.NewServerKey("k", [32]byte{}), nil)
	for _, test := range []struct{ key, project int64 }{{3, 4}, {3, 0}, {3, -1}, {3, -3}, {math.MaxInt64, math.MinInt64}} {
		for _, n := range []accounts.NewUser{
			{Name: "generated", Duration: 1},
			{Name: "custom", Duration: 1, Secret: registryusers.NewSecretText("custom")},
		} {
			ref := accounts.RegistryRef{ProjectID: test.project, RegionID: 5, RegistryID: 1}
			for _, key := range []string{"", "key"} {
				u, err := s.CreateUser(t.Context(), accounts.APIKey{ID: 1, ProjectID: test.key}, ref, key, n)
				if !errors.Is(err, registryusers.ErrForbidden) || u.ID != 0 || !u.Secret.IsZero() {
					t.Errorf("CreateUser(%s), with the key %q, with an API key of project %d in project %d = %+v, %v; want %v",
						n.Name, key, test.key, test.project, u, err, registryusers.ErrForbidden)
				}
			}
		}
	}
}

func TestOrderOfErrors(t *testing.T) {
	e := newEnv(t)
	e.create(t, accounts.NewUser{Name: "taken", Duration: 1})
	elsewhere := func(change func(*accounts.RegistryRef)) accounts.RegistryRef {
		ref := e.at
		change(&ref)
		return ref
	}
	noRegistry := elsewhere(func(ref *accounts.RegistryRef) { ref.RegistryID++ })
	otherRegion := elsewhere(func(ref *accounts.RegistryRef) { ref.RegionID++ })
	otherProject := elsewhere(func(ref *accounts.RegistryRef) { ref.ProjectID++ })
	mine := accounts.APIKey{ID: 1, ProjectID: 3}
	for _, test := range []struct {
		name string
		key  accounts.APIKey
		at   accounts.RegistryRef
		want error
	}{
		{"all wrong", mine, elsewhere(func(ref *accounts.RegistryRef) { ref.ProjectID++; ref.RegistryID++ }), registryusers.ErrForbidden},
		{"another project", mine, otherProject, registryusers.ErrForbidden},
		{"another project, a key for all", e.all, otherProject, registryusers.ErrRegistryNotFound},
		{"no registry", mine, noRegistry, registryusers.ErrRegistryNotFound},
		{"another region", mine, otherRegion, registryusers.ErrRegistryNotFound},
		{"taken", mine, e.at, registryusers.ErrUserExists},
		{"taken, a key for all", e.all, e.at, registryusers.ErrUserExists},
	} {
		for _, custom := range []string{"", "custom"} {
			u, err := e.CreateUser(t.Context(), test.key, test.at, "",
				accounts.NewUser{Name: "taken", Duration: 1, Secret: registryusers.NewSecretText(custom)})
			if !errors.Is(err, test.want) || u.ID != 0 || !u.Secret.IsZero() {
				t.Errorf("%s, with the secret %q: %+v, %v; want %v", test.name, custom, u, err, test.want)
			}
		}
	}
	if all, err := e.Users(t.Context(), e.all, e.at); err != nil || len(all) != 1 {
		t.Errorf("Users() = %+v, %v; want the one", all, err)
	}
}

func TestGeneratedSecret(t *testing.T) {
	e := newEnv(t)
	u, secret := e.create(t, accounts.NewUser{Name: "u", Duration: 1, ReadOnly: true})
	if form := regexp.MustCompile(`^[A-Za-z0-9]{32}$`); !form.MatchString(secret.Reveal()) {
		t.Errorf("the secret %q does not match %s", secret.Reveal(), form)
	}
	if u.ID < 1 || u.RegistryID != e.at.RegistryID || u.Name != "u" || !u.ReadOnly || u.SecretVersion != 1 || u.Verifier.Hash != "" || len(u.Verifier.Index) != sha256.Size {
		t.Errorf("CreateUser = %+v; want the user u of registry %d, read-only, secret version 1, with an index of %d bytes", u, e.at.RegistryID, sha256.Size)
	}
	if stored := e.stored(t, "u"); !reflect.DeepEqual(stored, u) {
		t.Errorf("stored: %+v; want %+v", stored, u)
	}
	if plain := sha256.Sum256([]byte(secret.Reveal())); bytes.Equal(plain[:], u.Verifier.Index) {
		t.Error("the index is the secret's plain hash; want one under the server key")
	}
	_, second := e.create(t, accounts.NewUser{Name: "second", Duration: 1})
	if second.Reveal() == secret.Reveal() {
		t.Error("two users have the same secret")
	}
}

// filesWith returns the files under dir that have the text in them.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(text)) {
			found = append(found, entry.Name())
		}
	}
	return found
}

func TestNoSecretIsStored(t *testing.T) {
	e := newEnv(t)
	u, generated := e.create(t, accounts.NewUser{Name: "madeuser", Duration: 1})
	e.create(t, accounts.NewUser{Name: "customuser", Duration: 1, Secret: registryusers.NewSecretText("custom-Xq7wZ")})
	_, renewed, err := e.UpdateUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID, accounts.UserUpdate{NewSecret: true})
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := e.CreateAPIKey(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	_, keySecret, _ := strings.Cut(token.Reveal(), "$")
	if len(filesWith(t, e.dir, "customuser")) == 0 {
		t.Fatal("the files do not even have the user's name: the search is broken")
	}
	for what, secret := range map[string]string{
		"generated secret": generated.Reveal(),
		"renewed secret":   renewed.Reveal(),
		"custom secret":    "custom-Xq7wZ",
		"API key":          token.Reveal(),
		"API key's secret": keySecret,
		"server key":       string([]byte{1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
	} {
		if files := filesWith(t, e.dir, secret); len(files) > 0 {
			t.Errorf("the %s is in the clear in %q", what, files)
		}
	}
}

func TestPrintingAUserShowsNoSecret(t *testing.T) {
	key := accounts.NewServerKey("id", [32]byte([]byte("0123456789abcdef0123456789abcdef")))
	n := accounts.NewUser{Name: "u", Secret: registryusers.NewSecretText("very-secret")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{key, &key, n, &n, struct{ n accounts.NewUser }{n}, struct{ k accounts.ServerKey }{key}} {
			text := fmt.Sprintf(verb, value)
			for _, secret := range []string{"very-secret", "0123456789abcdef", "30313233", "48 49 50", "0x30, 0x31", fmt.Sprintf("%x", "very-secret")} {
				if strings.Contains(text, secret) {
					t.Errorf("%s of %T prints %s, which has the secret in it", verb, value, text)
				}
			}
		}
	}
}

func TestCustomSecretIsKeptAsArgon2id(t *testing.T) {
	e := newEnv(t)
	const custom = "pässword $ with, all=sorts"
	u, secret := e.create(t, accounts.NewUser{Name: "u", Duration: 1, Secret: registryusers.NewSecretText(custom)})
	if secret.Reveal() != custom {
		t.Errorf("the returned secret is %q; want the custom secret %q", secret.Reveal(), custom)
	}
	v := e.stored(t, "u").Verifier
	if v.Index != nil || v.Hash != u.Verifier.Hash {
		t.Errorf("stored: %+v; want the hash %s alone", v, u.Verifier.Hash)
	}
	fields := strings.Split(v.Hash, "$")
	if len(fields) != 6 || strings.Join(fields[:4], "$") != "$argon2id$v=19$m=19456,t=2,p=1" {
		t.Fatalf("stored: %s; want $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY", v.Hash)
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(fields[4])
	if err != nil || len(salt) < 16 {
		t.Fatalf("salt %q: %v; want base64 of 16 bytes or more", fields[4], err)
	}
	key, err := base64.RawStdEncoding.Strict().DecodeString(fields[5])
	if err != nil || len(key) != 32 {
		t.Fatalf("key %q: %v; want base64 of 32 bytes", fields[5], err)
	}
	for _, test := range []struct {
		secret string
		want   int
	}{{custom, 1}, {custom + " ", 0}, {"", 0}} {
		if got := subtle.ConstantTimeCompare(key, argon2.IDKey([]byte(test.secret), salt, 2, 19456, 1, 32)); got != test.want {
			t.Errorf("the hash fits %q: %d; want %d", test.secret, got, test.want)
		}
	}
	other, _ := e.create(t, accounts.NewUser{Name: "other", Duration: 1, Secret: registryusers.NewSecretText(custom)})
	if other.Verifier.Hash == v.Hash {
		t.Error("two users with the same secret have the same hash; want a salt for each")
	}
}

func TestCanceledWhileHashing(t *testing.T) {
	e := newEnv(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.CreateUser(ctx, e.all, e.at, "", accounts.NewUser{Name: "u", Duration: 1, Secret: registryusers.NewSecretText("custom")})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, registryusers.ErrUnavailable) {
		t.Errorf("CreateUser with a canceled context: %v; want %v and %v: nothing is done", err, context.Canceled, registryusers.ErrUnavailable)
	}
	if _, err := e.User(t.Context(), e.all, e.at, "u"); !errors.Is(err, registryusers.ErrUserNotFound) {
		t.Errorf("User: %v; want %v", err, registryusers.ErrUserNotFound)
	}
}

func TestOneUserFromCreateToDelete(t *testing.T) {
	e := newEnv(t)
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 10})
	check := func(update accounts.UserUpdate) {
		t.Helper()
		if secret := e.update(t, u, update); !secret.IsZero() {
			t.Errorf("UpdateUser(%+v) returns a secret; want none", update)
		}
		if got := e.stored(t, "u"); !reflect.DeepEqual(got, u) {
			t.Errorf("after UpdateUser(%+v):\n%+v; want\n%+v", update, got, u)
		}
	}
	check(accounts.UserUpdate{})
	u.ReadOnly = true
	check(accounts.UserUpdate{ReadOnly: new(true)})
	u.ReadOnly = false
	check(accounts.UserUpdate{ReadOnly: new(false)})

	e.now = noon.Add(50 * time.Hour) // the duration starts when the user was created
	for days, end := range map[int64]time.Time{
		0: noon, 1: noon.Add(24 * time.Hour), 365: noon.Add(365 * 24 * time.Hour), -1: accounts.Never,
	} {
		u.Duration, u.ExpiresAt = days, end
		check(accounts.UserUpdate{Days: &days})
	}
	u.ReadOnly, u.Duration, u.ExpiresAt = true, 2, noon.Add(48*time.Hour)
	check(accounts.UserUpdate{Days: new(int64(2)), ReadOnly: new(true)})

	before := u.Verifier.Index
	secret := e.update(t, u, accounts.UserUpdate{NewSecret: true})
	if len(secret.Reveal()) != 32 {
		t.Fatalf("a new secret has %d letters; want 32", len(secret.Reveal()))
	}
	renewed := e.stored(t, "u")
	if bytes.Equal(renewed.Verifier.Index, before) || renewed.SecretVersion != 2 || renewed.Incarnation == u.Incarnation {
		t.Errorf("with a new secret: %+v; want another index, the version 2 and another incarnation", renewed)
	}
	if _, err := e.store.AccountBySecret(t.Context(), before); !errors.Is(err, registryusers.ErrUserNotFound) {
		t.Errorf("the old secret finds its user: %v; want %v", err, registryusers.ErrUserNotFound)
	}

	e.now = accounts.Never // all other users have expired; their names are still taken
	if _, err := e.CreateUser(t.Context(), e.all, e.at, "", accounts.NewUser{Name: "u", Duration: 1}); !errors.Is(err, registryusers.ErrUserExists) {
		t.Errorf("CreateUser with a taken name: %v; want %v", err, registryusers.ErrUserExists)
	}
	e.now = noon
	if err := e.DeleteUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID); err != nil {
		t.Fatalf("DeleteUser: %v", err)
	}
	again, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1})
	if again.ID <= u.ID || again.SecretVersion != 1 {
		t.Errorf("CreateUser with the freed name = %+v; want an id above %d and the secret version 1", again, u.ID)
	}

	// The deleted user's id is no user's, also after its name was reused.
	for what, err := range map[string]error{
		"UpdateUser": func() error {
			_, _, err := e.UpdateUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID, accounts.UserUpdate{ReadOnly: new(true)})
			return err
		}(),
		"DeleteUser": e.DeleteUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID),
		"UpdateUser, with a new secret": func() error {
			_, secret, err := e.UpdateUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID, accounts.UserUpdate{NewSecret: true})
			if !secret.IsZero() {
				t.Error("UpdateUser of a deleted user returns a secret")
			}
			return err
		}(),
	} {
		if !errors.Is(err, registryusers.ErrUserNotFound) {
			t.Errorf("%s of a deleted user: %v; want %v", what, err, registryusers.ErrUserNotFound)
		}
	}
	if got := e.stored(t, "u"); !reflect.DeepEqual(got, again) {
		t.Errorf("the name's new user is %+v; want %+v", got, again)
	}
}

func TestExpiredUserKeepsItsName(t *testing.T) {
	e := newEnv(t)
	u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1})
	e.now = noon.AddDate(1, 0, 0)
	if !u.Expired(e.now) {
		t.Fatalf("%+v is not expired at %v", u, e.now)
	}
	if _, err := e.CreateUser(t.Context(), e.all, e.at, "", accounts.NewUser{Name: "u", Duration: 1}); !errors.Is(err, registryusers.ErrUserExists) {
		t.Errorf("CreateUser with an expired user's name: %v; want %v", err, registryusers.ErrUserExists)
	}
}

func TestRaceForOneName(t *testing.T) {
	e := newEnv(t)
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			n := accounts.NewUser{Name: "same", Duration: 1}
			if i%16 == 0 { // some with a custom secret, which takes longer
				n.Secret = registryusers.NewSecretText("custom")
			}
			_, errs[i] = e.CreateUser(t.Context(), e.all, e.at, "", n)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, registryusers.ErrUserExists) {
			t.Errorf("CreateUser: %v; want nil or %v", err, registryusers.ErrUserExists)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d creates succeeded; want 1", won, len(errs))
	}
}

func TestRegistryRules(t *testing.T) {
	e := newEnv(t)
	for _, test := range []struct {
		project, region int64
		name            string
		want            error
	}{
		{3, 5, "demo", registryusers.ErrRegistryExists},
		{3, 6, "demo", nil},
		{4, 5, "demo", nil},
		{3, 5, "ab", nil},
		{3, 5, "a-", registryusers.ErrInvalid},
		{3, 5, "a-b", nil},
		{3, 5, "a0", nil},
		{3, 5, "a" + strings.Repeat("-", 22) + "b", nil},
		{3, 5, "a" + strings.Repeat("-", 23) + "b", registryusers.ErrInvalid},
		{3, 5, "", registryusers.ErrInvalid},
		{3, 5, "a", registryusers.ErrInvalid},
		{3, 5, "0a", registryusers.ErrInvalid},
		{3, 5, "-a", registryusers.ErrInvalid},
		{3, 5, "Demo2", registryusers.ErrInvalid},
		{3, 5, "a_b", registryusers.ErrInvalid},
		{3, 5, "a/b", registryusers.ErrInvalid},
		{3, 5, "a.b", registryusers.ErrInvalid},
		{3, 5, "ab\n", registryusers.ErrInvalid},
		{3, 5, "\nab", registryusers.ErrInvalid},
		{3, 5, "äb", registryusers.ErrInvalid},
		{0, 5, "zero", registryusers.ErrInvalid},
		{3, 0, "zero", registryusers.ErrInvalid},
		{-1, 5, "negative", registryusers.ErrInvalid},
		{3, math.MinInt64, "negative", registryusers.ErrInvalid},
	} {
		r, err := e.CreateRegistry(t.Context(), accounts.Administrator, test.project, test.region, test.name)
		if !errors.Is(err, test.want) {
			t.Errorf("CreateRegistry(%d, %d, %q) = %+v, %v; want %v", test.project, test.region, test.name, r, err, test.want)
		}
		if want := (accounts.Registry{ID: r.ID, ProjectID: test.project, RegionID: test.region, Name: test.name, CreatedAt: noon}); err == nil && (r != want || r.ID < 1) {
			t.Errorf("CreateRegistry(%d, %d, %q) = %+v; want %+v, and an id", test.project, test.region, test.name, r, want)
		}
	}
	if all, err := e.Registries(t.Context()); err != nil || len(all) != 7 {
		t.Errorf("Registries() = %+v, %v; want 7", all, err)
	}
}

func TestKeyIsForOneProjectOrAll(t *testing.T) {
	for _, test := range []struct {
		key, project int64
		want         bool
	}{{0, 1, true}, {0, math.MaxInt64, true}, {0, 0, true}, {3, 3, true}, {3, 4, false}, {3, 0, false}, {3, -3, false}} {
		if got := (accounts.APIKey{ProjectID: test.key}).ValidFor(test.project); got != test.want {
			t.Errorf("a key of project %d may in project %d: %t; want %t", test.key, test.project, got, test.want)
		}
	}
	e := newEnv(t)
	for _, project := range []int64{-1, math.MinInt64} {
		k, token, err := e.CreateAPIKey(t.Context(), project)
		if !errors.Is(err, registryusers.ErrInvalid) || k.ID != 0 || token.Reveal() != "" {
			t.Errorf("CreateKey(%d) = %+v, %v; want %v", project, k, err, registryusers.ErrInvalid)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	e := newEnv(t)
	one, oneToken, err := e.CreateAPIKey(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	all, allToken, err := e.CreateAPIKey(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	removed, removedToken, err := e.CreateAPIKey(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := e.APIKeys(t.Context()); err != nil || !reflect.DeepEqual(keys, []accounts.APIKey{one, all, removed}) {
		t.Errorf("Keys() = %+v, %v; want %+v, %+v, %+v", keys, err, one, all, removed)
	}
	if err := e.DeleteAPIKey(t.Context(), removed.ID); err != nil {
		t.Fatal(err)
	}
	if err := e.DeleteAPIKey(t.Context(), removed.ID); !errors.Is(err, registryusers.ErrAPIKeyNotFound) {
		t.Errorf("DeleteKey again: %v; want %v", err, registryusers.ErrAPIKeyNotFound)
	}
	if form := regexp.MustCompile(`^[1-9][0-9]*\$[A-Za-z0-9]{32}$`); !form.MatchString(oneToken.Reveal()) {
		t.Errorf("the token %q does not match %s", oneToken.Reveal(), form)
	}
	oneID := strconv.FormatInt(one.ID, 10)
	_, secret, _ := strings.Cut(oneToken.Reveal(), "$")
	for _, test := range []struct {
		name, token string
		want        accounts.APIKey // its zero: refused
	}{
		{"valid, one project", oneToken.Reveal(), one},
		{"valid, all projects", allToken.Reveal(), all},
		{"removed", removedToken.Reveal(), accounts.APIKey{}},
		{"empty", "", accounts.APIKey{}},
		{"wrong secret", oneID + "$" + strings.Repeat("x", 32), accounts.APIKey{}},
		{"another key's secret", strconv.FormatInt(all.ID, 10) + "$" + secret, accounts.APIKey{}},
		{"cut secret", oneToken.Reveal()[:len(oneToken.Reveal())-1], accounts.APIKey{}},
		{"longer secret", oneToken.Reveal() + "x", accounts.APIKey{}},
		{"no secret", oneID + "$", accounts.APIKey{}},
		{"no $", oneID, accounts.APIKey{}},
		{"no $, but the secret", oneID + secret, accounts.APIKey{}},
		{"only $", "$", accounts.APIKey{}},
		{"two $", oneID + "$$" + secret, accounts.APIKey{}},
		{"unknown id", "999999$" + secret, accounts.APIKey{}},
		{"zero", "0$" + secret, accounts.APIKey{}},
		{"negative", "-1$" + secret, accounts.APIKey{}},
		{"leading zero", "0" + oneToken.Reveal(), accounts.APIKey{}},
		{"plus", "+" + oneToken.Reveal(), accounts.APIKey{}},
		{"space before", " " + oneToken.Reveal(), accounts.APIKey{}},
		{"space after", oneToken.Reveal() + " ", accounts.APIKey{}},
		{"hexadecimal", "0x" + oneToken.Reveal(), accounts.APIKey{}},
		{"not a number", "one$" + secret, accounts.APIKey{}},
		{"beyond 64 bits", "9223372036854775808$" + secret, accounts.APIKey{}},
		{"huge", strings.Repeat("1", 1<<20) + "$" + strings.Repeat("x", 1<<20), accounts.APIKey{}},
		{"huge secret", oneID + "$" + strings.Repeat("x", 1<<20), accounts.APIKey{}},
		{"SQL", oneID + " OR 1=1$" + secret, accounts.APIKey{}},
		{"zero bytes", "\x00$\x00", accounts.APIKey{}},
	} {
		got, err := e.Authenticate(t.Context(), registryusers.NewSecret(test.token))
		want := error(nil)
		if test.want.ID == 0 {
			want = registryusers.ErrUnauthenticated
		}
		if !errors.Is(err, want) || got != test.want {
			t.Errorf("%s: Authenticate = %+v, %v; want %+v, %v", test.name, got, err, test.want, want)
		}
		if err != nil && err.Error() != registryusers.ErrUnauthenticated.Error() {
			t.Errorf("%s: Authenticate: %v; want the same error for every refusal", test.name, err)
		}
	}
}

func TestMalformedTokenNeedsNoLookUp(t *testing.T) {
	s := accounts.New(untouchable{t: t}, accounts.NewServerKey("k", [32]byte{}), nil)
	for _, token := range []string{"", "$", "x$y", "01$x", "+1$x", strings.Repeat("9", 1<<20)} {
		if _, err := s.Authenticate(t.Context(), registryusers.NewSecret(token)); !errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("Authenticate(%.20q): %v; want %v", token, err, registryusers.ErrUnauthenticated)
		}
	}
}

// broken is a store whose disk has failed.
type broken struct{ accounts.Store }

var errBroken = fmt.Errorf("%w: the disk has failed", registryusers.ErrUnavailable)

func (broken) APIKey(context.Context, int64) (accounts.APIKey, error) {
	return accounts.APIKey{}, errBroken
}
func (broken) CreateAPIKey(_ context.Context, k accounts.APIKey) (accounts.APIKey, error) {
	return k, errBroken
}
func (broken) Registry(context.Context, accounts.RegistryRef) (accounts.Registry, error) {
	return accounts.Registry{}, errBroken
}
func (broken) CreateUser(_ context.Context, _ accounts.RegistryRef, u accounts.User, _ *accounts.IdempotencyRecord) (accounts.User, error) {
	return u, errBroken
}
func (broken) IdempotencyRecord(context.Context, []byte) (accounts.IdempotencyRecord, error) {
	return accounts.IdempotencyRecord{}, errBroken
}
func (broken) DeleteIdempotencyRecords(context.Context, time.Time) error { return errBroken }

// An error of the store must not make a valid key look invalid.
func TestStoreErrorsPassThrough(t *testing.T) {
	s := accounts.New(broken{}, accounts.NewServerKey("k", [32]byte{}), nil)
	ref := accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}
	for what, call := range map[string]func() error{
		"Authenticate": func() error { _, err := s.Authenticate(t.Context(), registryusers.NewSecret("1$x")); return err },
		"CreateKey": func() error {
			_, token, err := s.CreateAPIKey(t.Context(), 1)
			if token.Reveal() != "" {
				t.Error("CreateKey gave out a token that is not stored")
			}
			return err
		},
		"CreateUser, generated": func() error {
			u, err := s.CreateUser(t.Context(), accounts.APIKey{}, ref, "", accounts.NewUser{Name: "u"})
			if !u.Secret.IsZero() || u.Name != "" {
				t.Error("CreateUser gave out a user that is not stored")
			}
			return err
		},
		"CreateUser, custom": func() error {
			_, err := s.CreateUser(t.Context(), accounts.APIKey{}, ref, "", accounts.NewUser{Name: "u", Secret: registryusers.NewSecretText("x")})
			return err
		},
		"CreateUser, with an idempotency key": func() error {
			u, err := s.CreateUser(t.Context(), accounts.APIKey{}, ref, "key", accounts.NewUser{Name: "u"})
			if !u.Secret.IsZero() || u.Name != "" {
				t.Error("CreateUser gave out a user that is not stored")
			}
			return err
		},
		"DeleteExpired": func() error { return s.DeleteExpired(t.Context()) },
	} {
		if err := call(); !errors.Is(err, errBroken) || errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("%s: %v; want the store's %v", what, err, errBroken)
		}
	}
}

func TestClockDefaultsToNow(t *testing.T) {
	e := newEnv(t)
	s := accounts.New(e.store, accounts.NewServerKey("k", [32]byte{}), nil)
	before := time.Now().UTC().Truncate(time.Microsecond)
	u, err := s.CreateUser(t.Context(), e.all, e.at, "", accounts.NewUser{Name: "u", Duration: 1})
	if after := time.Now(); err != nil || u.CreatedAt.Before(before) || u.CreatedAt.After(after) {
		t.Errorf("CreateUser: created at %v, %v; want between %v and %v", u.CreatedAt, err, before, after)
	}
}
