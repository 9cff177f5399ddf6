package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/registryusers/registryusers"
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
// It counts a wrong secret once for each user, address and secret, however often
// it is repeated. Failures are limited for an address, and for a user at an
// address. A user that is guessed at from many addresses is slowed down: an
// attempt from an address where it has not logged in lately waits before it is
// hashed, and few wait at a time.
type loginThrottle struct {
	key hashKey

	mu      sync.Mutex
	counts  map[digest]failureCount
	wrong   map[digest]time.Time // until when a wrong secret is remembered
	known   map[digest]time.Time // until when a user is known at an address
	waiting map[digest]int       // attempts that are slowed down, by user
}

type failureCount struct {
	n   int
	end time.Time // of the window that is counted
}

const (
	failureWindow    = 5 * time.Minute
	maxFailureCounts = 1 << 16
	maxWrongSecrets  = 1 << 14

	maxNameFailures   = 100 // for a user from all addresses, before it is slowed down
	slowDelay         = time.Second
	maxSlowed         = 8 // attempts for a user that wait out the delay at a time
	knownLifetime     = 24 * time.Hour
	maxKnownAddresses = 1 << 14
)

// failureLimits are how many failures a network may have in a window, and how
// many for one user. An IPv6 host has a /64 to itself, and its owner often a /56
// or a /48; IPv4 addresses have the first row's.
var failureLimits = []struct{ bits, all, forUser int }{
	{64, 100, 10},
	{56, 300, 30},
	{48, 1000, 100},
}

func newLoginThrottle() *loginThrottle {
	return &loginThrottle{
		key:     newHashKey(),
		counts:  make(map[digest]failureCount),
		wrong:   make(map[digest]time.Time),
		known:   make(map[digest]time.Time),
		waiting: make(map[digest]int),
	}
}

// guess is an attempt to log in with a custom secret, as the throttle knows it.
type guess struct {
	user    digest
	address digest // of the user at the narrowest network
	secret  digest // of the secret for the user there
	expired digest // of the secret of an expired user, or zero
	limits  []failureLimit
}

type failureLimit struct {
	key  digest
	most int
}

// guess returns the attempt with a secret from an address. It counts for the user
// counted. Its secret is wrong for the login name meant, as long as it is compared
// with that hash: whether two names mean one user, or none, must not show.
func (t *loginThrottle) guess(from, counted, meant, hash, secret string) guess {
	networks := networksOf(from)
	g := guess{
		user:    t.key.hash("user", counted),
		address: t.key.hash("user at", networks[0], counted),
		secret:  t.key.hash("secret at", networks[0], meant, hash, secret),
	}
	for i, network := range networks {
		g.limits = append(g.limits,
			failureLimit{t.key.hash("all", network), failureLimits[i].all},
			failureLimit{t.key.hash("for user", network, counted), failureLimits[i].forUser})
	}
	return g
}

// ofExpired returns the guess at a user that has expired. Its right secret is
// refused too, but not remembered as wrong: the user may be given more days.
func (t *loginThrottle) ofExpired(g guess) guess {
	g.expired = t.key.hash("expired", string(g.secret[:]))
	return g
}

// Network returns the network that an address, with or without a port, is
// counted for: an IPv4 address, or the IPv6 /64 that one site has to itself.
func Network(from string) string { return networksOf(from)[0] }

// networksOf returns the networks that failures from an address are counted for,
// the narrowest first. The address may have a port. One of an unknown form is its
// own network.
func networksOf(from string) []string {
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		host = from
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return []string{host}
	}
	if address = address.Unmap().WithZone(""); address.Is4() {
		return []string{address.String()}
	}
	networks := make([]string, 0, len(failureLimits))
	for _, limit := range failureLimits {
		prefix, _ := address.Prefix(limit.bits) // fails only for too many bits
		networks = append(networks, prefix.String())
	}
	return networks
}

// check refuses a wrong secret that is repeated, as ErrUnauthenticated, and what
// is over a limit, as a [*LimitError].
func (t *loginThrottle) check(g guess, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.wrong[g.secret]) || now.Before(t.wrong[g.expired]) {
		return registryusers.ErrUnauthenticated
	}
	for _, limit := range g.limits {
		if count := t.counts[limit.key]; count.n >= limit.most && now.Before(count.end) {
			return &LimitError{RetryAfter: count.end.Sub(now)}
		}
	}
	return nil
}

// delay waits if the user is guessed at from many addresses, and has not logged
// in from this one lately. A [*LimitError]: too many wait already.
func (t *loginThrottle) delay(ctx context.Context, g guess, now time.Time) error {
	if slow, err := t.enter(g, now); !slow || err != nil {
		return err
	}
	defer t.leave(g)
	timer := time.NewTimer(slowDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
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

func (t *loginThrottle) enter(g guess, now time.Time) (slow bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if count := t.counts[g.user]; count.n <= maxNameFailures || !now.Before(count.end) || now.Before(t.known[g.address]) {
		return false, nil
	}
	if t.waiting[g.user] >= maxSlowed || t.waiting[g.address] > 0 { // one place for an address
		return true, &LimitError{RetryAfter: slowDelay}
	}
	t.waiting[g.user]++
	t.waiting[g.address]++
	return true, nil
}

func (t *loginThrottle) leave(g guess) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range []digest{g.user, g.address} {
		if t.waiting[key]--; t.waiting[key] == 0 {
			delete(t.waiting, key)
		}
	}
}

// gaveUp counts an attempt whose client left while it waited, or it could hold a
// place for nothing. Its secret may have been right, so it is not remembered as wrong.
func (t *loginThrottle) gaveUp(g guess, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, limit := range g.limits {
		t.count(limit.key, now)
	}
}

// failed counts a wrong secret, or the right one of an expired user, unless it was
// counted already.
func (t *loginThrottle) failed(g guess, right bool, now time.Time) {
	key := g.secret
	if right {
		key = g.expired
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.wrong[key]) {
		return
	}
	remember(t.wrong, key, now, failureWindow, maxWrongSecrets)
	t.count(g.user, now)
	for _, limit := range g.limits {
		t.count(limit.key, now)
	}
}

func (t *loginThrottle) count(key digest, now time.Time) {
	count := t.counts[key]
	if !now.Before(count.end) {
		bound(t.counts, maxFailureCounts, func(c failureCount) bool { return !now.Before(c.end) })
		count = failureCount{end: now.Add(failureWindow)}
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
