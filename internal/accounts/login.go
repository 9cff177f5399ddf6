package accounts

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

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

// parseNamespace is the reverse of [Namespace]. What is not one is in the project
// 0, where no registry is.
func parseNamespace(namespace string) (projectID, regionID int64, name string) {
	parts := strings.SplitN(namespace, "-", 3)
	if len(parts) != 3 {
		return 0, 0, ""
	}
	projectID, err1 := strconv.ParseInt(parts[0], 10, 64)
	regionID, err2 := strconv.ParseInt(parts[1], 10, 64)
	if err1 != nil || err2 != nil || Namespace(projectID, regionID, parts[2]) != namespace {
		return 0, 0, ""
	}
	return projectID, regionID, parts[2]
}

// LoginAttempt is what a client presents to log in.
type LoginAttempt struct {
	Account    string // NAME, or NAMESPACE+NAME
	Secret     registryusers.Secret
	Repository string // the first one that is asked for, or ""
	From       string // the address it comes from, with or without a port, for the limits on failures
}

// ErrBareName refuses a name without a registry: it is an
// [registryusers.ErrUnauthenticated], whoever exists.
var ErrBareName = fmt.Errorf("%w: the name does not say which registry is meant", registryusers.ErrUnauthenticated)

// Login returns the account that the attempt's name and secret belong to.
//
// A generated secret is found by its index, and works with every form of the
// name. A custom secret is compared with that of one user at most: the long form
// of the name says whose registry is meant, or else the repository. A bare name
// without a repository means nobody, unless [Service.AllowBareNames] was called.
// Failures are limited, as loginThrottle says; generated secrets, and custom ones
// that were verified in the last minutes, are let in regardless.
//
// ErrUnauthenticated: there is no such user, or the secret is wrong, or the user
// has expired; the error does not say which, and each costs the same.
// [ErrBareName], at no cost. A [*LimitError]: too many failures. ErrUnavailable:
// too many logins wait, of addresses that have failed as little as this one.
func (s *Service) Login(ctx context.Context, attempt LoginAttempt) (Account, error) {
	namespace, name, named := strings.Cut(attempt.Account, "+")
	if !named {
		namespace, name = "", attempt.Account
	}
	account, err := s.store.AccountBySecret(ctx, s.index(attempt.Secret.Reveal()))
	if err == nil && account.Name == name && (!named || account.Namespace == namespace) {
		return s.current(account)
	}
	if err != nil && !isNotFound(err) {
		return Account{}, err
	}
	if !named && attempt.Repository != "" {
		namespace, _, _ = strings.Cut(attempt.Repository, "/")
		named = true
	}
	if !named && !s.bareNames {
		return Account{}, ErrBareName
	}
	candidate, err := s.candidate(ctx, namespace, name, named)
	if err != nil {
		return Account{}, err
	}
	meant := name
	if named {
		meant = namespace + "+" + name
	}
	counted := meant
	if s.bareNames { // a user's long and short name count together
		counted = name
	}
	secret := attempt.Secret.Reveal()
	guess := s.throttle.guess(attempt.From, counted, meant, secret)
	return s.compareCandidate(ctx, candidate, guess, secret)
}

// candidate returns the one user that a name may mean. The zero Account: there is
// none.
func (s *Service) candidate(ctx context.Context, namespace, name string, named bool) (account Account, err error) {
	if named {
		project, region, registry := parseNamespace(namespace)
		account, err = s.store.AccountByName(ctx, project, region, registry, name)
	} else {
		account, err = s.store.SoleAccountByName(ctx, name)
	}
	if isNotFound(err) {
		return Account{}, nil
	}
	return account, err
}

// compareCandidate returns the candidate if the attempt has its custom secret and
// it has not expired. No candidate, one with a generated secret and one that has
// expired cost what a wrong secret costs.
func (s *Service) compareCandidate(ctx context.Context, candidate Account, g guess, secret string) (Account, error) {
	hash, expired := candidate.Verifier.Hash, candidate.Expired(s.now())
	verified := func() bool { return hash != "" && !expired && s.verified.has(hash, secret, s.now()) }
	if verified() {
		return candidate, nil
	}
	if err := s.throttle.check(g, s.now()); err != nil {
		return Account{}, err
	}
	if err := s.throttle.delay(ctx, g, s.now()); err != nil {
		return Account{}, err
	}
	slots := s.logins
	if s.throttle.isKnown(g, s.now()) {
		slots = s.knownLogins
	}
	release, err := slots.acquire(ctx, g.network, s.throttle.share(g, s.now()))
	if err != nil {
		return Account{}, err
	}
	defer release()
	// Others may have failed, or logged in, while this one waited.
	if verified() {
		return candidate, nil
	}
	if err := s.throttle.check(g, s.now()); err != nil {
		return Account{}, err
	}
	ok, err := verify(hash, secret)
	if err != nil {
		return Account{}, err
	}
	if !ok || expired {
		s.throttle.failed(g, s.now())
		return Account{}, registryusers.ErrUnauthenticated
	}
	s.verified.add(hash, secret, s.now())
	s.throttle.succeeded(g, s.now())
	return s.current(candidate)
}

// Current returns the account as it is now, for a client that proved earlier to
// be that incarnation of the user. ErrUnauthenticated: the user is gone, has
// expired, or has another secret now.
func (s *Service) Current(ctx context.Context, userID int64, incarnation Incarnation) (Account, error) {
	account, err := s.store.Account(ctx, userID)
	if isNotFound(err) {
		return Account{}, registryusers.ErrUnauthenticated
	}
	if err != nil {
		return Account{}, err
	}
	if subtle.ConstantTimeCompare(account.Incarnation[:], incarnation[:]) != 1 {
		return Account{}, registryusers.ErrUnauthenticated
	}
	return s.current(account)
}

// current returns the account, unless it has expired.
func (s *Service) current(account Account) (Account, error) {
	if account.Expired(s.now()) {
		return Account{}, registryusers.ErrUnauthenticated
	}
	return account, nil
}

// RefreshToken returns a token that stands for the account's secret, at one
// service, for as long as the account has that secret. Nothing of it is stored.
func (s *Service) RefreshToken(account Account, service string) registryusers.Secret {
	incarnation, _ := account.Incarnation.MarshalText() // never fails
	payload := strconv.FormatInt(account.ID, 10) + "." + string(incarnation)
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
	id, rest, _ := strings.Cut(text[:i], ".")
	userID, err := strconv.ParseInt(id, 10, 64)
	var incarnation Incarnation
	if err != nil || incarnation.UnmarshalText([]byte(rest)) != nil { // of an older version
		return Account{}, registryusers.ErrUnauthenticated
	}
	return s.Current(ctx, userID, incarnation)
}
