package testkit

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

// TokenKeyFiles returns the files of the token keys in a directory, by name.
func TokenKeyFiles(t testing.TB, directory string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(directory, "token-*.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// PrivateKey reads the private key in the file of a token key.
func PrivateKey(t testing.TB, path string) *ecdsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s has no PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}
