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

// Account is a user and the namespace of its registry's images.
type Account struct {
	User
	// Namespace is the first element of its repositories' names,
	// "{project}-{region}-{registry's name}".
	Namespace string
}

// FullName returns the login name "NAMESPACE+NAME", which is unique among all users.
func (a Account) FullName() string { return a.Namespace + "+" + a.Name }

// The actions on a repository, as the registry's token protocol names them.
const (
	Pull   = "pull"
	Push   = "push"
	Delete = "delete"
)

// Actions returns the actions that the account may perform on a repository.
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

// Owns reports whether a repository belongs to the account's registry.
func (a Account) Owns(repository string) bool {
	rest, ok := strings.CutPrefix(repository, a.Namespace+"/")
	return ok && rest != ""
}

// Namespace returns the first element of the names of a registry's repositories.
func Namespace(projectID, regionID int64, name string) string {
	return strconv.FormatInt(projectID, 10) + "-" + strconv.FormatInt(regionID, 10) + "-" + name
}

// parseNamespace is the reverse of [Namespace]. For any other text it returns the
// project 0, which has no registries.
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
	if s.bareNames { // failures of a user's long and bare name count together
		counted = name
	}
	secret := attempt.Secret.Reveal()
	guess := s.throttle.guess(attempt.From, counted, meant, secret)
	return s.compareCandidate(ctx, candidate, guess, secret)
}

// candidate returns the only user that a name can refer to, or the zero Account if
// there is none.
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

// compareCandidate returns the candidate if secret is its custom secret and it has
// not expired. Without a candidate, or with one that has a generated secret or has
// expired, it costs the same as with a wrong secret.
func (s *Service) compareCandidate(ctx context.Context, candidate Account, g guess, secret string) (Account, error) {
	hash, expired := candidate.Verifier.Hash, candidate.Expired(s.now())
	verified := func() bool { return hash != "" && !expired && s.verified.has(hash, secret, s.now()) }
	if verified() {
		return candidate, nil
	}
	known, share, err := s.throttle.admit(ctx, g, s.now)
	if err != nil {
		return Account{}, err
	}
	slots := s.logins
	if known {
		slots = s.knownLogins
	}
	release, err := slots.acquire(ctx, g.network, share)
	if err != nil {
		return Account{}, err
	}
	defer release()
	// Other attempts may have failed, or succeeded, while this one waited.
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

// Current returns the current state of an account, for a client that logged in
// earlier as that incarnation of the user. ErrUnauthenticated: the user was
// deleted, has expired, or got another secret.
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

// current returns the account, or ErrUnauthenticated if it has expired.
func (s *Service) current(account Account) (Account, error) {
	if account.Expired(s.now()) {
		return Account{}, registryusers.ErrUnauthenticated
	}
	return account, nil
}

// RefreshToken returns a token that replaces the account's secret at one service,
// as long as the account has that secret. Nothing is stored.
func (s *Service) RefreshToken(account Account, service string) registryusers.Secret {
	incarnation, _ := account.Incarnation.MarshalText() // never fails
	payload := strconv.FormatInt(account.ID, 10) + "." + string(incarnation)
	return registryusers.NewSecret(payload + "." + s.refreshMAC(payload, service))
}

func (s *Service) refreshMAC(payload, service string) string {
	return base64.RawURLEncoding.EncodeToString(s.key.mac("refresh token", payload+"\x00"+service))
}

// Refresh returns the current state of the account of a refresh token.
// ErrUnauthenticated: as for [Service.Current], or the token is malformed or was
// issued for another service.
func (s *Service) Refresh(ctx context.Context, token registryusers.Secret, service string) (Account, error) {
	text := token.Reveal()
	i := strings.LastIndexByte(text, '.')
	if i < 0 || subtle.ConstantTimeCompare([]byte(text[i+1:]), []byte(s.refreshMAC(text[:i], service))) != 1 {
		return Account{}, registryusers.ErrUnauthenticated
	}
	id, rest, _ := strings.Cut(text[:i], ".")
	userID, err := strconv.ParseInt(id, 10, 64)
	var incarnation Incarnation
	if err != nil || incarnation.UnmarshalText([]byte(rest)) != nil { // an older version issued it
		return Account{}, registryusers.ErrUnauthenticated
	}
	return s.Current(ctx, userID, incarnation)
}
