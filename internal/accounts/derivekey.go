package accounts

// DeriveKey derives a key of 32 bytes for one purpose from the server key. Every
// process with the same server key gets the same bytes. A derived key reveals
// nothing about the keys for other purposes or about the server key.
func (s *Service) DeriveKey(purpose string) []byte { return s.key.mac("derived key", purpose) }
