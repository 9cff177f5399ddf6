package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/registryusers/registryusers"
)

// Account is a user together with where its registry's images lie.
type Account struct {
	User
	// Namespace is the first element of its repositories' names,
	// "{project}-{region}-{registry's name}".
	Namespace string
}

// FullName is the name that means this user alone, "NAMESPACE+NAME".
func (a Account) FullName() string { return a.Namespace + "+" + a.Name }

// The actions on a repository, as the registry's token protocol names them.
const (
	Pull   = "pull"
	Push   = "push"
	Delete = "delete"
)

// Actions returns what the account may do in a repository.
func (a Account) Actions(repository string) []string {
	switch {
	case !a.Owns(repository):
		return nil
	case a.ReadOnly:
		return []string{Pull}
	default:
		return []string{Pull, Push, Delete}
	}
}

// Owns reports whether a repository lies in the account's registry.
func (a Account) Owns(repository string) bool {
	rest, ok := strings.CutPrefix(repository, a.Namespace+"/")
	return ok && rest != ""
}

// Namespace names the place of a registry's repositories.
func Namespace(projectID, regionID int64, name string) string {
	return strconv.FormatInt(projectID, 10) + "-" + strconv.FormatInt(regionID, 10) + "-" + name
}

// parseNamespace is the reverse of [Namespace].
func parseNamespace(namespace string) (projectID, regionID int64, name string, ok bool) {
	parts := strings.SplitN(namespace, "-", 3)
	if len(parts) != 3 {
		return 0, 0, "", false
	}
	projectID, err1 := strconv.ParseInt(parts[0], 10, 64)
	regionID, err2 := strconv.ParseInt(parts[1], 10, 64)
	ok = err1 == nil && err2 == nil && Namespace(projectID, regionID, parts[2]) == namespace
	return projectID, regionID, parts[2], ok
}

// LoginAttempt is what somebody presents to log in.
type LoginAttempt struct {
	Account    string // NAME, or NAMESPACE+NAME
	Secret     registryusers.Secret
	Repository string // the first one that is asked for, or ""
	From       string // the address it comes from, for the limit on failures
}

// maxNamesakes is how many users of one name, with chosen secrets, a login
// that does not say which one tries.
const maxNamesakes = 4

// Login returns the account that the attempt's name and secret belong to.
//
// A made secret is found by its index, in one read. With a chosen one, the
// long form of the name or the repository says whose registry is meant; without
// either, at most four users of the name are tried, and where there are more,
// the login needs the long form. A repository where nobody has the name says
// nothing. Failures cost what a wrong secret costs, and are limited: ten in five minutes for a name from an address, a hundred for an
// address; made secrets are let in regardless.
//
// ErrUnauthenticated: there is no such name, or the secret is wrong, or the
// user's days are over; which of these, is not told. A [*LimitError]: too many
// failures.
func (s *Service) Login(ctx context.Context, attempt LoginAttempt) (Account, error) {
	namespace, name, long := strings.Cut(attempt.Account, "+")
	if !long {
		namespace, name = "", attempt.Account
	}
	account, err := s.store.AccountBySecret(ctx, s.index(attempt.Secret.Reveal()))
	if err == nil && account.Name == name && (!long || account.Namespace == namespace) {
		return s.current(account)
	}
	if err != nil && !isNotFound(err) {
		return Account{}, err
	}
	hinted := !long && attempt.Repository != ""
	if hinted {
		namespace, _, _ = strings.Cut(attempt.Repository, "/")
	}
	counted := failureKey{name: name, namespace: namespace, from: attempt.From}
	if err := s.failures.check(counted, s.now()); err != nil {
		return Account{}, err
	}
	candidates, err := s.namesakes(ctx, namespace, name, long || hinted)
	if err == nil && len(candidates) == 0 && hinted { // the repository may be another's, to no avail
		candidates, err = s.namesakes(ctx, "", name, false)
	}
	if err != nil {
		return Account{}, err
	}
	return s.judge(ctx, candidates, counted, attempt.Secret)
}

// judge returns the candidate whose chosen secret it is. A failure is counted
// under the key.
func (s *Service) judge(ctx context.Context, candidates []Account, counted failureKey, secret registryusers.Secret) (Account, error) {
	if account, ok := s.remembered(candidates, secret); ok {
		return s.current(account)
	}
	release, err := s.acquire(ctx)
	if err != nil {
		return Account{}, err
	}
	defer release()
	// Others may have failed, or got in, while this one waited.
	if err := s.failures.check(counted, s.now()); err != nil {
		return Account{}, err
	}
	account, ok := s.remembered(candidates, secret)
	if !ok {
		if account, err = s.try(candidates, secret); err != nil {
			if errors.Is(err, registryusers.ErrUnauthenticated) {
				s.failures.add(counted, s.now())
			}
			return Account{}, err
		}
	}
	if len(candidates) == 1 { // among namesakes, one's success forgives no guesses at another
		s.failures.forget(counted)
	}
	return s.current(account)
}

// namesakes returns the users with chosen secrets that a name may mean.
func (s *Service) namesakes(ctx context.Context, namespace, name string, long bool) ([]Account, error) {
	if !long {
		accounts, err := s.store.AccountsByName(ctx, name, maxNamesakes+1)
		if len(accounts) > maxNamesakes {
			accounts = nil
		}
		return accounts, err
	}
	project, region, registry, ok := parseNamespace(namespace)
	if !ok {
		return nil, nil
	}
	account, err := s.store.AccountByName(ctx, project, region, registry, name)
	if isNotFound(err) || err == nil && account.Verifier.Hash == "" {
		return nil, nil
	}
	return []Account{account}, err
}

// remembered returns the candidate whose secret it was a while ago.
func (s *Service) remembered(candidates []Account, secret registryusers.Secret) (Account, bool) {
	for _, account := range candidates {
		if s.verdicts.has(s.verdicts.key(account.Verifier.Hash, secret.Reveal()), s.now()) {
			return account, true
		}
	}
	return Account{}, false
}

// try returns the candidate whose secret it is, and remembers it.
// ErrUnauthenticated: it is nobody's.
func (s *Service) try(candidates []Account, secret registryusers.Secret) (Account, error) {
	for _, account := range candidates {
		salt, want, err := parseHash(account.Verifier.Hash)
		if err != nil {
			return Account{}, err
		}
		if subtle.ConstantTimeCompare(argon2id(secret.Reveal(), salt), want) == 1 {
			s.verdicts.add(s.verdicts.key(account.Verifier.Hash, secret.Reveal()), s.now())
			return account, nil
		}
	}
	if len(candidates) == 0 { // an unknown name costs what a wrong secret costs
		argon2id(secret.Reveal(), make([]byte, argonSalt))
	}
	return Account{}, registryusers.ErrUnauthenticated
}

// parseHash reads what [Service.hash] wrote.
func parseHash(hash string) (salt, key []byte, err error) {
	parts := strings.Split(strings.TrimPrefix(hash, hashPrefix), "$")
	if !strings.HasPrefix(hash, hashPrefix) || len(parts) != 2 {
		return nil, nil, errors.New("a stored secret is hashed in a way that this program does not know")
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[0])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[1])
	return salt, key, errors.Join(err1, err2)
}

// Current returns the account as it is now, for who proved earlier to be it,
// with the secret of that version. ErrUnauthenticated: it is gone, has ended,
// or has another secret now.
func (s *Service) Current(ctx context.Context, userID, secretVersion int64) (Account, error) {
	account, err := s.store.Account(ctx, userID)
	if isNotFound(err) {
		return Account{}, registryusers.ErrUnauthenticated
	}
	if err != nil {
		return Account{}, err
	}
	if account.SecretVersion != secretVersion {
		return Account{}, registryusers.ErrUnauthenticated
	}
	return s.current(account)
}

// current returns the account, unless its days are over.
func (s *Service) current(account Account) (Account, error) {
	if account.Expired(s.now()) {
		return Account{}, registryusers.ErrUnauthenticated
	}
	return account, nil
}

// RefreshToken returns a token that stands for the account's secret, at one
// service, for as long as the account has that secret. Nothing of it is stored.
func (s *Service) RefreshToken(account Account, service string) registryusers.Secret {
	payload := fmt.Sprintf("%d.%d", account.ID, account.SecretVersion)
	return registryusers.NewSecret(payload + "." + s.refreshMAC(payload, service))
}

func (s *Service) refreshMAC(payload, service string) string {
	return base64.RawURLEncoding.EncodeToString(s.key.mac("refresh token", payload+"\x00"+service))
}

// Refresh returns the account, as it is now, of a refresh token.
// ErrUnauthenticated, as for [Service.Current], or for a token of another service.
func (s *Service) Refresh(ctx context.Context, token registryusers.Secret, service string) (Account, error) {
	text := token.Reveal()
	i := strings.LastIndexByte(text, '.')
	if i < 0 || subtle.ConstantTimeCompare([]byte(text[i+1:]), []byte(s.refreshMAC(text[:i], service))) != 1 {
		return Account{}, registryusers.ErrUnauthenticated
	}
	id, version, _ := strings.Cut(text[:i], ".")
	userID, err1 := strconv.ParseInt(id, 10, 64)
	secretVersion, err2 := strconv.ParseInt(version, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return Account{}, registryusers.ErrUnauthenticated
	}
	return s.Current(ctx, userID, secretVersion)
}

// verdicts remembers which chosen secrets were right, so that a client which
// logs in for every layer costs one argon2id. What it keeps is keyed by a
// process-random key over the stored hash and the secret: a changed row misses
// by itself, and a memory dump tells no secret.
type verdicts struct {
	secret [32]byte
	mu     sync.Mutex
	until  map[[sha256.Size]byte]time.Time
}

const (
	verdictLifetime = 5 * time.Minute
	maxVerdicts     = 1024
)

func newVerdicts() *verdicts {
	v := &verdicts{until: make(map[[sha256.Size]byte]time.Time)}
	_, _ = rand.Read(v.secret[:])
	return v
}

func (v *verdicts) key(hash, secret string) (key [sha256.Size]byte) {
	h := hmac.New(sha256.New, v.secret[:])
	h.Write([]byte(hash + "\x00" + secret))
	h.Sum(key[:0])
	return key
}

func (v *verdicts) has(key [sha256.Size]byte, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return now.Before(v.until[key])
}

func (v *verdicts) add(key [sha256.Size]byte, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	bound(v.until, maxVerdicts, func(until time.Time) bool { return !now.Before(until) })
	v.until[key] = now.Add(verdictLifetime)
}

// LimitError refuses a login because too many failed before. It is a
// [registryusers.ErrTooManyRequests].
type LimitError struct{ RetryAfter time.Duration }

func (e *LimitError) Error() string { return "too many failed logins" }
func (e *LimitError) Unwrap() error { return registryusers.ErrTooManyRequests }

// failures counts failed logins: for a name from an address, in whatever form
// the name was given, and for an address.
type failures struct {
	mu     sync.Mutex
	counts map[failureKey]failureCount
}

// failureKey is what a count is of. Failures with a name count under it with
// the namespace that it was meant in, under it alone, and under neither.
type failureKey struct {
	name, namespace, from string
	width                 width
}

// width says how much of a key counts.
type width int

const (
	asMeant    width = iota // all of it
	anyMeaning              // not the namespace
	anyName                 // the address alone
)

type failureCount struct {
	n   int
	end time.Time // of the time that is counted
}

const (
	failureWindow      = 5 * time.Minute
	maxFailures        = 10  // for a name from an address
	maxAddressFailures = 100 // for an address
	maxFailureCounts   = 10_000
	maxFailureText     = 100 // bytes kept of a name; longer ones share a count
)

func newFailures() *failures { return &failures{counts: make(map[failureKey]failureCount)} }

// widen returns the three counts that a failure is in.
func (k failureKey) widen() (meant, name, address failureKey) {
	keep := func(text string) string { return strings.Clone(text[:min(len(text), maxFailureText)]) }
	k.name, k.namespace = keep(k.name), keep(k.namespace)
	return k, failureKey{name: k.name, from: k.from, width: anyMeaning}, failureKey{from: k.from, width: anyName}
}

func (f *failures) check(key failureKey, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, name, address := key.widen()
	for key, most := range map[failureKey]int{name: maxFailures, address: maxAddressFailures} {
		if count := f.counts[key]; count.n >= most && now.Before(count.end) {
			return &LimitError{RetryAfter: count.end.Sub(now)}
		}
	}
	return nil
}

func (f *failures) add(key failureKey, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	meant, name, address := key.widen()
	for _, key := range []failureKey{meant, name, address} {
		count := f.counts[key]
		if !now.Before(count.end) {
			bound(f.counts, maxFailureCounts, func(c failureCount) bool { return !now.Before(c.end) })
			count = failureCount{end: now.Add(failureWindow)}
		}
		count.n++
		f.counts[key] = count
	}
}

// forget takes back, after a success, the failures of the same name in the same
// namespace: they were slips, and no guesses at another's secret.
func (f *failures) forget(key failureKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	meant, name, _ := key.widen()
	// A count that began before the name's was not all in it.
	if count, slips := f.counts[name], f.counts[meant]; count.n > 0 && !slips.end.Before(count.end) {
		count.n = max(0, count.n-slips.n)
		f.counts[name] = count
	}
	delete(f.counts, meant)
}

// bound makes room in m, which is full: of what is over, and then of anything,
// so much that it is not called again soon.
func bound[K comparable, V any](m map[K]V, most int, over func(V) bool) {
	if len(m) < most {
		return
	}
	for key, value := range m {
		if over(value) {
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
