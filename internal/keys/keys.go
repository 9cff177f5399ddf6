// Package keys stores the keys of a server as files of one directory: the server
// key, which the verifiers of generated secrets need, and the keys that sign
// tokens.
//
//	server.json    the server key
//	token-*.pem    the keys that sign tokens
//	token-signing  the id of the one that signs
//
// All have the mode 0600.
package keys

// The names in a directory of keys.
const (
	serverName  = "server.json"
	signingName = "token-signing"
)

// IsFile reports whether name is the name of one of these files.
func IsFile(name string) bool {
	return name == serverName || name == signingName || isTokenKey(name)
}
