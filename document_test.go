package registryusers_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// api/cloud_api.yaml is the vendor's document, byte for byte; what it lacks
// goes into api/overlay.yaml. Only "make spec" writes a newer one, and with it
// api/SOURCE.yaml, the record that the document is checked against here.
func TestTheVendoredDocumentIsUntouched(t *testing.T) {
	data, err := os.ReadFile("api/cloud_api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Info struct{ Version string } }
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile("api/SOURCE.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var source struct{ SHA256, Version, Vendored string }
	decoder := yaml.NewDecoder(bytes.NewReader(record))
	decoder.KnownFields(true)
	if err := decoder.Decode(&source); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != source.SHA256 {
		t.Errorf("sha256 of api/cloud_api.yaml: got %s, want %s, as api/SOURCE.yaml has it", got, source.SHA256)
	}
	if got := document.Info.Version; got == "" || got != source.Version {
		t.Errorf("version of api/cloud_api.yaml: got %q, want %q, as api/SOURCE.yaml has it", got, source.Version)
	}
	if _, err := time.Parse(time.DateOnly, source.Vendored); err != nil {
		t.Errorf("api/SOURCE.yaml: vendored: %v", err)
	}
}
