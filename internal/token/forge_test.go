package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/testkit"
	"github.com/registryusers/registryusers/internal/token"
)

// The functions below make and read tokens without the library that the package uses.

var b64 = base64.RawURLEncoding

// segment returns a part of a token: 0 is the header, 1 the claims, 2 the signature.
func segment(t testing.TB, text string, i int) []byte {
	t.Helper()
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("the token %q has %d parts; want 3", text, len(parts))
	}
	part, err := b64.DecodeString(parts[i])
	if err != nil {
		t.Fatalf("part %d of the token %q: %v", i, text, err)
	}
	return part
}

// object returns a part of a token as JSON.
func object(t testing.TB, text string, i int) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(segment(t, text, i), &o); err != nil {
		t.Fatalf("part %d of the token %q: %v", i, text, err)
	}
	return o
}

// forge makes a token of any header and claims; sign gives the signature.
func forge(t testing.TB, header, claims map[string]any, sign func(input []byte) []byte) string {
	t.Helper()
	first, err1 := json.Marshal(header)
	second, err2 := json.Marshal(claims)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return forgeRaw(first, second, sign)
}

func forgeRaw(header, claims []byte, sign func(input []byte) []byte) string {
	input := b64.EncodeToString(header) + "." + b64.EncodeToString(claims)
	return input + "." + b64.EncodeToString(sign([]byte(input)))
}

// es256 signs according to RFC 7518, section 3.4.
func es256(t testing.TB, key *ecdsa.PrivateKey) func([]byte) []byte {
	return func(input []byte) []byte {
		hash := sha256.Sum256(input)
		r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
		if err != nil {
			t.Fatal(err)
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature
	}
}

// isSignedBy verifies a token's signature.
func isSignedBy(t testing.TB, text string, key *ecdsa.PublicKey) bool {
	t.Helper()
	signature := segment(t, text, 2)
	if len(signature) != 64 {
		return false
	}
	hash := sha256.Sum256([]byte(text[:strings.LastIndexByte(text, '.')]))
	return ecdsa.Verify(key, hash[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}

// jwk returns a public key as JSON Web Key, and its RFC 7638 thumbprint.
func jwk(t testing.TB, key *ecdsa.PublicKey) (fields map[string]any, thumbprint string) {
	t.Helper()
	point, err := key.Bytes() // 4, X, Y
	if err != nil {
		t.Fatal(err)
	}
	x, y := b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:])
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return map[string]any{"kty": "EC", "crv": "P-256", "x": x, "y": y}, b64.EncodeToString(sum[:])
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func removeKeys(t testing.TB, dir string) {
	t.Helper()
	for _, path := range testkit.TokenKeyFiles(t, dir) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// with returns a copy of an object with a field changed, or without it if value is nil.
func with(o map[string]any, name string, value any) map[string]any {
	o = maps.Clone(o)
	if o[name] = value; value == nil {
		delete(o, name)
	}
	return o
}

// idOf returns the id of the token in a response.
func idOf(body io.Reader, issuer *token.Issuer) (string, error) {
	var a tokenResponse
	if err := json.NewDecoder(body).Decode(&a); err != nil {
		return "", err
	}
	claims, err := issuer.Verify(a.Token)
	if err == nil && claims.ID == "" {
		err = errNoID
	}
	if err != nil {
		return "", err
	}
	return claims.ID, nil
}
