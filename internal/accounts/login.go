package accounts

import (
	"context"
	"fmt"
	"strings"

	"github.com/registryusers/registryusers"
)

// LoginAttempt holds what a client sends to log in.
type LoginAttempt struct {
	Account    string // NAME, or NAMESPACE+NAME
	Secret     registryusers.Secret
	Repository string // the first repository that the client requests access to, or ""
	From       string // the client's address, with or without a port, for the limits on failures
}

// ErrBareName says that the login name does not name a registry. It wraps
// [registryusers.ErrUnauthenticated], and does not depend on which users exist.
var ErrBareName = fmt.Errorf("%w: the name does not say which registry is meant", registryusers.ErrUnauthenticated)

// Login returns the account with the attempt's name and secret.
//
// A generated secret is found by its index, and works with every form of the
// name. A custom secret is compared with that of one user at most: the long form
// of the name names the registry; otherwise the repository does. A bare name
// without a repository is refused, unless [Service.AllowBareNames] was called.
// Failures are limited, as loginThrottle describes. The limits do not apply to
// generated secrets, nor to custom secrets that were verified in the last minutes.
//
// ErrUnauthenticated: there is no such user, the secret is wrong, or the user has
// expired; the error does not say which, and each case costs the same.
// [ErrBareName], at no cost. A [*LimitError]: too many failures. ErrUnavailable:
// too many logins wait whose addresses have no more failures than this one's.
func (s *Service) Login(ctx context.Context, attempt LoginAttempt) (Account, error) {
	namespace, name, hasNamespace := strings.Cut(attempt.Account, "+")
	if !hasNamespace {
		namespace, name = "", attempt.Account
	}
	account, err := s.store.AccountBySecret(ctx, s.index(attempt.Secret.Reveal()))
	if err == nil && account.Name == name && (!hasNamespace || account.Namespace == namespace) {
		return s.current(account)
	}
	if err != nil && !isNotFound(err) {
		return Account{}, err
	}
	if !hasNamespace && attempt.Repository != "" {
		namespace, _, _ = strings.Cut(attempt.Repository, "/")
		hasNamespace = true
	}
	if !hasNamespace && !s.bareNames {
		return Account{}, ErrBareName
	}
	candidate, err := s.candidate(ctx, namespace, name, hasNamespace)
	if err != nil {
		return Account{}, err
	}
	loginName := name
	if hasNamespace {
		loginName = namespace + "+" + name
	}
	throttleName := loginName
	if s.bareNames { // failures of a user's long and bare name count together
		throttleName = name
	}
	secret := attempt.Secret.Reveal()
	a := s.throttle.attempt(attempt.From, throttleName, loginName, secret)
	return s.compareCandidate(ctx, candidate, a, secret)
}

// candidate returns the only user that a name can refer to, or the zero Account if
// there is none.
func (s *Service) candidate(ctx context.Context, namespace, name string, hasNamespace bool) (account Account, err error) {
	if hasNamespace {
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

// compareCandidate returns the candidate if secret is its custom secret and it has
// not expired. Without a candidate, or with one that has a generated secret or has
// expired, it costs the same as with a wrong secret.
func (s *Service) compareCandidate(ctx context.Context, candidate Account, a secretAttempt, secret string) (Account, error) {
	hash, expired := candidate.Verifier.Hash, candidate.Expired(s.now())
	verified := func() bool { return hash != "" && !expired && s.verified.has(hash, secret, s.now()) }
	if verified() {
		return candidate, nil
	}
	known, share, err := s.throttle.admit(ctx, a, s.now)
	if err != nil {
		return Account{}, err
	}
	slots := s.logins
	if known {
		slots = s.knownLogins
	}
	release, err := slots.acquire(ctx, a.network, share)
	if err != nil {
		return Account{}, err
	}
	defer release()
	// Other attempts may have failed, or succeeded, while this one waited.
	if verified() {
		return candidate, nil
	}
	if err := s.throttle.check(a, s.now()); err != nil {
		return Account{}, err
	}
	ok, err := verify(hash, secret)
	if err != nil {
		return Account{}, err
	}
	if !ok || expired {
		s.throttle.recordFailure(a, s.now())
		return Account{}, registryusers.ErrUnauthenticated
	}
	s.verified.add(hash, secret, s.now())
	s.throttle.succeeded(a, s.now())
	return s.current(candidate)
}

// current returns the account, or ErrUnauthenticated if it has expired.
func (s *Service) current(account Account) (Account, error) {
	if account.Expired(s.now()) {
		return Account{}, registryusers.ErrUnauthenticated
	}
	return account, nil
}

// AllowBareNames lets a user with a custom secret log in with the bare name, if
// it is the only such user of that name and all registries are in one project.
// Call it before the first login. ErrInvalid: there are registries in several
// projects.
func (s *Service) AllowBareNames(ctx context.Context) error {
	registries, err := s.Registries(ctx)
	if err != nil {
		return err
	}
	for _, r := range registries {
		if r.ProjectID != registries[0].ProjectID {
			return fmt.Errorf("%w: all registries must be in one project, but there are registries in the projects %d and %d",
				registryusers.ErrInvalid, registries[0].ProjectID, r.ProjectID)
		}
	}
	s.bareNames = true
	return nil
}
