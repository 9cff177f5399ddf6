package accounts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// "Never" is a date that every time zone can write and read.
func TestNeverIsJSONInEveryTimeZone(t *testing.T) {
	for _, hours := range []int{-12, 0, 1, 9, 14} {
		local := accounts.Never.In(time.FixedZone("", hours*3600))
		text, err := json.Marshal(local)
		if err != nil {
			t.Errorf("%+d hours: %v; want JSON", hours, err)
			continue
		}
		var back time.Time
		if err := json.Unmarshal(text, &back); err != nil || !back.Equal(accounts.Never) || local.Year() != 9999 {
			t.Errorf("%+d hours: %s is read as %v, %v; want the same time in the year 9999", hours, text, back, err)
		}
	}
}

// A create that is repeated after an upgrade returns the new date.
func TestRepeatOfACreateBeforeNeverWasChanged(t *testing.T) {
	e := newEnv(t)
	n := accounts.NewUser{Name: "u", Duration: -1}
	first, err := e.CreateUser(t.Context(), e.all, e.at, "key", n)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	if _, err := e.store.UpdateUser(t.Context(), e.registryOf(first.RegistryID), first.ID, func(u *accounts.User) error { u.ExpiresAt = old; return nil }, nil); err != nil {
		t.Fatal(err)
	}
	again, err := e.CreateUser(t.Context(), e.all, e.at, "key", n)
	if err != nil || !again.Replayed || !again.ExpiresAt.Equal(accounts.Never) || again.Secret.Reveal() != first.Secret.Reveal() {
		t.Errorf("the repeat = %+v, %v; want the first response, with %v", again, err, accounts.Never)
	}
	if _, err := e.login(t, "u", first.Secret.Reveal(), ""); err != nil {
		t.Errorf("a login of a user with the old date: %v; want success", err)
	}
}

func TestSecretsThatNoClientCanSendAreRefused(t *testing.T) {
	// Refused before any call of the store, and before the key's project is checked.
	s := accounts.New(untouchable{t: t}, accounts.NewServerKey("k", [32]byte{}), nil)
	for name, secret := range map[string]string{
		"a line break": "a\nb", "a carriage return": "a\r", "NUL": "\x00", "DEL": "a\x7f", "a tab": "\t", "NEL": "a\u0085", "a C1 control": "\u009f",
		"too long": strings.Repeat("a", 1025), "too long in bytes": strings.Repeat("€", 342), "60 kB": strings.Repeat("a", 60_000),
		"no UTF-8": "\xff", "a cut rune": "\xe2\x82", "a surrogate": "\xed\xa0\x80",
	} {
		for _, key := range []string{"", "key"} {
			u, err := s.CreateUser(t.Context(), accounts.APIKey{ID: 1, ProjectID: 9}, accounts.RegistryRef{ProjectID: 3}, key, accounts.NewUser{Name: "u", Secret: pw(secret)})
			invalid, ok := errors.AsType[*registryusers.Error](err)
			if !ok || !errors.Is(err, registryusers.ErrInvalid) || len(invalid.InvalidFields) != 1 || len(invalid.InvalidFields["secret"]) != 1 || u.ID != 0 {
				t.Errorf("%s: %+v, %v; want an invalid field secret", name, u, err)
			} else if why := invalid.InvalidFields["secret"][0]; !strings.Contains(why, "1 to 1024 bytes") || !strings.Contains(err.Error(), "secret "+why) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v, of the field %q; want the rule and not the secret", name, err, why)
			}
		}
	}
	for _, secret := range []string{"a", " ", ":", strings.Repeat("a", 1024), strings.Repeat("€", 341), "\u00a0\u2028\ufeff\U0001f600", "\ufffd"} {
		if err := accounts.CheckSecret(secret); err != nil {
			t.Errorf("CheckSecret(%.20q) = %v; want it accepted", secret, err)
		}
	}
}

func TestIncarnationText(t *testing.T) {
	i := accounts.Incarnation{0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xfe}
	text, err := i.MarshalText()
	var back accounts.Incarnation
	if err != nil || back.UnmarshalText(text) != nil || back != i {
		t.Errorf("%x is written as %s, %v, and read as %x", i, text, err, back)
	}
	for _, bad := range []string{"", "1", "AAAA", string(text) + "A", string(text[:21]), string(text[:21]) + "=", strings.Repeat("A", 21) + "B", strings.Repeat("+", 22), "\n" + string(text[1:])} {
		if err := back.UnmarshalText([]byte(bad)); err == nil || back != i {
			t.Errorf("UnmarshalText(%q): %v, %x; want it refused, and nothing changed", bad, err, back)
		}
	}
}

func TestEveryUserAndSecretHasAnIncarnationOfItsOwn(t *testing.T) {
	e := newEnv(t)
	seen := map[accounts.Incarnation]bool{{}: true}
	for range 3 {
		u, _ := e.create(t, accounts.NewUser{Name: "u", Duration: 1})
		e.update(t, u, accounts.UserUpdate{ReadOnly: new(true)})
		same := e.stored(t, "u")
		if seen[u.Incarnation] || same.Incarnation != u.Incarnation {
			t.Errorf("the incarnations of a user and after a change of its rights: %x, %x; want a new one, and no other", u.Incarnation, same.Incarnation)
		}
		e.update(t, u, accounts.UserUpdate{NewSecret: true})
		renewed := e.stored(t, "u")
		if seen[renewed.Incarnation] || renewed.Incarnation == u.Incarnation {
			t.Errorf("the incarnation after a new secret: %x; want a new one", renewed.Incarnation)
		}
		seen[u.Incarnation], seen[renewed.Incarnation] = true, true
		if _, err := e.Current(t.Context(), u.ID, u.Incarnation); !errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("Current of the incarnation before: %v; want %v", err, registryusers.ErrUnauthenticated)
		}
		if got, err := e.Current(t.Context(), u.ID, renewed.Incarnation); err != nil || !reflect.DeepEqual(got.User, renewed) {
			t.Errorf("Current of the new incarnation = %+v, %v; want %+v", got, err, renewed)
		}
		if err := e.DeleteUser(t.Context(), e.all, e.registryOf(u.RegistryID), u.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUserPage(t *testing.T) {
	e := newEnv(t)
	const users = 2 * accounts.MaxPage
	var group sync.WaitGroup
	for i := range users + 1 {
		group.Go(func() { e.keyed(t, "", accounts.NewUser{Name: fmt.Sprint("u", i)}) })
	}
	group.Wait()
	for _, test := range []struct {
		page        accounts.Page
		first, rows int64
	}{
		{accounts.Page{}, 1, accounts.MaxPage},
		{accounts.Page{Limit: 1e9}, 1, accounts.MaxPage},
		{accounts.Page{Limit: 2, Offset: 3}, 4, 2},
		{accounts.Page{Offset: users}, users + 1, 1},
		{accounts.Page{Offset: users + 1}, 0, 0},
		{accounts.Page{Offset: 1<<63 - 1, Limit: 1<<63 - 1}, 0, 0},
	} {
		got, total, err := e.UserPage(t.Context(), e.all, e.at, test.page)
		if err != nil || int64(len(got)) != test.rows || total != users+1 || len(got) > 0 && got[0].ID != test.first {
			t.Errorf("UserPage(%+v) = %d users of %d, %v; want %d of %d from the id %d", test.page, len(got), total, err, test.rows, users+1, test.first)
		}
	}
	for _, page := range []accounts.Page{{Limit: -1}, {Offset: -1}, {After: -1}} {
		if _, _, err := e.UserPage(t.Context(), e.all, e.at, page); !errors.Is(err, registryusers.ErrInvalid) {
			t.Errorf("UserPage(%+v): %v; want %v", page, err, registryusers.ErrInvalid)
		}
	}
	all, err := e.Users(t.Context(), e.all, e.at)
	if err != nil || len(all) != users+1 || all[users].ID != users+1 {
		t.Errorf("Users() = %d users, %v; want %d", len(all), err, users+1)
	}
}
