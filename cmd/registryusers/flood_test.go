package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/testkit"
)

// flood is attackers who guess secrets in a closed loop, each from an address of
// its own, and ignore Retry-After.
type flood struct {
	refused, limited, busy atomic.Int64

	full chan struct{} // closed at the first 503: all places are taken
	used chan struct{} // closed when each attacker has failed or is limited
	stop func()        // waits for the last guess
}

// guessPause is the time between two guesses of an attacker, as a network takes it.
const guessPause = 50 * time.Millisecond

// newFlood starts attackers who guess at the users that name returns.
func newFlood(t *testing.T, p *process, attackers int, name func(i, j int) string) *flood {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &flood{full: make(chan struct{}), used: make(chan struct{})}
	var wg sync.WaitGroup
	var unused atomic.Int64
	unused.Store(int64(attackers))
	for i := range attackers {
		wg.Go(func() {
			isUsed := false
			for j := 0; ctx.Err() == nil; j++ {
				a := p.loginFrom(t, name(i, j), fmt.Sprint("guess", i, j), fmt.Sprintf("198.51.%d.%d", i>>8, i&0xff))
				switch {
				case a.status == http.StatusUnauthorized:
					f.refused.Add(1)
				case a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != "":
					f.limited.Add(1)
				case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1":
					if f.busy.Add(1) == 1 {
						close(f.full)
					}
				default:
					t.Errorf("a guess: got %d %s, Retry-After %q; want 401, or 429 or 503 with Retry-After", a.status, a.body, a.header.Get("Retry-After"))
				}
				if !isUsed && a.status != http.StatusServiceUnavailable {
					isUsed = true
					if unused.Add(-1) == 0 {
						close(f.used)
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(guessPause):
				}
			}
		})
	}
	f.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(f.stop)
	return f
}

// wait waits for a state of the flood.
func (f *flood) wait(t *testing.T, what string, state <-chan struct{}) {
	t.Helper()
	select {
	case <-state:
	case <-time.After(5 * time.Minute):
		t.Fatalf("%s: not within five minutes; %s", what, f)
	}
}

func (f *flood) String() string {
	return fmt.Sprintf("%d guesses were refused, %d got 429, %d got 503", f.refused.Load(), f.limited.Load(), f.busy.Load())
}

// keepAlive holds as many idle connections as there are attackers.
var keepAlive = &http.Transport{MaxIdleConnsPerHost: 4096}

// loginFrom requests a token, through a proxy, from an address.
func (p *process) loginFrom(t *testing.T, name, secret, from string) response {
	t.Helper()
	a, err := trySendBy(keepAlive, "GET", p.url+"/token?service=registryusers", "", "Authorization: Basic "+basic(name, secret), "X-Forwarded-For: "+from)
	if err != nil {
		t.Errorf("logging in as %s: %v", name, err)
	}
	return a
}

// slowest records the longest duration of an operation.
type slowest time.Duration

func (s *slowest) note(t *testing.T, what string, do func()) {
	t.Helper()
	start := time.Now()
	do()
	took := time.Since(start)
	if took > 10*time.Second {
		t.Errorf("%s took %v; want less than 10 s", what, took)
	}
	*s = max(*s, slowest(took))
}

func (s slowest) String() string { return time.Duration(s).Round(time.Millisecond).String() }

// attackers is the number of concurrent attackers, more than the 64 places of a queue
// of logins.
var attackers = flag.Int("attackers", testkit.InCI(200, 80), "how many attackers the tests of floods have")

// Many attackers who guess at once, from as many addresses, must not delay a caller
// that has an API key or the right secret, from any address. The server asks the
// attackers at once to wait.
func TestGuessesDoNotDelayValidLogins(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--images", "off", "--data", data, "--trusted-proxy", "127.0.0.0/8")
	secret := p.user(t, data, "generated", `"duration":1`)
	users := testkit.InCI(20, 8)
	for i := range users {
		p.user(t, data, fmt.Sprint("custom", i), fmt.Sprintf(`"duration":1,"secret":"correct horse %d"`, i))
	}
	var known, fresh, creates slowest
	wantIn := func(took *slowest, name, secret, from string) {
		t.Helper()
		took.note(t, "logging in as "+name, func() {
			if a := p.loginFrom(t, name, secret, from); a.status != http.StatusOK {
				t.Errorf("logging in as %s from %s: got %d %s, want 200", name, from, a.status, a.body)
			}
		})
	}
	create := func(name string) {
		t.Helper()
		creates.note(t, "a create with a custom secret", func() { p.user(t, data, name, `"duration":1,"secret":"custom secret"`) })
	}
	wantIn(&known, "1-1-demo+custom0", "correct horse 0", "192.0.2.1")

	attack := newFlood(t, p, *attackers, func(i, j int) string { return fmt.Sprintf("1-1-demo+u%d-%d", i, j) })
	attack.wait(t, "all places are taken", attack.full)
	for i := range 5 {
		create(fmt.Sprint("early", i))
		wantIn(&known, "1-1-demo+custom0", "correct horse 0", "192.0.2.1")
		wantIn(&known, "generated", secret, "192.0.2.1")
	}
	// An attacker's first guess is treated like a login from a new address.
	start := time.Now()
	tries := p.loginUntilIn(t, "1-1-demo+custom1", "correct horse 1", "192.0.2.100")
	t.Logf("%d attackers: a login from a new address at the very beginning succeeds after %v and %d tries", *attackers, time.Since(start).Round(time.Millisecond), tries)
	attack.wait(t, "each attacker has failed", attack.used)
	for i := 2; i < users; i++ {
		create(fmt.Sprint("late", i))
		wantIn(&known, "1-1-demo+custom0", "correct horse 0", "192.0.2.1")
		wantIn(&known, "generated", secret, "192.0.2.1")
		wantIn(&fresh, fmt.Sprint("1-1-demo+custom", i), fmt.Sprint("correct horse ", i), fmt.Sprintf("192.0.2.%d", i))
	}
	attack.stop()
	t.Logf("%s; the slowest create took %v, login at a known address %v, at a new one %v", attack, creates, known, fresh)
	if attack.refused.Load() == 0 {
		t.Error("no guess was refused; want some")
	}
}

// loginUntilIn logs in as a client that respects Retry-After, and returns how often it tried.
func (p *process) loginUntilIn(t *testing.T, name, secret, from string) (tries int) {
	t.Helper()
	for start := time.Now(); time.Since(start) < 5*time.Minute; {
		tries++
		a := p.loginFrom(t, name, secret, from)
		switch a.status {
		case http.StatusOK:
			return tries
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			time.Sleep(time.Second)
		default:
			t.Fatalf("logging in as %s: got %d %s, want 200, or 429 or 503", name, a.status, a.body)
		}
	}
	t.Fatalf("%s could not log in within five minutes", name)
	return tries
}

// A user whose secret is guessed from many addresses can log in from an address without failures.
func TestGuessedUserCanLogIn(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--images", "off", "--data", data, "--trusted-proxy", "127.0.0.0/8")
	users := []string{"1-1-demo+early", "1-1-demo+late"} // who log in before and after the attackers have failed
	for _, name := range []string{"early", "late"} {
		p.user(t, data, name, `"duration":1,"secret":"correct horse"`)
	}
	attack := newFlood(t, p, *attackers, func(i, j int) string { return users[min(1, (i+j)%4)] })
	attack.wait(t, "all places are taken", attack.full)
	start := time.Now()
	tries := p.loginUntilIn(t, users[0], "correct horse", "192.0.2.1")
	t.Logf("%d attackers: the right secret from a new address at the very beginning succeeds after %v and %d tries", *attackers, time.Since(start).Round(time.Millisecond), tries)
	attack.wait(t, "each attacker has failed", attack.used)
	var late slowest
	late.note(t, "the right secret from a new address", func() {
		if a := p.loginFrom(t, users[1], "correct horse", "192.0.2.2"); a.status != http.StatusOK {
			t.Errorf("the right secret from a new address: got %d %s, want 200", a.status, a.body)
		}
	})
	attack.stop()
	t.Logf("%s; when each attacker had failed, the right secret from a new address took %v", attack, late)
}
