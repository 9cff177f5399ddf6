// Package token implements the registry's token service, after the distribution
// project's token specification: it issues JSON Web Tokens, which list what their
// holder may do, to clients that log in, and verifies these tokens.
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

// Claims are the claims of a token.
type Claims struct {
	jwt.Claims
	Access []oci.Access `json:"access"`

	// UserID and Incarnation identify the account at each use of the token, even
	// if another user has the same id by then.
	UserID      int64                `json:"uid"`
	Incarnation accounts.Incarnation `json:"uin"`
}

// Allows reports whether the token allows an action on a repository.
func (c *Claims) Allows(repository, action string) bool {
	return slices.ContainsFunc(c.Access, func(a oci.Access) bool {
		return a.Type == oci.RepositoryType && a.Name == repository && slices.Contains(a.Actions, action)
	})
}

// Lifetime is how long a token is valid, unless its user expires earlier.
const Lifetime = 5 * time.Minute

// Keys are the keys of an [Issuer]. Each call returns the current keys.
type Keys interface {
	// Signing returns the private key that signs tokens, with its certificate.
	Signing() (jose.JSONWebKey, error)
	// JWKS returns the public keys that verify tokens.
	JWKS() (jose.JSONWebKeySet, error)
}

// Issuer signs and verifies the tokens of one service. It is safe for
// concurrent use.
type Issuer struct {
	Keys            Keys
	Service         string           // the tokens' audience, and their issuer
	Now             func() time.Time // the clock
	PutsCertificate bool             // put the certificate into the header (x5c)
}

// Sign returns a token for the account, and when the token expires: after
// [Lifetime], or with the account if that is earlier.
func (i *Issuer) Sign(account accounts.Account, access []oci.Access) (token string, issued, expires time.Time, err error) {
	key, err := i.Keys.Signing()
	if err != nil {
		return "", issued, expires, err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if i.PutsCertificate {
		options = options.WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(key.Certificates[0].Raw)})
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		return "", issued, expires, err
	}
	issued = i.Now().UTC().Truncate(time.Second)
	expires = issued.Add(Lifetime)
	if account.ExpiresAt.Before(expires) {
		expires = account.ExpiresAt.Truncate(time.Second)
	}
	payload, err := json.Marshal(Claims{
		Claims: jwt.Claims{
			Issuer:    i.Service,
			Subject:   account.FullName(),
			Audience:  jwt.Audience{i.Service},
			Expiry:    jwt.NewNumericDate(expires),
			NotBefore: jwt.NewNumericDate(issued),
			IssuedAt:  jwt.NewNumericDate(issued),
			ID:        rand.Text(),
		},
		Access:      access,
		UserID:      account.ID,
		Incarnation: account.Incarnation,
	})
	if err != nil {
		return "", issued, expires, err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", issued, expires, err
	}
	token, err = signed.CompactSerialize()
	return token, issued, expires, err
}

// denied says why a token is refused. It wraps [registryusers.ErrUnauthenticated].
type denied string

func (d denied) Error() string { return string(d) }
func (d denied) Unwrap() error { return registryusers.ErrUnauthenticated }

const errInvalid = denied("the token is not valid")

// ErrExpired says that a token was valid and has expired. It wraps
// [registryusers.ErrUnauthenticated].
const ErrExpired = denied("the token has expired")

// Leeway is how far the clocks of signers and verifiers may differ: a token is
// valid from this long before its nbf until this long after its exp.
const Leeway = time.Minute

// Verify returns the claims of a token that one of the keys signed for this
// service, and that is valid now, within [Leeway]. For an expired token it returns
// the claims and [ErrExpired]. Any other error wraps
// [registryusers.ErrUnauthenticated], or says that the keys cannot be read. No
// error quotes the token.
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
		return nil, denied("the token was issued for another service")
	case claims.Expiry == nil, claims.NotBefore == nil:
		return nil, errInvalid
	case now.Before(claims.NotBefore.Time().Add(-Leeway)):
		return nil, denied("the token is not valid yet")
	case !now.Before(claims.Expiry.Time().Add(Leeway)):
		return &claims, ErrExpired
	}
	return &claims, nil
}
