package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"testing"
)

// Verifiers that forget the padding would compute another thumbprint.
func TestKeyWhoseCoordinateIsShortIsNotUsed(t *testing.T) {
	for short, full := 0, 0; short < 3 || full < 3; {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := private.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		want := point[1] != 0 && point[33] != 0
		if full++; !want {
			full--
			short++
		}
		if got := hasFullCoordinates(private); got != want {
			t.Errorf("isFull of the point %x: got %t, want %t", point, got, want)
		}
	}
}

func TestAddedKeysHaveFullCoordinates(t *testing.T) {
	keys, err := OpenTokenKeys(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := keys.Add(); err != nil {
			t.Fatal(err)
		}
	}
	all, err := keys.all()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		if point, err := key.private.Key.(*ecdsa.PrivateKey).PublicKey.Bytes(); err != nil || len(point) != 65 || point[1] == 0 || point[33] == 0 {
			t.Errorf("the key %s has the point %x, %v; want full coordinates", key.private.KeyID, point, err)
		}
	}
}
