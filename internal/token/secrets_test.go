package token_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/testkit"
)

// Every custom secret that is accepted logs in, by HTTP Basic and by form.
func TestEverySecretThatIsAcceptedLogsIn(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	secrets := []string{
		"a", " ", ":", "::", "a:b", " a ", "1-1-demo+u:x", "+", "%41", "%", "&a=b;c", "\"\\", "correct horse: battery", "é", "пароль", "\u00a0", "\u2028", "\ufeff", "\ufffd", "\U0001f600",
		strings.Repeat("a", 1024), strings.Repeat("€", 341), strings.Repeat(" ", 1024),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range testkit.InCI(20, 4) {
		var secret strings.Builder
		for range 1 + random.IntN(40) {
			r := rune(random.IntN([]int{0x80, 0x800, unicode.MaxRune}[random.IntN(3)]))
			if !unicode.IsControl(r) && (r < 0xd800 || r > 0xdfff) {
				secret.WriteRune(r)
			}
		}
		if secret.Len() > 0 {
			secrets = append(secrets, secret.String())
		}
	}
	for i, secret := range secrets {
		name := fmt.Sprint("u", i)
		u, _ := e.create(t, e.demo, accounts.NewUser{Name: name, Duration: 1, Secret: custom(secret)})
		for method, r := range map[string]*http.Request{
			"GET, the long name":     get(t, base, "1-1-demo+"+name, secret, nil),
			"GET, with a repository": get(t, base, name, secret, scope("repository:1-1-demo/app:pull")),
			"POST, the long name":    post(t, base, url.Values{"grant_type": {"password"}, "username": {"1-1-demo+" + name}, "password": {secret}}),
		} {
			a := do(t, r)
			if a.status != http.StatusOK {
				t.Errorf("%s with %q: got %d %s, want 200", method, secret, a.status, a.body)
				continue
			}
			if claims, err := e.issuer.Verify(a.Token); err != nil || claims.UserID != u.ID {
				t.Errorf("%s with %q: %+v, %v; want the user %d", method, secret, claims, err, u.ID)
			}
		}
		if a := do(t, get(t, base, "1-1-demo+"+name, secret+"x", nil)); a.status != http.StatusUnauthorized && a.status != http.StatusTooManyRequests {
			t.Errorf("GET with %q and more: got %d, want it refused", secret, a.status)
		}
	}
}

// The error for a refused bare name names the long form, whether or not the user exists.
func TestErrorForABareNameNamesTheLongForm(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1, Secret: custom("pw")})
	e.create(t, e.demo, accounts.NewUser{Name: "generated", Duration: 1})
	messages := map[string]bool{}
	for _, name := range []string{"ci", "generated", "nobody"} {
		e.Log.Take()
		a := do(t, get(t, base, name, "pw", nil))
		e.wantDenied(t, name, a, http.StatusUnauthorized, "UNAUTHORIZED", "pw")
		messages[a.body] = true
		if !strings.Contains(a.body, "REGISTRY+NAME") {
			t.Errorf("%s: got %s; want the long form named", name, a.body)
		}
	}
	if len(messages) != 1 {
		t.Errorf("the responses are %v; want one, whoever exists", messages)
	}
}
