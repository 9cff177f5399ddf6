package accounts

import (
	"crypto/hmac"
	"crypto/sha256"
)

// ServerKey is the key of the verifiers of generated secrets: without it, a copy of
// the database lets nobody log in. It is stored outside of the database. If it is
// lost, no generated secret works.
type ServerKey struct {
	ID    string
	bytes func() []byte // a function, so that nothing prints the key
}

// NewServerKey returns the server key with an id and 32 bytes from crypto/rand.
func NewServerKey(id string, key [32]byte) ServerKey {
	return ServerKey{id, func() []byte { return key[:] }}
}

// mac returns a keyed hash (HMAC-SHA-256) of data, which differs for each purpose.
func (k ServerKey) mac(purpose, data string) []byte {
	h := hmac.New(sha256.New, k.bytes())
	h.Write([]byte(purpose + "\x00" + data))
	return h.Sum(nil)
}

// DeriveKey derives a key of 32 bytes for one purpose from the server key. Every
// process with the same server key gets the same bytes. A derived key reveals
// nothing about the keys for other purposes or about the server key.
func (s *Service) DeriveKey(purpose string) []byte { return s.key.mac("derived key", purpose) }
