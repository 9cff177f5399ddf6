package registryusers_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"
)

// documentSum is the SHA-256 of api/cloud_api.yaml, which is the vendor's
// document, byte for byte. When the vendor has a newer one, put it there, run
// "make generate", follow the compiler and the tests, and write its sum here;
// nothing else may change the file: what it lacks goes into api/overlay.yaml.
const documentSum = "5dfd8139f5f284c76134757ab3a7b2bf7c16863d37ff21109dda0c8d7ab66f96"

func TestTheVendoredDocumentIsUntouched(t *testing.T) {
	data, err := os.ReadFile("api/cloud_api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != documentSum {
		t.Errorf("sha256 of api/cloud_api.yaml: got %s, want %s", got, documentSum)
	}
}
