package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/testkit"
	"github.com/registryusers/registryusers/internal/token"
)

func TestToken(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	e.Clock.Set(noon.Add(700 * time.Millisecond))
	u, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	key := testkit.PrivateKey(t, testkit.TokenKeyFiles(t, e.Dir.Keys.Dir)[0])
	_, id := jwk(t, &key.PublicKey)
	text := do(t, get(t, base, "ci", secret, scope("repository:1-1-demo/app:push,pull"))).Token

	wantHeader := map[string]any{"alg": "ES256", "typ": "JWT", "kid": id}
	if got := object(t, text, 0); !reflect.DeepEqual(got, wantHeader) {
		t.Errorf("header: got %v, want %v", got, wantHeader)
	}
	claims := object(t, text, 1)
	if jti, _ := claims["jti"].(string); len(jti) < 22 {
		t.Errorf("jti: got %v, want 128 random bits or more", claims["jti"])
	}
	delete(claims, "jti")
	start := float64(noon.Unix())
	want := map[string]any{
		"iss": service, "sub": "1-1-demo+ci", "iat": start, "nbf": start, "exp": start + 300,
		"access": []any{map[string]any{"type": "repository", "name": "1-1-demo/app", "actions": []any{"pull", "push"}}},
		"uid":    float64(u.ID), "uin": incarnation(t, u),
	}
	want["aud"] = service // RFC 7519 has one as a text or as an array of one
	if _, ok := claims["aud"].([]any); ok {
		want["aud"] = []any{service}
	}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims:\n got %v\nwant %v", claims, want)
	}
	if !isSignedBy(t, text, &key.PublicKey) {
		t.Error("the signature is not valid under the key's public part; want ES256")
	}
	if isSignedBy(t, text, &newKey(t).PublicKey) {
		t.Error("the signature is valid under any key")
	}
}

func TestCertifiedToken(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	e.Stop()
	e.AppOptions.TokenCertificate = true
	e.Open()
	text := do(t, get(t, base, "ci", secret, nil)).Token
	header := object(t, text, 0)
	chain, _ := header["x5c"].([]any)
	if len(chain) != 1 || header["alg"] != "ES256" || header["typ"] != "JWT" || header["kid"] == nil {
		t.Fatalf("header: got %v, want alg, typ, kid, and x5c with one certificate", header)
	}
	der, err := base64.StdEncoding.DecodeString(fmt.Sprint(chain[0]))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	key := testkit.PrivateKey(t, testkit.TokenKeyFiles(t, e.Dir.Keys.Dir)[0])
	if !key.PublicKey.Equal(certificate.PublicKey) || !isSignedBy(t, text, &key.PublicKey) {
		t.Error("the certificate in the header is not that of the key which signed")
	}
	for _, certified := range []bool{true, false} {
		e.issuer.PutsCertificate = certified
		if _, err := e.issuer.Verify(text); err != nil {
			t.Errorf("Verify, with certificates %t: %v; want the token to be valid", certified, err)
		}
	}
}

// hs256 signs with a secret, as in the attack that passes a public key for one.
func hs256(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(input)
		return h.Sum(nil)
	}
}

func unsigned([]byte) []byte { return nil }

func TestForgedTokens(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	valid := do(t, get(t, base, "ci", secret, scope("repository:1-1-demo/app:pull"))).Token
	header, claims := object(t, valid, 0), object(t, valid, 1)
	key, attacker := testkit.PrivateKey(t, testkit.TokenKeyFiles(t, e.Dir.Keys.Dir)[0]), newKey(t)
	ours, theirs := es256(t, key), es256(t, attacker)
	attackerJWK, attackerID := jwk(t, &attacker.PublicKey)
	publicJWK, _ := jwk(t, &key.PublicKey)
	publicDER, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwkText, err := json.Marshal(publicJWK)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := e.Keys.Certificates()
	if err != nil {
		t.Fatal(err)
	}
	certificate := []string{selfSigned(t, attacker)}
	parts := strings.Split(valid, ".")
	now := noon.Unix()

	// A token made by hand is valid as long as its claims are right.
	if got, err := e.issuer.Verify(forge(t, header, claims, ours)); err != nil || got.Subject != "1-1-demo+ci" || !got.Allows("1-1-demo/app", "pull") {
		t.Fatalf("a token made by hand: %+v, %v; want it valid", got, err)
	}
	tests := map[string]string{
		"alg none":                      forge(t, with(header, "alg", "none"), claims, unsigned),
		"alg None":                      forge(t, with(header, "alg", "None"), claims, unsigned),
		"alg none, no kid":              forge(t, with(with(header, "alg", "none"), "kid", nil), claims, unsigned),
		"alg none, with a signature":    forge(t, with(header, "alg", "none"), claims, ours),
		"alg empty":                     forge(t, with(header, "alg", ""), claims, unsigned),
		"no alg":                        forge(t, with(header, "alg", nil), claims, ours),
		"no signature":                  forge(t, header, claims, unsigned),
		"a signature of zeros":          forge(t, header, claims, func([]byte) []byte { return make([]byte, 64) }),
		"a signature in ASN.1":          forge(t, header, claims, asn1(t, key)),
		"HS256 with the public PEM":     forge(t, with(header, "alg", "HS256"), claims, hs256(publicPEM)),
		"HS256 with the public DER":     forge(t, with(header, "alg", "HS256"), claims, hs256(publicDER)),
		"HS256 with the point":          forge(t, with(header, "alg", "HS256"), claims, hs256(point)),
		"HS256 with X":                  forge(t, with(header, "alg", "HS256"), claims, hs256(point[1:33])),
		"HS256 with the JWK":            forge(t, with(header, "alg", "HS256"), claims, hs256(jwkText)),
		"HS256 with the certificates":   forge(t, with(header, "alg", "HS256"), claims, hs256(bundle)),
		"HS256 with nothing":            forge(t, with(header, "alg", "HS256"), claims, hs256(nil)),
		"ES256 by name, HS256 by deed":  forge(t, header, claims, hs256(publicPEM)),
		"ES384 by name":                 forge(t, with(header, "alg", "ES384"), claims, ours),
		"RS256 by name":                 forge(t, with(header, "alg", "RS256"), claims, ours),
		"an attacker's key":             forge(t, with(header, "kid", attackerID), claims, theirs),
		"an attacker's key as ours":     forge(t, header, claims, theirs),
		"no kid":                        forge(t, with(header, "kid", nil), claims, ours),
		"an empty kid":                  forge(t, with(header, "kid", ""), claims, ours),
		"a kid that is a path":          forge(t, with(header, "kid", "../../etc/passwd"), claims, theirs),
		"a kid that is a number":        forge(t, with(header, "kid", 1), claims, ours),
		"an embedded jwk":               forge(t, with(with(header, "jwk", attackerJWK), "kid", attackerID), claims, theirs),
		"an embedded jwk, our kid":      forge(t, with(header, "jwk", attackerJWK), claims, theirs),
		"an embedded jwk, no kid":       forge(t, with(with(header, "jwk", attackerJWK), "kid", nil), claims, theirs),
		"a jku":                         forge(t, with(header, "jku", base+"/.well-known/jwks.json"), claims, theirs),
		"an attacker's x5c":             forge(t, with(header, "x5c", certificate), claims, theirs),
		"an attacker's x5c, their kid":  forge(t, with(with(header, "x5c", certificate), "kid", attackerID), claims, theirs),
		"an attacker's x5c, no kid":     forge(t, with(with(header, "x5c", certificate), "kid", nil), claims, theirs),
		"a garbled x5c":                 forge(t, with(header, "x5c", []string{"?"}), claims, theirs),
		"a critical header":             forge(t, with(with(header, "crit", []string{"x"}), "x", 1), claims, ours),
		"of another issuer":             forge(t, header, with(claims, "iss", "other.example.com"), ours),
		"of no issuer":                  forge(t, header, with(claims, "iss", nil), ours),
		"for another audience":          forge(t, header, with(claims, "aud", "other.example.com"), ours),
		"for no audience":               forge(t, header, with(claims, "aud", nil), ours),
		"for an empty audience":         forge(t, header, with(claims, "aud", []string{}), ours),
		"for two audiences":             forge(t, header, with(claims, "aud", []string{service, "other.example.com"}), ours),
		"for two audiences, ours last":  forge(t, header, with(claims, "aud", []string{"other.example.com", service}), ours),
		"for ours twice":                forge(t, header, with(claims, "aud", []string{service, service}), ours),
		"of yesterday":                  forge(t, header, with(with(with(claims, "iat", now-86400), "nbf", now-86400), "exp", now-86100), ours),
		"that expired a minute ago":     forge(t, header, with(claims, "exp", now-60), ours),
		"that never ends":               forge(t, header, with(claims, "exp", nil), ours),
		"whose end is null":             forgeNull(t, header, claims, "exp", ours),
		"whose end is a text":           forge(t, header, with(claims, "exp", "tomorrow"), ours),
		"whose end is beyond numbers":   forge(t, header, with(claims, "exp", json.RawMessage("1e400")), ours),
		"of the future":                 forge(t, header, with(claims, "nbf", now+61), ours),
		"expired, of another service":   forge(t, header, with(with(claims, "exp", now-60), "aud", "other.example.com"), ours),
		"expired, of an attacker's key": forge(t, header, with(claims, "exp", now-60), theirs),
		"of no beginning":               forge(t, header, with(claims, "nbf", nil), ours),
		"JSON, flattened":               fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"JSON, general":                 fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2]),
		"JSON, two signatures":          fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%[2]q,"signature":%[3]q},{"protected":%[2]q,"signature":%[3]q}]}`, parts[1], parts[0], parts[2]),
		"changed claims":                parts[0] + "." + b64.EncodeToString([]byte(strings.Replace(string(segment(t, valid, 1)), "pull", "push", 1))) + "." + parts[2],
		"changed header":                b64.EncodeToString([]byte(`{"alg":"ES256","kid":"`+fmt.Sprint(header["kid"])+`"}`)) + "." + parts[1] + "." + parts[2],
		"claims that are null":          forgeRaw(segment(t, valid, 0), []byte("null"), ours),
		"claims that are no object":     forgeRaw(segment(t, valid, 0), []byte("[]"), ours),
		"claims that are no JSON":       forgeRaw(segment(t, valid, 0), []byte("\x00"), ours),
		"claims that are empty":         forgeRaw(segment(t, valid, 0), nil, ours),
		"a header that is null":         forgeRaw([]byte("null"), segment(t, valid, 1), ours),
		"truncated":                     valid[:len(valid)-1],
		"truncated to half":             valid[:len(valid)/2],
		"without its signature":         parts[0] + "." + parts[1],
		"with an empty signature":       parts[0] + "." + parts[1] + ".",
		"with a part more":              valid + ".",
		"with five parts":               valid + "." + parts[0] + "." + parts[1],
		"padded":                        valid + "==",
		"twice":                         valid + valid,
		"empty":                         "",
		"dots":                          "..",
		"garbage":                       "\x00\xff{}[]" + strings.Repeat("garbage", 20),
		"a megabyte":                    strings.Repeat("A", 1<<20),
		"a megabyte of dots":            strings.Repeat(".", 1<<20),
		"a refresh token":               e.Accounts.RefreshToken(accounts.Account{}, service).Reveal(),
		"the secret of the user":        secret,
		"a bearer header":               "Bearer " + valid,
		"alg in small letters":          forge(t, with(header, "alg", "es256"), claims, ours),
		"a signature of another's text": parts[0] + "." + parts[1] + "." + b64.EncodeToString(ours([]byte("another text"))),
	}
	for what, text := range tests {
		t.Run(what, func(t *testing.T) {
			got, err := e.issuer.Verify(text)
			if err == nil {
				t.Fatalf("Verify(%.200q): got %+v, want an error", text, got)
			}
			isExpired := what == "of yesterday" || what == "that expired a minute ago"
			if (got != nil) != isExpired || errors.Is(err, token.ErrExpired) != isExpired {
				t.Errorf("Verify(%.200q): got %+v and %v; want claims and ErrExpired: %t", text, got, err, isExpired)
			}
			if len(err.Error()) > 200 {
				t.Errorf("Verify: the error has %d letters: %.200s…", len(err.Error()), err)
			}
			for i := 0; i+12 <= len(text) && i < 4096; i++ {
				if strings.Contains(err.Error(), text[i:i+12]) {
					t.Errorf("Verify: %v; want an error that quotes nothing of the token", err)
					break
				}
			}
		})
	}
}

func asn1(t *testing.T, key *ecdsa.PrivateKey) func([]byte) []byte {
	return func(input []byte) []byte {
		hash := sha256.Sum256(input)
		signature, err := ecdsa.SignASN1(rand.Reader, key, hash[:])
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
}

func forgeNull(t *testing.T, header, claims map[string]any, name string, sign func([]byte) []byte) string {
	t.Helper()
	first, err1 := json.Marshal(header)
	claims = with(claims, name, json.RawMessage("null"))
	second, err2 := json.Marshal(claims)
	if err1 != nil || err2 != nil || !bytes.Contains(second, []byte(":null")) {
		t.Fatal(err1, err2)
	}
	return forgeRaw(first, second, sign)
}

// selfSigned returns a certificate for a key, in base64.
func selfSigned(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: service}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestTokenInTime(t *testing.T) {
	e := newEnv(t)
	text, issued, expires, err := e.issuer.Sign(accounts.Account{User: accounts.User{Name: "ci", ExpiresAt: accounts.Never}, Namespace: "1-1-demo"}, nil)
	if err != nil || !issued.Equal(noon) || !expires.Equal(noon.Add(5*time.Minute)) {
		t.Fatalf("Sign: from %v to %v, %v; want five minutes from %v", issued, expires, err, noon)
	}
	for _, test := range []struct {
		at   time.Duration
		want bool
	}{
		{-24 * time.Hour, false}, {-time.Minute - 1, false}, {-time.Minute, true}, {0, true},
		{6*time.Minute - 1, true}, {6 * time.Minute, false}, {24 * time.Hour, false},
	} {
		e.Clock.Set(noon.Add(test.at))
		if got, err := e.issuer.Verify(text); (err == nil) != test.want {
			t.Errorf("Verify %v after it was issued: %+v, %v; want it valid: %t", test.at, got, err, test.want)
		}
	}
}

func TestTokenOfAnAddedAndOfARemovedKey(t *testing.T) {
	e := newEnv(t)
	sign := func() (text, id string) {
		t.Helper()
		text, _, _, err := e.issuer.Sign(accounts.Account{User: accounts.User{ExpiresAt: accounts.Never}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return text, fmt.Sprint(object(t, text, 0)["kid"])
	}
	want := func(what, text string, valid bool) {
		t.Helper()
		if got, err := e.issuer.Verify(text); (err == nil) != valid {
			t.Errorf("%s: %+v, %v; want it valid: %t", what, got, err, valid)
		}
	}
	old, oldID := sign()
	elsewhere, err := keys.OpenTokenKeys(e.Dir.Keys.Dir, quiet) // another process
	if err != nil {
		t.Fatal(err)
	}
	newID, err := elsewhere.Add()
	if err != nil {
		t.Fatal(err)
	}
	if _, id := sign(); id != oldID {
		t.Errorf("after a key was added, signed by %s; want still %s", id, oldID)
	}
	if err := elsewhere.Use(newID); err != nil {
		t.Fatal(err)
	}
	text, id := sign()
	if id != newID {
		t.Errorf("after another key was put to use, signed by %s; want %s", id, newID)
	}
	want("a token of the old key, after another was put to use", old, true)
	want("a token of the added key", text, true)
	if err := elsewhere.Remove(oldID); err != nil {
		t.Fatal(err)
	}
	want("a token of the removed key", old, false)
	want("a token of the key that is left", text, true)
	if err := os.Remove(testkit.TokenKeyFiles(t, e.Dir.Keys.Dir)[0]); err != nil { // by hand, the one that signs
		t.Fatal(err)
	}
	want("a token of the only key, removed by hand", text, false)
}

func TestAllows(t *testing.T) {
	claims := token.Claims{Access: []oci.Access{
		rights("1-1-demo/app", "pull"),
		{Type: "registry", Name: "catalog", Actions: []string{"*"}},
		rights("1-1-demo/web", "pull", "push"),
		rights("1-1-demo/star", "*"),
	}}
	for _, test := range []struct {
		repository, action string
		want               bool
	}{
		{"1-1-demo/app", "pull", true},
		{"1-1-demo/app", "push", false},
		{"1-1-demo/web", "push", true},
		{"1-1-demo/web", "delete", false},
		{"1-1-demo/web/x", "pull", false},
		{"1-1-demo/APP", "pull", false},
		{"1-1-demo/star", "pull", false},
		{"catalog", "*", false},
		{"", "", false},
	} {
		if got := claims.Allows(test.repository, test.action); got != test.want {
			t.Errorf("Allows(%q, %q): got %t, want %t", test.repository, test.action, got, test.want)
		}
	}
	if (&token.Claims{}).Allows("1-1-demo/app", "pull") {
		t.Error("claims without access allow a pull")
	}
}

// incarnation returns the user's incarnation in the form of a token.
func incarnation(t *testing.T, u accounts.User) string {
	t.Helper()
	text, err := u.Incarnation.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
