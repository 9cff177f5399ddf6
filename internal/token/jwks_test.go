package token_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/testkit"
)

func TestPublicKeys(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	for range 2 {
		if _, err := e.Keys.Add(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/.well-known/jwks.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Fatalf("got %s, %v, %s, %v; want 200 and application/jwk-set+json", response.Status, response.Header, body, err)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatal(err)
	}
	files := testkit.TokenKeyFiles(t, e.Dir.Keys.Dir)
	if len(set.Keys) != 3 || len(files) != 3 {
		t.Fatalf("%s: %d keys of %d files; want 3", body, len(set.Keys), len(files))
	}
	for i, path := range files {
		private := testkit.PrivateKey(t, path)
		want, id := jwk(t, &private.PublicKey)
		want["kid"], want["alg"], want["use"] = id, "ES256", "sig"
		if !reflect.DeepEqual(set.Keys[i], want) { // and nothing more: no d
			t.Errorf("key %d:\n got %v\nwant %v", i, set.Keys[i], want)
		}
	}

	bundle, err := e.Keys.Certificates()
	if err != nil {
		t.Fatal(err)
	}
	for i, rest := 0, bundle; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if i != 3 || len(rest) != 0 {
				t.Errorf("the bundle has %d certificates and %q behind them; want 3", i, rest)
			}
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			t.Fatalf("%s %d: %v", block.Type, i, err)
		}
		if private := testkit.PrivateKey(t, files[i]); !private.PublicKey.Equal(certificate.PublicKey) {
			t.Errorf("certificate %d is not that of its key", i)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		for _, at := range []time.Time{time.Now(), time.Now().AddDate(10, 0, 0)} {
			if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				t.Errorf("certificate %d at %v: %v; want it valid under the bundle", i, at, err)
			}
		}
	}
}

func TestPublicKeysThatCannotBeRead(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	if err := os.WriteFile(filepath.Join(e.Dir.Keys.Dir, "token-0.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range testkit.TokenKeyFiles(t, e.Dir.Keys.Dir) {
		if filepath.Base(path) != "token-0.pem" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/.well-known/jwks.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := do(t, r)
	if a.status != http.StatusServiceUnavailable || len(a.Errors) != 1 || strings.Contains(a.body, e.Dir.Keys.Dir) {
		t.Errorf("got %d %s, want 503 and one error without a path", a.status, a.body)
	}
	var requests []string // without the keys' log line of the damage
	for line := range strings.Lines(e.Log.Take()) {
		if strings.Contains(line, `"msg":"request"`) {
			requests = append(requests, line)
		}
	}
	if len(requests) != 1 || !strings.Contains(requests[0], "token-0.pem") {
		t.Errorf("logged %q for the request; want one line that names the file", requests)
	}
}
