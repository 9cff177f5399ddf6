package accounts

// DeriveKey returns a key of 32 bytes for one purpose, derived from the server
// key: every process with the same server key gets the same bytes, and keys for
// different purposes tell nothing about each other or about the server key.
func (s *Service) DeriveKey(purpose string) []byte { return s.key.mac("derived key", purpose) }
