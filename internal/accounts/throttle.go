package accounts

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/network"
)

// LimitError refuses a login because too many failed before. It is a
// [registryusers.ErrTooManyRequests].
type LimitError struct{ RetryAfter time.Duration }

func (e *LimitError) Error() string { return "too many failed logins" }
func (e *LimitError) Unwrap() error { return registryusers.ErrTooManyRequests }

// loginThrottle limits how often custom secrets can be guessed. What it keeps is
// bounded, and keyed by hashes under a key of this process: a memory dump shows
// neither names nor secrets.
//
// It counts a wrong secret once for each user, address and secret, and counts its
// repeats apart. Failures are limited for an address, and for a user at an
// address. A user that is guessed at from many addresses is slowed down: an
// attempt from an address where it has not logged in lately waits before it is
// hashed, and such an address has few attempts.
type loginThrottle struct {
	key hashKey

	mu     sync.Mutex
	counts map[digest]failureCount
	wrong  map[digest]time.Time // until when a wrong secret is remembered
	known  map[digest]time.Time // until when a user is known at an address
	slowed map[digest]*queue    // attempts that wait out the delay, by user
}

type failureCount struct {
	n   int
	end time.Time // of the window that is counted
}

const (
	failureWindow    = 5 * time.Minute
	rankWindow       = time.Hour // of what decides who is hashed first: longer, so that few attackers start afresh
	maxFailureCounts = 1 << 16
	maxWrongSecrets  = 1 << 14

	maxNameFailures   = 100 // for a user from all addresses, before it is slowed down
	slowDelay         = time.Second
	slowedShare       = 5 // a slowed user has 1/5 of its limits at addresses where it is not known
	knownLifetime     = 24 * time.Hour
	maxKnownAddresses = 1 << 14
)

// failureLimits are how many failures, and how many repeated ones, each of
// [network.Bits] may have in a window, and how many failures for one user. IPv4
// addresses have the first row's.
var failureLimits = [len(network.Bits)]struct{ all, forUser int }{
	{100, 10},
	{300, 30},
	{1000, 100},
}

func newLoginThrottle() *loginThrottle {
	return &loginThrottle{
		key:    newHashKey(),
		counts: make(map[digest]failureCount),
		wrong:  make(map[digest]time.Time),
		known:  make(map[digest]time.Time),
		slowed: make(map[digest]*queue),
	}
}

// guess is an attempt to log in with a custom secret, as the throttle knows it.
type guess struct {
	network string        // the narrowest
	user    digest        // whom its failure counts for
	address digest        // of the user at the narrowest network
	secret  digest        // of the secret for the login name there
	counts  []guessCounts // for each network, the narrowest first
}

// guessCounts are the counts of one network.
type guessCounts struct {
	all, forUser, repeats digest
	inVain                digest // hashes, of failures and repeats, in rankWindow
	maxAll, maxForUser    int
}

// guess returns the attempt with a secret from an address. It counts for the user
// counted. Its secret is wrong for the login name meant: whether two names mean
// one user, or none, must not show, nor whether the user has just been created, or
// has another secret now.
func (t *loginThrottle) guess(from, counted, meant, secret string) guess {
	networks := network.Names(from)
	g := guess{
		network: networks[0],
		user:    t.key.hash("user", counted),
		address: t.key.hash("user at", networks[0], counted),
		secret:  t.key.hash("secret at", networks[0], meant, secret),
	}
	for i, name := range networks {
		g.counts = append(g.counts, guessCounts{
			all:        t.key.hash("all", name),
			forUser:    t.key.hash("for user", name, counted),
			repeats:    t.key.hash("repeats", name),
			inVain:     t.key.hash("in vain", name),
			maxAll:     failureLimits[i].all,
			maxForUser: failureLimits[i].forUser,
		})
	}
	return g
}

// check refuses, with a [*LimitError], what is over a limit. A wrong secret that is
// repeated has a limit of its own.
func (t *loginThrottle) check(g guess, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	over := func(key digest, most int) error {
		if t.failures(key, now) < most {
			return nil
		}
		return &LimitError{RetryAfter: t.counts[key].end.Sub(now)}
	}
	isRepeat, isSlow := now.Before(t.wrong[g.secret]), t.isSlow(g, now)
	for _, c := range g.counts {
		if isRepeat {
			if err := over(c.repeats, c.maxAll); err != nil {
				return err
			}
			continue
		}
		if isSlow {
			c.maxForUser /= slowedShare
		}
		if err := cmp.Or(over(c.all, c.maxAll), over(c.forUser, c.maxForUser)); err != nil {
			return err
		}
	}
	return nil
}

// share returns which share of its limits the networks of a guess have spent on
// hashes in vain, in the last hour: the most that one of them has.
func (t *loginThrottle) share(g guess, now time.Time) (share float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spent(g, now)
}

func (t *loginThrottle) spent(g guess, now time.Time) (share float64) {
	for _, c := range g.counts {
		share = max(share, float64(t.failures(c.inVain, now))/float64(c.maxAll))
	}
	return share
}

// failures returns the count of a key in its window.
func (t *loginThrottle) failures(key digest, now time.Time) int {
	if count := t.counts[key]; now.Before(count.end) {
		return count.n
	}
	return 0
}

// isSlow reports whether the user is guessed at from many addresses, and has not
// logged in from this one lately.
func (t *loginThrottle) isSlow(g guess, now time.Time) bool {
	return t.failures(g.user, now) > maxNameFailures && !now.Before(t.known[g.address])
}

// delay waits if the user is guessed at from many addresses, and has not logged
// in from this one lately. A [*LimitError]: the address has one attempt at the
// user that waits, or too many wait that come before this one.
func (t *loginThrottle) delay(ctx context.Context, g guess, now time.Time) error {
	w, err := t.enter(g, now)
	if w == nil || err != nil {
		return err
	}
	defer t.leave(g, w)
	timer := time.NewTimer(slowDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.served: // it lost its place
		return &LimitError{RetryAfter: slowDelay}
	case <-ctx.Done():
		t.gaveUp(g, now)
		return fmt.Errorf("%w: waiting to log in: %w", registryusers.ErrUnavailable, ctx.Err())
	}
}

// isKnown reports whether the user has logged in from the address lately.
func (t *loginThrottle) isKnown(g guess, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.known[g.address])
}

// enter returns the place in which an attempt waits, or nil if it need not.
func (t *loginThrottle) enter(g guess, now time.Time) (*waiter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isSlow(g, now) {
		return nil, nil
	}
	q := t.slowed[g.user]
	if q == nil {
		q = new(queue)
		t.slowed[g.user] = q
	}
	w := newWaiter(g.network, t.spent(g, now))
	hasPlace := slices.ContainsFunc(q.waiters, func(other *waiter) bool { return other.owner == g.network })
	if hasPlace || !q.add(w) {
		return nil, &LimitError{RetryAfter: slowDelay}
	}
	return w, nil
}

func (t *loginThrottle) leave(g guess, w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.slowed[g.user]
	if q == nil { // w lost its place, and the others have left
		return
	}
	q.remove(w)
	if len(q.waiters) == 0 {
		delete(t.slowed, g.user)
	}
}

// gaveUp counts an attempt whose client left while it waited, or it could hold a
// place for nothing. Its secret may have been right, so it is not remembered as wrong.
func (t *loginThrottle) gaveUp(g guess, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.countFailure(g, now)
}

// failed counts a wrong secret, or the right one of an expired user, as a failure,
// or as a repeat if it was counted in this window already.
func (t *loginThrottle) failed(g guess, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.wrong[g.secret]) {
		for _, c := range g.counts {
			t.count(c.repeats, now, failureWindow)
			t.count(c.inVain, now, rankWindow)
		}
		return
	}
	remember(t.wrong, g.secret, now, failureWindow, maxWrongSecrets)
	t.count(g.user, now, failureWindow)
	t.countFailure(g, now)
}

func (t *loginThrottle) countFailure(g guess, now time.Time) {
	for _, c := range g.counts {
		t.count(c.all, now, failureWindow)
		t.count(c.forUser, now, failureWindow)
		t.count(c.inVain, now, rankWindow)
	}
}

func (t *loginThrottle) count(key digest, now time.Time, window time.Duration) {
	count := t.counts[key]
	if !now.Before(count.end) {
		bound(t.counts, maxFailureCounts, func(c failureCount) bool { return !now.Before(c.end) })
		count = failureCount{end: now.Add(window)}
	}
	count.n++
	t.counts[key] = count
}

// succeeded notes that the user has logged in from the address.
func (t *loginThrottle) succeeded(g guess, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	remember(t.known, g.address, now, knownLifetime, maxKnownAddresses)
}

// verifiedSecrets remembers which custom secrets were right, so that a client
// that logs in for every layer costs one argon2id. The stored hash is part of the
// key: a secret is not remembered for a user that has another one by now.
type verifiedSecrets struct {
	key   hashKey
	mu    sync.Mutex
	until map[digest]time.Time
}

const (
	verifiedLifetime   = 5 * time.Minute
	maxVerifiedSecrets = 1024
)

func newVerifiedSecrets() *verifiedSecrets {
	return &verifiedSecrets{key: newHashKey(), until: make(map[digest]time.Time)}
}

func (v *verifiedSecrets) has(hash, secret string, now time.Time) bool {
	key := v.key.hash(hash, secret)
	v.mu.Lock()
	defer v.mu.Unlock()
	return now.Before(v.until[key])
}

func (v *verifiedSecrets) add(hash, secret string, now time.Time) {
	key := v.key.hash(hash, secret)
	v.mu.Lock()
	defer v.mu.Unlock()
	remember(v.until, key, now, verifiedLifetime, maxVerifiedSecrets)
}

// hashKey is a random key for hashes that this process alone can make.
type hashKey [32]byte

type digest [sha256.Size]byte

func newHashKey() (k hashKey) {
	_, _ = rand.Read(k[:]) // never fails: crypto/rand
	return k
}

// hash returns the keyed hash of texts, which differs when a boundary moves.
func (k hashKey) hash(texts ...string) (d digest) {
	h := hmac.New(sha256.New, k[:])
	for _, text := range texts {
		h.Write([]byte(strconv.Itoa(len(text)) + ":"))
		h.Write([]byte(text))
	}
	h.Sum(d[:0])
	return d
}

// remember keeps a key in m until it is lifetime after now, and at most so many.
func remember(m map[digest]time.Time, key digest, now time.Time, lifetime time.Duration, most int) {
	if _, ok := m[key]; !ok {
		bound(m, most, func(until time.Time) bool { return !now.Before(until) })
	}
	m[key] = now.Add(lifetime)
}

// bound makes room in m, if it is full: it removes what has expired, and then
// anything, so much that it is not called again soon.
func bound[K comparable, V any](m map[K]V, most int, expired func(V) bool) {
	if len(m) < most {
		return
	}
	for key, value := range m {
		if expired(value) {
			delete(m, key)
		}
	}
	for key := range m {
		if len(m) <= most*3/4 {
			return
		}
		delete(m, key)
	}
}
