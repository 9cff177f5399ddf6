package accounts

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
)

// hashKey is a random key for hashes that only this process can compute.
type hashKey [32]byte

type digest [sha256.Size]byte

func newHashKey() (k hashKey) {
	_, _ = rand.Read(k[:]) // never fails: crypto/rand
	return k
}

// hash returns the keyed hash of texts. Their lengths are part of it, so "ab", "c"
// and "a", "bc" have different hashes.
func (k hashKey) hash(texts ...string) (d digest) {
	h := hmac.New(sha256.New, k[:])
	for _, text := range texts {
		h.Write([]byte(strconv.Itoa(len(text)) + ":"))
		h.Write([]byte(text))
	}
	h.Sum(d[:0])
	return d
}
