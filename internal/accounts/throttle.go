package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/network"
)

// LimitError says that a login was refused because too many have failed before. It
// wraps [registryusers.ErrTooManyRequests].
type LimitError struct{ RetryAfter time.Duration }

func (e *LimitError) Error() string { return "too many failed logins" }
func (e *LimitError) Unwrap() error { return registryusers.ErrTooManyRequests }

// loginThrottle limits how often custom secrets can be guessed. Its memory is
// bounded, and its maps have keyed hashes as keys, under a random key of this
// process: a memory dump shows neither names nor secrets.
//
// It counts a wrong secret once for each user, address and secret, and counts
// repeats separately. Failures are limited for each address, and for each user at
// an address. If the secret of one user is guessed from many addresses, attempts
// for that user are slowed down: from an address where the user has not logged in
// lately, an attempt waits before its secret is hashed, and fewer attempts are
// allowed.
type loginThrottle struct {
	key hashKey

	mu     sync.Mutex
	counts map[digest]failureCount
	wrong  *expiringSet      // wrong secrets
	known  *expiringSet      // users at addresses where they have logged in
	slowed map[digest]*queue // delayed attempts, by user
}

type failureCount struct {
	n   int
	end time.Time // of the window of the failures
}

const (
	failureWindow    = 5 * time.Minute
	rankWindow       = time.Hour // for the order of hashing; longer, so that attackers keep their rank
	maxFailureCounts = 1 << 16
	maxWrongSecrets  = 1 << 14

	maxNameFailures   = 100 // for a user from all addresses; then its attempts are slowed down
	slowDelay         = time.Second
	slowedShare       = 5 // a slowed user's limits at unknown addresses are divided by this
	knownLifetime     = 24 * time.Hour
	maxKnownAddresses = 1 << 14
)

// failureLimits has a row for each of [network.Bits]: how many failures, and as
// many repeats, a network may have in a window, and how many failures for one
// user. The first row applies to IPv4 addresses.
var failureLimits = [len(network.Bits)]struct{ all, forUser int }{
	{100, 10},
	{300, 30},
	{1000, 100},
}

func newLoginThrottle() *loginThrottle {
	return &loginThrottle{
		key:    newHashKey(),
		counts: make(map[digest]failureCount),
		wrong:  newExpiringSet(failureWindow, maxWrongSecrets),
		known:  newExpiringSet(knownLifetime, maxKnownAddresses),
		slowed: make(map[digest]*queue),
	}
}

// secretAttempt is an attempt to log in with a custom secret, for the throttle.
type secretAttempt struct {
	network string          // the narrowest
	user    digest          // the user that a failure counts for
	address digest          // the user and the narrowest network
	secret  digest          // the secret, the login name and the narrowest network
	counts  []attemptCounts // for each network, the narrowest first
}

// attemptCounts are the keys and limits of the counts of one network.
type attemptCounts struct {
	all, forUser, repeats digest
	failedHashes          digest // hashes spent on failures and repeats, in rankWindow
	maxAll, maxForUser    int
}

// attempt returns the attempt with a secret from an address. A failure counts for
// throttleName. A wrong secret is remembered for loginName, not for a user: the
// limits must not reveal whether two names refer to one user or to
// none, nor whether the user was just created or has another secret now.
func (t *loginThrottle) attempt(from, throttleName, loginName, secret string) secretAttempt {
	networks := network.KeysOf(from)
	a := secretAttempt{
		network: networks[0],
		user:    t.key.hash("user", throttleName),
		address: t.key.hash("user at", networks[0], throttleName),
		secret:  t.key.hash("secret at", networks[0], loginName, secret),
	}
	for i, name := range networks {
		a.counts = append(a.counts, attemptCounts{
			all:          t.key.hash("all", name),
			forUser:      t.key.hash("for user", name, throttleName),
			repeats:      t.key.hash("repeats", name),
			failedHashes: t.key.hash("failed hashes", name),
			maxAll:       failureLimits[i].all,
			maxForUser:   failureLimits[i].forUser,
		})
	}
	return a
}

// admit waits until an attempt may wait for a slot to hash its secret. It returns
// whether the user is known at the address, and the attempt's share, as of then. A
// [*LimitError]: the attempt is over a limit, or too many wait that are served before
// it.
func (t *loginThrottle) admit(ctx context.Context, a secretAttempt, now func() time.Time) (isKnown bool, share float64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := now()
	err = t.limit(a, start)
	if err == nil && t.isSlow(a, start) {
		err = t.delay(ctx, a, start)
	}
	if err != nil {
		return false, 0, err
	}
	return t.known.has(a.address, now()), t.failureLoad(a, now()), nil
}

// check returns a [*LimitError] if the attempt is over a limit.
func (t *loginThrottle) check(a secretAttempt, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limit(a, now)
}

// limit is check while t.mu is locked. Repeats of a wrong secret have a limit of
// their own.
func (t *loginThrottle) limit(a secretAttempt, now time.Time) error {
	over := func(key digest, most int) error {
		if t.failures(key, now) < most {
			return nil
		}
		return &LimitError{RetryAfter: t.counts[key].end.Sub(now)}
	}
	isRepeat, isSlow := t.wrong.has(a.secret, now), t.isSlow(a, now)
	for _, c := range a.counts {
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

// failureLoad returns the share of their limits that the networks of an attempt have spent
// on failed hashes in the last hour: the largest share of one of them.
func (t *loginThrottle) failureLoad(a secretAttempt, now time.Time) (share float64) {
	for _, c := range a.counts {
		share = max(share, float64(t.failures(c.failedHashes, now))/float64(c.maxAll))
	}
	return share
}

// failures returns the count of a key in its current window.
func (t *loginThrottle) failures(key digest, now time.Time) int {
	if count := t.counts[key]; now.Before(count.end) {
		return count.n
	}
	return 0
}

// isSlow reports whether the user's secret is guessed from many addresses and the
// user has not logged in from this one lately.
func (t *loginThrottle) isSlow(a secretAttempt, now time.Time) bool {
	return t.failures(a.user, now) > maxNameFailures && !t.known.has(a.address, now)
}

// delay waits for slowDelay in the user's queue, and unlocks t.mu meanwhile. A
// [*LimitError]: another attempt for the user from this address waits, or too many
// wait that are served before this one.
func (t *loginThrottle) delay(ctx context.Context, a secretAttempt, now time.Time) (err error) {
	q := t.slowed[a.user]
	if q == nil {
		q = new(queue)
		t.slowed[a.user] = q
	}
	w := newWaiter(a.network, t.failureLoad(a, now))
	hasPlace := slices.ContainsFunc(q.waiters, func(other *waiter) bool { return other.owner == a.network })
	if hasPlace || !q.add(w) {
		return &LimitError{RetryAfter: slowDelay}
	}
	t.mu.Unlock()
	select {
	case <-time.After(slowDelay):
	case <-w.served: // replaced by another
		err = &LimitError{RetryAfter: slowDelay}
	case <-ctx.Done():
		err = fmt.Errorf("%w: waiting to log in: %w", registryusers.ErrUnavailable, ctx.Err())
	}
	t.mu.Lock()
	if errors.Is(err, registryusers.ErrUnavailable) {
		// Otherwise, clients could fill the queue at no cost. The secret may have been
		// right, so it is not remembered as wrong.
		t.countFailure(a, now)
	}
	if q.remove(w) && len(q.waiters) == 0 {
		delete(t.slowed, a.user)
	}
	return err
}

// recordFailure counts a wrong secret, or the right secret of an expired user, as a
// failure, or as a repeat if it was already counted in this window.
func (t *loginThrottle) recordFailure(a secretAttempt, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong.has(a.secret, now) {
		for _, c := range a.counts {
			t.count(c.repeats, now, failureWindow)
			t.count(c.failedHashes, now, rankWindow)
		}
		return
	}
	t.wrong.add(a.secret, now)
	t.count(a.user, now, failureWindow)
	t.countFailure(a, now)
}

func (t *loginThrottle) countFailure(a secretAttempt, now time.Time) {
	for _, c := range a.counts {
		t.count(c.all, now, failureWindow)
		t.count(c.forUser, now, failureWindow)
		t.count(c.failedHashes, now, rankWindow)
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

// succeeded records that the user has logged in from the address.
func (t *loginThrottle) succeeded(a secretAttempt, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known.add(a.address, now)
}
