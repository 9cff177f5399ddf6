// Package token is the registry's token service: it gives who logs in a JSON
// Web Token that says what they may do, as the distribution project's token
// specification has it, and verifies such tokens.
package token

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/oci"
)

// Claims are what a token says.
type Claims struct {
	jwt.Claims
	Access []oci.Access `json:"access"`

	// UserID and Incarnation find the account again at each use, and no other
	// that has the id since.
	UserID      int64                `json:"uid"`
	Incarnation accounts.Incarnation `json:"uin"`
}

// Allows reports whether the token allows an action on a repository.
func (c *Claims) Allows(repository, action string) bool {
	return slices.ContainsFunc(c.Access, func(a oci.Access) bool {
		return a.Type == oci.RepositoryType && a.Name == repository && slices.Contains(a.Actions, action)
	})
}

// Lifetime is how long a token lasts, if its user does.
const Lifetime = 5 * time.Minute

// Keys are the keys of an [Issuer]. Each call returns them as they are now.
type Keys interface {
	// Signing returns the private key that signs, with its certificate.
	Signing() (jose.JSONWebKey, error)
	// JWKS returns the public keys that verify.
	JWKS() (jose.JSONWebKeySet, error)
}

// Issuer signs and verifies the tokens of one service. It is safe for
// concurrent use.
type Issuer struct {
	Keys      Keys
	Service   string           // the tokens' audience, and their issuer
	Now       func() time.Time // the clock
	Certified bool             // put the certificate into the header (x5c)
}

// Sign returns a token for the account, and when it ends: after [Lifetime],
// and not after the account.
func (i *Issuer) Sign(account accounts.Account, access []oci.Access) (token string, issued, ends time.Time, err error) {
	key, err := i.Keys.Signing()
	if err != nil {
		return "", issued, ends, err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if i.Certified {
		options = options.WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(key.Certificates[0].Raw)})
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		return "", issued, ends, err
	}
	issued = i.Now().UTC().Truncate(time.Second)
	ends = issued.Add(Lifetime)
	if account.ExpiresAt.Before(ends) {
		ends = account.ExpiresAt.Truncate(time.Second)
	}
	payload, err := json.Marshal(Claims{
		Claims: jwt.Claims{
			Issuer:    i.Service,
			Subject:   account.FullName(),
			Audience:  jwt.Audience{i.Service},
			Expiry:    jwt.NewNumericDate(ends),
			NotBefore: jwt.NewNumericDate(issued),
			IssuedAt:  jwt.NewNumericDate(issued),
			ID:        rand.Text(),
		},
		Access:      access,
		UserID:      account.ID,
		Incarnation: account.Incarnation,
	})
	if err != nil {
		return "", issued, ends, err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", issued, ends, err
	}
	token, err = signed.CompactSerialize()
	return token, issued, ends, err
}

// denied is why a token is not good: a [registryusers.ErrUnauthenticated].
type denied string

func (d denied) Error() string { return string(d) }
func (d denied) Unwrap() error { return registryusers.ErrUnauthenticated }

const errInvalid = denied("the token is not valid")

// ErrExpired says that a token was valid and has expired. It is a
// [registryusers.ErrUnauthenticated].
const ErrExpired = denied("the token has expired")

// Leeway is how far apart the clocks of those who sign and those who verify may
// be: a token is valid so long before its nbf and after its exp.
const Leeway = time.Minute

// Verify returns what a token says, if one of the keys signed it, for this
// service, and it is valid now, within [Leeway]. For a token that has expired it
// returns the claims as well, with [ErrExpired]. Any other error is a
// [registryusers.ErrUnauthenticated], or says that the keys cannot be read; it does
// not quote the token.
func (i *Issuer) Verify(text string) (*Claims, error) {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(token.Headers) != 1 {
		return nil, errInvalid
	}
	set, err := i.Keys.JWKS()
	if err != nil {
		return nil, err
	}
	keys := set.Key(token.Headers[0].KeyID)
	if len(keys) == 0 {
		return nil, denied("the token is signed by an unknown key")
	}
	var claims Claims
	if token.Claims(keys[0].Key, &claims) != nil {
		return nil, errInvalid
	}
	now := i.Now()
	switch {
	case claims.Issuer != i.Service, len(claims.Audience) != 1, claims.Audience[0] != i.Service:
		return nil, denied("the token is of another service")
	case claims.Expiry == nil, claims.NotBefore == nil:
		return nil, errInvalid
	case now.Before(claims.NotBefore.Time().Add(-Leeway)):
		return nil, denied("the token is not valid yet")
	case !now.Before(claims.Expiry.Time().Add(Leeway)):
		return &claims, ErrExpired
	}
	return &claims, nil
}
