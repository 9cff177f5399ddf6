package accounts

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/registryusers/registryusers"
)

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
