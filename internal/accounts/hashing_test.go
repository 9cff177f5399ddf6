package accounts

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
)

func TestHashingWaitsItsTurnAndEndsWithItsContext(t *testing.T) {
	s := New(nil, NewServerKey("k", [32]byte{}), nil)
	if got, want := cap(s.hashing), min(runtime.GOMAXPROCS(0), maxHashing); got != want {
		t.Fatalf("%d argon2id may be at work at a time; want GOMAXPROCS, %d", got, want)
	}
	for range cap(s.hashing) {
		s.hashing <- struct{}{} // as if that many were at work
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, _, err := s.verifier(ctx, registryusers.NewSecretText("chosen"))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("a hash that waits, its context canceled: %v; want %v", err, context.Canceled)
	}
	if v, secret, err := s.verifier(t.Context(), registryusers.SecretText{}); err != nil || len(v.Index) == 0 || secret.IsZero() {
		t.Errorf("a made secret: %v, %v, %v; want one without waiting", v, secret, err)
	}
	<-s.hashing
	v, _, err := s.verifier(t.Context(), registryusers.NewSecretText("chosen"))
	if err != nil || !strings.HasPrefix(v.Hash, "$argon2id$") {
		t.Errorf("with one place free: %v, %v; want a hash", v, err)
	}
	if got, want := len(s.hashing), cap(s.hashing)-1; got != want {
		t.Errorf("%d places are taken after the hash; want %d, its own given back", got, want)
	}
}

func TestManyHashesAtOnce(t *testing.T) {
	s := New(nil, NewServerKey("k", [32]byte{}), nil)
	hashes := make([]string, 4*cap(s.hashing))
	var wg sync.WaitGroup
	for i := range hashes {
		wg.Go(func() {
			v, _, err := s.verifier(t.Context(), registryusers.NewSecretText("the same"))
			if err != nil {
				t.Errorf("hash %d: %v", i, err)
			}
			hashes[i] = v.Hash
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, hash := range hashes {
		if seen[hash] {
			t.Errorf("%s came twice; want a salt for each", hash)
		}
		seen[hash] = true
	}
	if len(s.hashing) != 0 {
		t.Errorf("%d places are taken when all is done; want none", len(s.hashing))
	}
}

func TestMadeSecretsAreSpreadEvenly(t *testing.T) {
	const n = 2000
	count := make(map[byte]int)
	first := make(map[byte]int)
	seen := make(map[string]bool)
	for range n {
		secret := makeSecret()
		if len(secret) != 32 {
			t.Fatalf("a made secret has %d letters; want 32", len(secret))
		}
		if seen[secret] {
			t.Fatal("a secret was made twice")
		}
		seen[secret] = true
		first[secret[0]]++
		for i := range len(secret) {
			count[secret[i]]++
		}
	}
	// Each letter's count has the mean 1032 and the deviation 32; beyond six of
	// them is one run in millions.
	for _, c := range []byte(letters) {
		if got, want := count[c], n*32/62; got < want-195 || got > want+195 {
			t.Errorf("%q came %d times in %d secrets; want about %d", c, got, n, want)
		}
		if first[c] == 0 {
			t.Errorf("%q was never the first letter of %d secrets", c, n)
		}
	}
	if len(count) != 62 {
		t.Errorf("%d different letters; want the 62 letters and digits", len(count))
	}
}

func TestServerKeySeparatesKeysAndPurposes(t *testing.T) {
	a, b := NewServerKey("a", [32]byte{1}), NewServerKey("b", [32]byte{2})
	seen := make(map[string]string)
	for name, mac := range map[string][]byte{
		"a":                a.mac("p", "data"),
		"another key":      b.mac("p", "data"),
		"another purpose":  a.mac("q", "data"),
		"other data":       a.mac("p", "datb"),
		"no data":          a.mac("p", ""),
		"a moved boundary": a.mac("pd", "ata"),
	} {
		if other, ok := seen[string(mac)]; ok || len(mac) != 32 {
			t.Errorf("%s: %x, of %d bytes, is also %q's; want 32 bytes of its own", name, mac, len(mac), other)
		}
		seen[string(mac)] = name
	}
}

func TestFailuresOfOneAddressAreLimited(t *testing.T) {
	f := newFailures()
	now := time.Now()
	for i := range maxAddressFailures {
		name := fmt.Sprint("user", i)
		if err := f.check(failureKey{name: name, from: "a"}, now); err != nil {
			t.Fatalf("failure %d: %v; want it allowed", i, err)
		}
		f.add(failureKey{name: name, from: "a"}, now)
	}
	if err := f.check(failureKey{name: "another", from: "a"}, now); !errors.Is(err, registryusers.ErrTooManyRequests) {
		t.Errorf("after %d failures from one address: %v; want %v", maxAddressFailures, err, registryusers.ErrTooManyRequests)
	}
	if err := f.check(failureKey{name: "another", from: "b"}, now); err != nil {
		t.Errorf("from another address: %v; want it allowed", err)
	}
	if err := f.check(failureKey{name: "another", from: "a"}, now.Add(failureWindow)); err != nil {
		t.Errorf("when the time is over: %v; want it allowed", err)
	}
}

func TestMemoryOfLoginsIsBounded(t *testing.T) {
	f, v, now := newFailures(), newVerdicts(), time.Now()
	for i := range maxFailureCounts/2 + 10 { // each is in two counts
		f.add(failureKey{name: strings.Repeat("x", 1<<10), from: fmt.Sprint(i)}, now)
	}
	if got := len(f.counts); got > maxFailureCounts+1 {
		t.Errorf("%d counts are kept; want %d or so", got, maxFailureCounts)
	}
	for i := range maxVerdicts + 10 {
		v.add(v.key("hash", fmt.Sprint(i)), now)
	}
	if got := len(v.until); got > maxVerdicts {
		t.Errorf("%d verdicts are kept; want %d", got, maxVerdicts)
	}
	last := v.key("hash", fmt.Sprint(maxVerdicts+9))
	if !v.has(last, now) || v.has(last, now.Add(verdictLifetime)) || v.has(v.key("other", fmt.Sprint(maxVerdicts+9)), now) {
		t.Error("a verdict is not kept for its time and its hash alone")
	}
	for i := range maxVerdicts { // the others are over: they make room
		v.add(v.key("hash", fmt.Sprint("later", i)), now.Add(verdictLifetime))
	}
	for key, until := range v.until {
		if until.Equal(now.Add(verdictLifetime)) {
			t.Fatalf("a verdict that is over, %x, is kept in the place of others", key)
		}
	}
}

func TestForeignHashIsAnErrorAndNoRefusal(t *testing.T) {
	s := New(nil, NewServerKey("k", [32]byte{}), nil)
	for _, hash := range []string{"$2b$10$x", "$argon2id$v=19$m=1,t=1,p=1$YWJj$YWJj", hashPrefix, hashPrefix + "YWJj", hashPrefix + "!$YWJj", hashPrefix + "YWJj$!", hashPrefix + "a$b$c"} {
		_, err := s.try([]Account{{User: User{Verifier: Verifier{Hash: hash}}}}, registryusers.NewSecret("secret"))
		if err == nil || errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("with the hash %q: %v; want an error that is no refusal", hash, err)
		}
	}
}

// Slips of an earlier window must not pay for guesses of this one.
func TestOldSlipsForgiveNoNewGuesses(t *testing.T) {
	f, now := newFailures(), time.Now()
	mine := failureKey{name: "u", namespace: "mine", from: "a"}
	victims := failureKey{name: "u", namespace: "victim's", from: "a"}
	for range maxFailures - 1 {
		f.add(mine, now)
	}
	now = now.Add(failureWindow)
	for range maxFailures {
		f.add(victims, now)
	}
	f.forget(mine)
	if err := f.check(victims, now); !errors.Is(err, registryusers.ErrTooManyRequests) {
		t.Errorf("ten guesses, after a success that followed older slips: %v; want %v", err, registryusers.ErrTooManyRequests)
	}
}
