package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/testkit"
)

// asker returns a function that asks the handler for a token as a generated secret
// does: in process, one GET, the handlers only.
func asker(b *testing.B) func() {
	b.Helper()
	e := newEnv(b)
	e.Stop()
	e.AppOptions.Logger = quiet
	e.Open()
	e.Clock.Set(time.Now())
	hourAgo := time.Now().Add(-time.Hour) // as keys mostly are
	if err := os.Chtimes(e.Dir.Keys.Dir, hourAgo, hourAgo); err != nil {
		b.Fatal(err)
	}
	_, secret := e.create(b, e.demo, accounts.NewUser{Name: "ci", Duration: -1})
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/token?service="+service+"&scope=repository:1-1-demo/app:pull,push", nil)
	r.SetBasicAuth("ci", secret)
	return func() {
		w := httptest.NewRecorder()
		e.Config.Handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatalf("GET /token: got %d %s, want 200", w.Code, w.Body)
		}
	}
}

// signer returns a function that makes the one signature of a token.
func signer(b *testing.B) func() {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	hash := sha256.Sum256([]byte("a token"))
	return func() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, hash[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkToken(b *testing.B) {
	ask := asker(b)
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}

func BenchmarkSignature(b *testing.B) {
	sign := signer(b)
	b.ReportAllocs()
	for b.Loop() {
		sign()
	}
}

// BenchmarkTokenRatio says how many signatures a token costs: the medians of
// both, taken in turns so that what slows the machine slows both. At most 3 is
// the aim; the signature is what cannot be saved.
func BenchmarkTokenRatio(b *testing.B) {
	const rounds, each = 10, 400
	ask, sign := asker(b), signer(b)
	ratios := make([]float64, 0, rounds)
	var token, signature time.Duration
	for b.Loop() {
		for range rounds {
			signature = testkit.Median(each, sign)
			token = testkit.Median(each, ask)
			ratios = append(ratios, float64(token)/float64(signature))
		}
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-signature")
	b.ReportMetric(float64(token.Nanoseconds()), "p50-token-ns")
	b.ReportMetric(float64(signature.Nanoseconds()), "p50-signature-ns")
}
