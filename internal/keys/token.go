package keys

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/atomicfile"
)

// TokenKeys holds the keys that sign tokens, from the files token-*.pem of a directory.
// Each file has a key and a self-signed certificate for it. All keys verify tokens.
// The key that the file token-signing names signs them, or the newest key if there
// is no such file. Changes of the files take effect at the next use.
//
// A key is rotated in three steps, so that other registries have time to fetch the
// new one: [TokenKeys.Add] publishes it, [TokenKeys.Use] makes it the key that signs, and
// [TokenKeys.Remove] removes the old one after its tokens have expired. TokenKeys is safe
// for concurrent use.
type TokenKeys struct {
	dir    string
	logger *slog.Logger

	mu       sync.Mutex
	read     time.Time       // when the directory was read
	modified time.Time       // of the directory, when it was read
	settled  bool            // read is so long after modified that a later change has another time
	keys     []tokenKey      // ordered by name, which is by age
	unusable map[string]bool // the files that were skipped, and logged
}

type tokenKey struct {
	path    string
	signs   bool            // true for one key
	private jose.JSONWebKey // with its certificate; its KeyID is its RFC 7638 thumbprint
}

// OpenTokenKeys returns the token keys of a directory, and creates a first key if there
// is none. It logs and skips a damaged file; if no usable file is left, it returns
// an error.
func OpenTokenKeys(dir string, logger *slog.Logger) (*TokenKeys, error) {
	k := &TokenKeys{dir: dir, logger: logger}
	keys, err := k.all()
	if err == nil && len(keys) == 0 {
		if _, err = k.create(); err == nil {
			_, err = k.all()
		}
	}
	return k, err
}

// Add creates a key and returns its id. The key is published, but signs only after
// [TokenKeys.Use].
func (k *TokenKeys) Add() (id string, err error) {
	_, signing, err := k.IDs()
	if err == nil && signing != "" { // without the file token-signing, the new key would sign at once
		err = k.sign(signing)
	}
	if err != nil {
		return "", err
	}
	return k.create()
}

// Use makes a key the one that signs from now on. If there is no such key, the
// error is [registryusers.ErrNotFound].
func (k *TokenKeys) Use(id string) error {
	if _, err := k.find(id); err != nil {
		return err
	}
	return k.sign(id)
}

// Remove removes a key: the tokens that it signed are refused from now on. The
// errors are [registryusers.ErrNotFound], and [registryusers.ErrInvalid] for the
// key that signs.
func (k *TokenKeys) Remove(id string) error {
	key, err := k.find(id)
	switch {
	case err != nil:
		return err
	case key.signs:
		return fmt.Errorf("%w: this is the only token key or the one that signs: add another one and make it sign first, with 'registryusers admin token-key add' and 'token-key use ID'", registryusers.ErrInvalid)
	}
	return atomicfile.Remove(key.path)
}

func (k *TokenKeys) sign(id string) error {
	return atomicfile.Write(filepath.Join(k.dir, signingName), []byte(id+"\n"), 0o600)
}

// find returns the key with the id.
func (k *TokenKeys) find(id string) (tokenKey, error) {
	keys, err := k.all()
	if err != nil {
		return tokenKey{}, err
	}
	if i := slices.IndexFunc(keys, func(key tokenKey) bool { return key.private.KeyID == id }); i >= 0 {
		return keys[i], nil
	}
	return tokenKey{}, fmt.Errorf("token key %w: 'registryusers admin token-key ls' lists the token keys", registryusers.ErrNotFound)
}

// create creates a key.
func (k *TokenKeys) create() (id string, err error) {
	var private *ecdsa.PrivateKey
	for private == nil || !hasFullCoordinates(private) || strings.HasPrefix(id, "-") { // a command line would take "-…" for a flag
		if private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return "", err
		}
		if id, err = thumbprint(private); err != nil {
			return "", err
		}
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetInt64(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "registryusers " + id},
		NotBefore:             now.Add(-time.Hour), // for clocks that are behind
		NotAfter:              now.AddDate(20, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true, // its own root
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
	return id, atomicfile.Create(filepath.Join(k.dir, fmt.Sprintf("token-%020d.pem", now.UnixNano())), text, 0o600)
}

// hasFullCoordinates reports whether both coordinates fill their 32 bytes. Otherwise verifiers
// without RFC 7518's padding (section 6.2.1.2) would compute another thumbprint.
func hasFullCoordinates(private *ecdsa.PrivateKey) bool {
	point, err := private.PublicKey.Bytes() // 4, X, Y
	return err == nil && point[1] != 0 && point[33] != 0
}

func thumbprint(private *ecdsa.PrivateKey) (string, error) {
	hash, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(hash), err
}

// IDs returns the ids of the keys, the oldest first, and the id of the one that
// signs.
func (k *TokenKeys) IDs() (ids []string, signing string, err error) {
	keys, err := k.all()
	for _, key := range keys {
		ids = append(ids, key.private.KeyID)
		if key.signs {
			signing = key.private.KeyID
		}
	}
	return ids, signing, err
}

// clockTick is longer than the resolution of a file system's clock, within which
// two changes have the same time.
const clockTick = 100 * time.Millisecond

// retryUnusable is after how long a skipped file is read again: a file that is
// repaired in place does not change the directory's time.
const retryUnusable = time.Second

// all returns the keys. It reads them again if the directory has changed.
func (k *TokenKeys) all() ([]tokenKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.dir)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	if k.settled && info.ModTime().Equal(k.modified) && (len(k.unusable) == 0 || time.Since(k.read) < retryUnusable) {
		return k.keys, nil
	}
	read := time.Now()
	keys, err := k.readAll()
	if err != nil {
		k.settled = false
		return nil, fmt.Errorf("token keys: %w", err)
	}
	k.keys, k.read, k.modified, k.settled = keys, read, info.ModTime(), read.Sub(info.ModTime()) > clockTick
	return keys, nil
}

// readAll reads the keys, and logs the files that cannot be read.
func (k *TokenKeys) readAll() ([]tokenKey, error) {
	entries, err := os.ReadDir(k.dir) // by name
	if err != nil {
		return nil, err
	}
	keys := make([]tokenKey, 0, len(entries))
	before := k.unusable
	k.unusable = make(map[string]bool)
	var failure error // of the last unusable file
	for _, entry := range entries {
		if !isTokenKey(entry.Name()) {
			continue
		}
		path := filepath.Join(k.dir, entry.Name())
		key, err := readKey(path)
		if errors.Is(err, fs.ErrNotExist) { // it has been removed since
			continue
		}
		if err != nil {
			// Another error than these may be temporary, such as too many open files:
			// the key that was read before stays in use.
			kept := -1
			if !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrPermission) {
				kept = slices.IndexFunc(k.keys, func(old tokenKey) bool { return old.path == path })
			}
			if !before[path] {
				k.logger.Error("a token key cannot be read; unless it is still in use, the tokens that it signed are refused", "file", path, "previous_key_in_use", kept >= 0, "error", err)
			}
			k.unusable[path], failure = true, err
			if kept < 0 {
				continue
			}
			key = k.keys[kept]
			key.signs = false
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 && failure != nil {
		return nil, fmt.Errorf("no file is usable; %s: %w", strings.Join(slices.Sorted(maps.Keys(k.unusable)), ", "), failure)
	}
	signing, err := os.ReadFile(filepath.Join(k.dir, signingName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	named := slices.IndexFunc(keys, func(key tokenKey) bool { return key.private.KeyID == strings.TrimSpace(string(signing)) })
	if named < 0 { // no such file, or its key was removed by hand
		named = len(keys) - 1
	}
	if named >= 0 {
		keys[named].signs = true
	}
	return keys, nil
}

// isTokenKey reports whether name is the file name of a token key.
func isTokenKey(name string) bool {
	return strings.HasPrefix(name, "token-") && strings.HasSuffix(name, ".pem")
}

var errDamaged = errors.New("the file is damaged: restore it from a backup, or remove it; if no key is left, the next start creates one")

func readKey(path string) (tokenKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return tokenKey{}, err
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return tokenKey{}, errDamaged
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if block, _ = pem.Decode(rest); err != nil || !ok || private.Curve != elliptic.P256() || block == nil {
		return tokenKey{}, errDamaged
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !private.PublicKey.Equal(certificate.PublicKey) {
		return tokenKey{}, errDamaged
	}
	id, err := thumbprint(private)
	return tokenKey{path: path, private: jose.JSONWebKey{Key: private, KeyID: id, Certificates: []*x509.Certificate{certificate}}}, err
}

// Signing returns the private key that signs tokens, with its certificate.
func (k *TokenKeys) Signing() (jose.JSONWebKey, error) {
	keys, err := k.all()
	if i := slices.IndexFunc(keys, func(key tokenKey) bool { return key.signs }); i >= 0 {
		return keys[i].private, nil
	}
	return jose.JSONWebKey{}, cmp.Or(err, errors.New("there is no token key"))
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517).
func (k *TokenKeys) JWKS() (jose.JSONWebKeySet, error) {
	keys, err := k.all()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.private.Public().Key, KeyID: key.private.KeyID, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set, err
}

// Certificates returns the keys' certificates in PEM: the root certificates for a
// registry that verifies tokens by the header x5c.
func (k *TokenKeys) Certificates() ([]byte, error) {
	keys, err := k.all()
	var bundle []byte
	for _, key := range keys {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key.private.Certificates[0].Raw})...)
	}
	return bundle, err
}
