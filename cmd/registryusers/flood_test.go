package main

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Many strangers who guess at once, from as many addresses, must not hold up who
// has an API key, nor who has logged in before; and they learn at once that they
// must wait.
func TestManyGuessesHoldUpNobody(t *testing.T) {
	const attackers, guesses = 200, 4
	data := t.TempDir()
	p := serve(t, "--dev", "--registry", "off", "--data", data, "--trusted-proxy", "127.0.0.0/8")
	secret := p.user(t, data, "generated", `"duration":1`)
	p.user(t, data, "custom", `"duration":1,"secret":"correct horse"`)
	ask := func(name, secret, from string) response {
		a, err := trySend("GET", p.url+"/token?service=registryusers", "", "Authorization: Basic "+basic(name, secret), "X-Forwarded-For: "+from)
		if err != nil {
			t.Errorf("logging in as %s: %v", name, err)
		}
		return a
	}
	if a := ask("1-1-demo+custom", "correct horse", "192.0.2.1"); a.status != http.StatusOK {
		t.Fatalf("the right secret: got %d %s, want 200", a.status, a.body)
	}

	var refused, busy atomic.Int64
	var attack sync.WaitGroup
	for i := range attackers {
		attack.Go(func() {
			for j := range guesses {
				a := ask(fmt.Sprintf("1-1-demo+u%d", i), fmt.Sprint("guess", j), fmt.Sprintf("198.51.100.%d", i))
				switch {
				case a.status == http.StatusUnauthorized:
					refused.Add(1)
				case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1":
					busy.Add(1)
				default:
					t.Errorf("a guess: got %d %s, Retry-After %q; want 401, or 503 and 1", a.status, a.body, a.header.Get("Retry-After"))
				}
			}
		})
	}
	for i := range 5 {
		p.user(t, data, fmt.Sprint("new", i), fmt.Sprintf(`"duration":1,"secret":"custom secret %d"`, i))
		for name, secret := range map[string]string{"1-1-demo+custom": "correct horse", "generated": secret} {
			if a := ask(name, secret, "192.0.2.1"); a.status != http.StatusOK {
				t.Errorf("logging in as %s during the attack: got %d %s, want 200", name, a.status, a.body)
			}
		}
	}
	attack.Wait()
	if refused.Load() == 0 || busy.Load() == 0 {
		t.Errorf("of %d guesses at once %d were refused and %d answered 503; want some of each", attackers*guesses, refused.Load(), busy.Load())
	}
	t.Logf("%d guesses: %d were refused, %d answered 503", attackers*guesses, refused.Load(), busy.Load())
}
