package accounts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryusers/registryusers"
)

// guessAt is a guess at a user from an address, with a secret of its own.
func guessAt(throttle *loginThrottle, name, from string, i int) secretAttempt {
	return throttle.attempt(from, "1-1-demo+"+name, "1-1-demo+"+name, fmt.Sprint("wrong", i))
}

func TestLimitsOfEachNetwork(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		what string
		from func(i int) string
		name func(i int) string
		most int
	}{
		{"IPv4, one user", func(int) string { return "192.0.2.1" }, func(int) string { return "u" }, 10},
		{"IPv4, many users", func(int) string { return "192.0.2.1" }, func(i int) string { return fmt.Sprint("u", i) }, 100},
		{"a /64, one user", func(i int) string { return fmt.Sprintf("2001:db8:0:1::%x", i+1) }, func(int) string { return "u" }, 10},
		{"a /64, many users", func(i int) string { return fmt.Sprintf("2001:db8:0:1::%x", i+1) }, func(i int) string { return fmt.Sprint("u", i) }, 100},
		{"a /56, one user", func(i int) string { return fmt.Sprintf("2001:db8:0:1%02x::1", i%256) }, func(int) string { return "u" }, 30},
		{"a /56, many users", func(i int) string { return fmt.Sprintf("2001:db8:0:1%02x::1", i%256) }, func(i int) string { return fmt.Sprint("u", i) }, 300},
		{"a /48, one user", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i<<8) }, func(int) string { return "u" }, 100},
		{"a /48, many users", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i%256<<8) }, func(i int) string { return fmt.Sprint("u", i) }, 1000},
	} {
		throttle := newLoginThrottle()
		for i := range test.most {
			g := guessAt(throttle, test.name(i), test.from(i), i)
			if err := throttle.check(g, now); err != nil {
				t.Fatalf("%s: failure %d: %v; want it allowed", test.what, i, err)
			}
			throttle.recordFailure(g, now)
		}
		next := guessAt(throttle, test.name(test.most), test.from(test.most), test.most)
		limit, ok := errors.AsType[*LimitError](throttle.check(next, now))
		if !ok || limit.RetryAfter != failureWindow {
			t.Errorf("%s: after %d failures: %v; want a limit of %v", test.what, test.most, limit, failureWindow)
		}
		if err := throttle.check(next, now.Add(failureWindow)); err != nil {
			t.Errorf("%s: when the window is over: %v; want it allowed", test.what, err)
		}
		for _, from := range []string{"192.0.2.2", "2001:db8:1::1"} {
			if err := throttle.check(guessAt(throttle, "u", from, 0), now); err != nil {
				t.Errorf("%s: from %s: %v; want it allowed", test.what, from, err)
			}
		}
	}
}

func TestAWrongSecretIsCountedOnce(t *testing.T) {
	throttle, now := newLoginThrottle(), time.Now()
	for i := range 5 {
		for range 1 + failureLimits[0].all/5 { // once, and 20 repeats
			throttle.recordFailure(guessAt(throttle, "u", "192.0.2.1", i), now)
		}
	}
	next := guessAt(throttle, "u", "192.0.2.1", 5)
	if err := throttle.check(next, now); err != nil {
		t.Errorf("after five wrong secrets, each many times: %v; want another one allowed", err)
	}
	if throttle.isSlow(guessAt(throttle, "u", "192.0.2.2", 5), now) {
		t.Error("after five wrong secrets, each many times: slowed down; want not")
	}
	// Repeats have a limit of their own: 5 times 20 is the most.
	if limit, ok := errors.AsType[*LimitError](throttle.check(guessAt(throttle, "u", "192.0.2.1", 0), now)); !ok || limit.RetryAfter != failureWindow {
		t.Errorf("a repeat after 100 of them: %v; want a limit of %v", limit, failureWindow)
	}
	if err := throttle.check(guessAt(throttle, "u", "192.0.2.2", 0), now); err != nil {
		t.Errorf("the same from another address: %v; want it allowed", err)
	}
	// When it is forgotten, it counts again.
	for i := range 10 {
		throttle.recordFailure(guessAt(throttle, "u", "192.0.2.1", i), now.Add(failureWindow))
	}
	if err := throttle.check(next, now.Add(failureWindow)); err != nil {
		t.Errorf("a wrong secret again: %v; want it allowed, to be hashed", err)
	}
	if err := throttle.check(guessAt(throttle, "u", "192.0.2.1", 10), now.Add(failureWindow)); !errors.Is(err, registryusers.ErrTooManyRequests) {
		t.Errorf("after ten wrong secrets in the next window: %v; want %v", err, registryusers.ErrTooManyRequests)
	}
}

// Who has a user could clear the count of its own guesses at others by logging in
// between them, and a neighbor of the user itself when that logs in.
func TestASuccessForgivesNoFailures(t *testing.T) {
	throttle, now := newLoginThrottle(), time.Now()
	for i := range failureLimits[0].forUser {
		throttle.recordFailure(guessAt(throttle, "u", "192.0.2.1", i), now)
	}
	throttle.succeeded(guessAt(throttle, "u", "192.0.2.1", -1), now)
	if err := throttle.check(guessAt(throttle, "u", "192.0.2.1", -2), now); !errors.Is(err, registryusers.ErrTooManyRequests) {
		t.Errorf("a guess at the user after ten, and a success of its own: %v; want %v", err, registryusers.ErrTooManyRequests)
	}
	for i := range failureLimits[0].all {
		throttle.recordFailure(guessAt(throttle, fmt.Sprint("u", i), "192.0.2.2", i), now)
	}
	throttle.succeeded(guessAt(throttle, "mine", "192.0.2.2", 0), now)
	if err := throttle.check(guessAt(throttle, "other", "192.0.2.2", 0), now); !errors.Is(err, registryusers.ErrTooManyRequests) {
		t.Errorf("a guess after a hundred, and a success as another user: %v; want %v", err, registryusers.ErrTooManyRequests)
	}
}

// A user that is slowed down has fewer guesses at addresses where it is not known.
func TestASlowedDownUserHasFewGuessesFromAnAddress(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		what string
		from func(i int) string
		most int
	}{
		{"IPv4", func(int) string { return "192.0.2.1" }, 2},
		{"a /64", func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, 2},
		{"a /56", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, 6},
		{"a /48", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i<<8) }, 20},
	} {
		throttle := newLoginThrottle()
		for i := range maxNameFailures + 1 {
			throttle.recordFailure(guessAt(throttle, "u", fmt.Sprintf("203.0.113.%d", i), 0), now)
		}
		throttle.succeeded(guessAt(throttle, "u", "198.51.100.1", 0), now)
		for i := range test.most {
			g := guessAt(throttle, "u", test.from(i), i)
			if err := throttle.check(g, now); err != nil {
				t.Fatalf("%s: guess %d: %v; want it allowed", test.what, i, err)
			}
			throttle.recordFailure(g, now)
		}
		if err := throttle.check(guessAt(throttle, "u", test.from(test.most), test.most), now); !errors.Is(err, registryusers.ErrTooManyRequests) {
			t.Errorf("%s: guess %d: %v; want %v", test.what, test.most, err, registryusers.ErrTooManyRequests)
		}
		if err := throttle.check(guessAt(throttle, "other", test.from(test.most), test.most), now); err != nil {
			t.Errorf("%s: another user: %v; want it allowed", test.what, err)
		}
		for i := range 9 {
			throttle.recordFailure(guessAt(throttle, "u", "198.51.100.1", i), now)
		}
		if err := throttle.check(guessAt(throttle, "u", "198.51.100.1", 9), now); err != nil {
			t.Errorf("%s: the tenth guess where the user is known: %v; want it allowed", test.what, err)
		}
	}
}

func TestMemoryOfTheThrottleIsBounded(t *testing.T) {
	throttle, now := newLoginThrottle(), time.Now()
	for i := range maxFailureCounts {
		g := throttle.attempt(fmt.Sprintf("2001:db8:%x:%x::", i>>16, i&0xffff), strings.Repeat("x", 100)+fmt.Sprint(i), "", fmt.Sprint(i))
		throttle.recordFailure(g, now)
		throttle.succeeded(g, now)
		if len(throttle.counts) > maxFailureCounts || len(throttle.wrong.until) > maxWrongSecrets || len(throttle.known.until) > maxKnownAddresses {
			t.Fatalf("after %d failures %d counts, %d secrets and %d addresses are kept; want at most %d, %d and %d",
				i, len(throttle.counts), len(throttle.wrong.until), len(throttle.known.until), maxFailureCounts, maxWrongSecrets, maxKnownAddresses)
		}
	}

	v := newVerifiedSecrets()
	secret := func(i int) string { return fmt.Sprint("secret", i) }
	for i := range maxVerifiedSecrets + 10 {
		v.add("hash", secret(i), now)
	}
	if got := len(v.until); got > maxVerifiedSecrets {
		t.Errorf("%d verified secrets are kept; want %d", got, maxVerifiedSecrets)
	}
	last := secret(maxVerifiedSecrets + 9)
	if !v.has("hash", last, now) || v.has("hash", last, now.Add(verifiedLifetime)) || v.has("other", last, now) {
		t.Error("a verified secret is not kept for its time and its hash alone")
	}
	for i := range maxVerifiedSecrets { // the others have expired: they make room
		v.add("hash", "later "+secret(i), now.Add(verifiedLifetime))
	}
	for key, until := range v.until {
		if until.Equal(now.Add(verifiedLifetime)) {
			t.Fatalf("a verified secret that has expired, %x, is kept in the place of others", key)
		}
	}
}

// oneUser is a store with one user, who has a custom secret.
type oneUser struct {
	Store
	account Account
}

func (s oneUser) AccountBySecret(context.Context, []byte) (Account, error) {
	return Account{}, registryusers.ErrUserNotFound
}

func (s oneUser) AccountByName(_ context.Context, _, _ int64, _, name string) (Account, error) {
	if name != s.account.Name {
		return Account{}, registryusers.ErrUserNotFound
	}
	return s.account, nil
}

func (s oneUser) Registry(context.Context, RegistryRef) (Registry, error) { return Registry{}, nil }

func (s oneUser) CreateUser(_ context.Context, _ RegistryRef, u User, _ *IdempotencyRecord) (User, error) {
	return u, nil
}

// newOne returns a service with the user "1-1-demo+u", whose secret is "pw". Call
// it in a bubble of synctest, whose clock it has. Its hashes cost little, as these
// tests count who waits, not what a hash costs.
func newOne(t *testing.T) *Service {
	t.Helper()
	argon := argon2id
	t.Cleanup(func() { argon2id = argon })
	argon2id = func(secret string, salt []byte) []byte {
		sum := sha256.Sum256(slices.Concat(salt, []byte(secret)))
		return sum[:]
	}
	store := &oneUser{account: Account{User: User{Name: "u", ExpiresAt: Never}, Namespace: "1-1-demo"}}
	s := New(store, NewServerKey("k", [32]byte{}), nil)
	hash, err := s.hash(t.Context(), APIKey{}, "pw")
	if err != nil {
		t.Fatal(err)
	}
	store.account.Verifier.Hash = hash
	return s
}

func (s *Service) loginAs(ctx context.Context, name, secret, from string) error {
	_, err := s.Login(ctx, LoginAttempt{Account: "1-1-demo+" + name, Secret: registryusers.NewSecret(secret), From: from})
	return err
}

func TestANameGuessedFromManyAddressesIsSlowedDown(t *testing.T) {
	for _, name := range []string{"u", "nobody"} {
		synctest.Test(t, func(t *testing.T) {
			s := newOne(t)
			known := name == "u" && s.loginAs(t.Context(), "u", "pw", "198.51.100.1") == nil
			if name == "u" && !known {
				t.Fatal("the right secret is refused")
			}
			// Guesses from many addresses; not by Login, which would hash each.
			attack := func() {
				for i := range maxNameFailures + 1 {
					s.throttle.recordFailure(s.throttle.attempt(fmt.Sprintf("203.0.113.%d", i), "1-1-demo+"+name, "1-1-demo+"+name, "guess"), time.Now())
				}
			}
			attack()
			timed := func(secret, from string) (time.Duration, error) {
				start := time.Now()
				err := s.loginAs(t.Context(), name, secret, from)
				return time.Since(start), err
			}
			if took, err := timed("wrong", "192.0.2.1"); took != time.Second || !errors.Is(err, registryusers.ErrUnauthenticated) {
				t.Errorf("%s: a guess from a new address: %v after %v; want %v after a second", name, err, took, registryusers.ErrUnauthenticated)
			}
			if took, err := timed("wrong", "192.0.2.1"); took != time.Second || !errors.Is(err, registryusers.ErrUnauthenticated) {
				t.Errorf("%s: the guess again: %v after %v; want %v after a second", name, err, took, registryusers.ErrUnauthenticated)
			}
			_, _ = timed("wrong as well", "192.0.2.1")
			if took, err := timed("a third", "192.0.2.1"); took != 0 || !errors.Is(err, registryusers.ErrTooManyRequests) {
				t.Errorf("%s: a third guess from one address: %v after %v; want %v at once", name, err, took, registryusers.ErrTooManyRequests)
			}
			if err := s.loginAs(t.Context(), "other", "wrong", "192.0.2.1"); !errors.Is(err, registryusers.ErrUnauthenticated) {
				t.Errorf("another name: %v; want %v", err, registryusers.ErrUnauthenticated)
			}

			// Some wait, without a slot, and one that has not failed less is refused.
			ctx, cancel := context.WithCancel(t.Context())
			var waiting sync.WaitGroup
			for i := range maxQueue {
				waiting.Go(func() {
					want := registryusers.ErrUnauthenticated
					if i == 0 { // gone before its second is over
						want = context.Canceled
					}
					ctx := ctx
					if i != 0 {
						ctx = t.Context()
					}
					if err := s.loginAs(ctx, name, fmt.Sprint("wrong", i), fmt.Sprintf("192.0.2.%d", 10+i)); !errors.Is(err, want) {
						t.Errorf("%s: guess %d that waits: %v; want %v", name, i, err, want)
					}
				})
			}
			synctest.Wait()
			if got := s.logins.length(); got != 0 || s.logins.unused() == 0 {
				t.Errorf("%s: %d guesses that are slowed down wait for a slot, and %d slots are free; want no guess and all slots", name, got, s.logins.unused())
			}
			took, err := timed("wrong", "192.0.2.9")
			if limit, ok := errors.AsType[*LimitError](err); !ok || took != 0 || limit.RetryAfter != time.Second {
				t.Errorf("%s: one more: %v after %v; want a limit of a second, at once", name, err, took)
			}
			cancel()
			waiting.Wait()
			if len(s.throttle.slowed) != 0 {
				t.Errorf("%s: %d users have guesses waiting in the end; want none", name, len(s.throttle.slowed))
			}
			if known {
				// Where the user logged in today, it is not slowed down, whether or not the
				// secret is still remembered.
				for _, wait := range []time.Duration{0, verifiedLifetime} {
					time.Sleep(wait) // of the bubble's clock
					attack()
					if took, err := timed("pw", "198.51.100.1"); took != 0 || err != nil {
						t.Errorf("the user, from an address where it is known, after %v: %v after %v; want success at once", wait, err, took)
					}
				}
				if took, err := timed("pw", "192.0.2.200"); took != 0 || err != nil {
					t.Errorf("the user's verified secret from a new address: %v after %v; want success at once", err, took)
				}
				time.Sleep(knownLifetime)
				attack()
				if took, err := timed("pw", "198.51.100.1"); took != time.Second || err != nil {
					t.Errorf("the user, a day later: %v after %v; want success after a second", err, took)
				}
			}
		})
	}
}

func TestLoginsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		if err := s.loginAs(t.Context(), "u", "pw", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		slots := s.logins.unused()
		empty := s.logins.occupy(t)
		var waiting sync.WaitGroup
		for i := range maxQueue {
			waiting.Go(func() {
				if err := s.loginAs(t.Context(), fmt.Sprint("u", i), "wrong", fmt.Sprint(i)); !errors.Is(err, registryusers.ErrUnauthenticated) {
					t.Errorf("login %d of those that wait: %v; want %v", i, err, registryusers.ErrUnauthenticated)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		if err := s.loginAs(t.Context(), "more", "wrong", "more"); !errors.Is(err, registryusers.ErrUnavailable) || time.Since(start) != 0 {
			t.Errorf("one login more than may wait: %v after %v; want %v at once", err, time.Since(start), registryusers.ErrUnavailable)
		}
		if err := s.loginAs(t.Context(), "u", "pw", "192.0.2.2"); err != nil {
			t.Errorf("a verified secret meanwhile: %v; want success", err)
		}
		time.Sleep(verifiedLifetime) // of the bubble's clock: the secret is not remembered any more
		if err := s.loginAs(t.Context(), "u", "pw", "192.0.2.1"); err != nil {
			t.Errorf("a login from an address where the user is known, meanwhile: %v; want success", err)
		}
		// Holders of an API key do not wait for strangers.
		u, err := s.CreateUser(t.Context(), APIKey{}, RegistryRef{}, "", NewUser{Name: "new", Secret: registryusers.NewSecretText("custom")})
		if err != nil || u.Verifier.Hash == "" {
			t.Errorf("a create with a custom secret meanwhile: %+v, %v; want success", u, err)
		}
		empty()
		waiting.Wait()
		if s.logins.unused() != slots || s.logins.length() != 0 {
			t.Errorf("%d slots are free and %d callers wait in the end; want %d and none", s.logins.unused(), s.logins.length(), slots)
		}
	})
}

func TestCreatesThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		empty := s.creates.occupy(t)
		create := func(name string) error {
			_, err := s.CreateUser(t.Context(), APIKey{}, RegistryRef{}, "", NewUser{Name: name, Secret: registryusers.NewSecretText("custom")})
			return err
		}
		var waiting sync.WaitGroup
		for i := range maxQueue {
			waiting.Go(func() {
				if err := create(fmt.Sprint(i)); err != nil {
					t.Errorf("create %d of those that wait: %v; want success", i, err)
				}
			})
		}
		synctest.Wait()
		if err := create("more"); !errors.Is(err, registryusers.ErrUnavailable) {
			t.Errorf("one create more than may wait: %v; want %v", err, registryusers.ErrUnavailable)
		}
		if err := s.loginAs(t.Context(), "u", "pw", "192.0.2.1"); err != nil {
			t.Errorf("a login meanwhile: %v; want success", err)
		}
		empty()
		waiting.Wait()
	})
}

// Places of a slowed down user: an address has one, and pays for it when it leaves
// early: others still get through.
func TestOneAddressCannotKeepASlowedDownUserOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		for i := range maxNameFailures + 1 {
			s.throttle.recordFailure(guessAt(s.throttle, "u", fmt.Sprintf("203.0.113.%d", i), 0), time.Now())
		}
		const attempts = 8
		limited := 0
		for i := range 20 {
			var wg sync.WaitGroup
			var refused atomic.Int64
			for j := range attempts {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
					defer cancel()
					err := s.loginAs(ctx, "u", fmt.Sprint("wrong", i, j), "192.0.2.1")
					if _, ok := errors.AsType[*LimitError](err); ok {
						refused.Add(1)
					}
				})
			}
			synctest.Wait()
			if got := refused.Load(); got < attempts-1 {
				t.Errorf("round %d: %d of %d attempts of one address were refused; want all but one", i, got, attempts)
			}
			if i == 0 {
				if err := s.loginAs(t.Context(), "u", "pw", "198.51.100.7"); err != nil {
					t.Errorf("the user from another address: %v; want success", err)
				}
			}
			wg.Wait()
			if refused.Load() == attempts {
				limited++
			}
		}
		if limited != 18 {
			t.Errorf("%d of 20 rounds were refused whole; want all after the second attempt", limited)
		}
	})
}

// However many addresses guess at a user that is slowed down, the right secret
// from one that has not failed takes a place of those that have.
func TestASlowedDownUserIsServedWhereItHasNotFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		for i := range maxNameFailures + 1 {
			s.throttle.recordFailure(guessAt(s.throttle, "u", fmt.Sprintf("203.0.113.%d", i), 0), time.Now())
		}
		var guesses sync.WaitGroup
		var lost atomic.Int64
		for i := range maxQueue {
			guesses.Go(func() {
				err := s.loginAs(t.Context(), "u", "guess", fmt.Sprintf("203.0.113.%d", i))
				if errors.Is(err, registryusers.ErrTooManyRequests) {
					lost.Add(1)
				} else if !errors.Is(err, registryusers.ErrUnauthenticated) {
					t.Errorf("guess %d: %v; want %v", i, err, registryusers.ErrUnauthenticated)
				}
			})
		}
		synctest.Wait()
		if err := s.loginAs(t.Context(), "u", "guess", "203.0.113.99"); !errors.Is(err, registryusers.ErrTooManyRequests) {
			t.Errorf("from an address that has failed as often as those that wait: %v; want %v", err, registryusers.ErrTooManyRequests)
		}
		start := time.Now()
		if err := s.loginAs(t.Context(), "u", "pw", "192.0.2.1"); err != nil || time.Since(start) != slowDelay {
			t.Errorf("from an address that has not failed: %v after %v; want success after %v", err, time.Since(start), slowDelay)
		}
		guesses.Wait()
		if lost.Load() != 1 || len(s.throttle.slowed) != 0 {
			t.Errorf("%d guesses lost their places, and %d users have guesses that wait in the end; want 1 and none", lost.Load(), len(s.throttle.slowed))
		}
	})
}
