package token

import (
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

// Keys are the keys that sign tokens, as the files token-*.pem of a directory:
// each a key of its own with a self-signed certificate. All of them verify; the
// one that the file token-signing names signs, or the newest where there is no
// such file. Changes are noticed at the next use. A key is rotated in three
// steps, so that outside registries can learn of it: [Keys.Add] publishes it,
// [Keys.Use] has it sign, and [Keys.Remove] removes the old one once its tokens
// have expired. It is safe for concurrent use.
type Keys struct {
	dir    string
	logger *slog.Logger

	mu       sync.Mutex
	read     time.Time       // when the directory was read
	modified time.Time       // of the directory, when it was read
	settled  bool            // it was read so long after, that a later change shows
	keys     []key           // in the order of their names, so of their age
	unusable map[string]bool // the files that were skipped, and logged
}

type key struct {
	id          string // its RFC 7638 thumbprint
	path        string
	signs       bool // one does
	private     *ecdsa.PrivateKey
	certificate *x509.Certificate
	signer      jose.Signer // kid in the header
	certified   jose.Signer // and x5c
}

// OpenKeys returns the keys of a directory, and creates the first if there is
// none. A damaged file is logged and skipped; if no other is left, that is an error.
func OpenKeys(dir string, logger *slog.Logger) (*Keys, error) {
	k := &Keys{dir: dir, logger: logger}
	keys, err := k.all()
	if err == nil && len(keys) == 0 {
		if _, err = k.create(); err == nil {
			_, err = k.all()
		}
	}
	return k, err
}

// Add makes a new key and returns its id. The key is published, and signs once
// [Keys.Use] says so.
func (k *Keys) Add() (id string, err error) {
	keys, err := k.all()
	if err != nil {
		return "", err
	}
	// Without the file, the new key would sign at once.
	if i := slices.IndexFunc(keys, func(key key) bool { return key.signs }); i >= 0 {
		if err := k.sign(keys[i].id); err != nil {
			return "", err
		}
	}
	return k.create()
}

// Use has a key sign from now on. An error of a [registryusers.ErrNotFound] says
// that there is no such key.
func (k *Keys) Use(id string) error {
	keys, err := k.all()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(key key) bool { return key.id == id }) {
		return errNoKey
	}
	return k.sign(id)
}

// SigningFile is the name of the file, beside the keys, that names the one that signs.
const SigningFile = "token-signing"

func (k *Keys) sign(id string) error {
	return atomicfile.Write(filepath.Join(k.dir, SigningFile), []byte(id+"\n"), 0o600)
}

type notFound string

func (e notFound) Error() string { return string(e) }
func (e notFound) Unwrap() error { return registryusers.ErrNotFound }

const errNoKey = notFound("there is no token key with this id: admin token-key ls lists them")

// create makes a new key.
func (k *Keys) create() (id string, err error) {
	var private *ecdsa.PrivateKey
	for private == nil || !isFull(private) || strings.HasPrefix(id, "-") { // which a command line takes for a flag
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

// isFull reports whether both coordinates fill their 32 bytes: verifiers that
// forget RFC 7518's padding (section 6.2.1.2) compute another thumbprint otherwise.
func isFull(private *ecdsa.PrivateKey) bool {
	point, err := private.PublicKey.Bytes() // 4, X, Y
	return err == nil && point[1] != 0 && point[33] != 0
}

func thumbprint(private *ecdsa.PrivateKey) (string, error) {
	hash, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(hash), err
}

// IDs returns the keys' ids, the oldest first, and that of the key that signs.
func (k *Keys) IDs() (ids []string, signing string, err error) {
	keys, err := k.all()
	for _, key := range keys {
		ids = append(ids, key.id)
		if key.signs {
			signing = key.id
		}
	}
	return ids, signing, err
}

// Remove removes a key: the tokens that it signed are refused from now on.
// [registryusers.ErrNotFound]; and [registryusers.ErrInvalid] for the key that signs.
func (k *Keys) Remove(id string) error {
	keys, err := k.all()
	if err != nil {
		return err
	}
	for _, key := range keys {
		switch {
		case key.id != id:
		case len(keys) == 1:
			return fmt.Errorf("%w: it is the only token key: add another first, and use that one", registryusers.ErrInvalid)
		case key.signs:
			return fmt.Errorf("%w: it is the token key that signs: have another one sign first, with admin token-key use ID", registryusers.ErrInvalid)
		default:
			return atomicfile.Remove(key.path)
		}
	}
	return errNoKey
}

// clockTick is more than the step of a file system's clock: two changes within
// one look like one.
const clockTick = 100 * time.Millisecond

// retryUnusable is how long a skipped file is left alone: one that is written
// anew in its place does not change the directory.
const retryUnusable = time.Second

// all returns the keys, read again if the directory has changed.
func (k *Keys) all() ([]key, error) {
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
	settled := read.Sub(info.ModTime()) > clockTick
	entries, err := os.ReadDir(k.dir) // by name
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	keys := make([]key, 0, len(entries))
	unusable := make(map[string]bool)
	var failure error // of the last one that was skipped
	for _, entry := range entries {
		if !IsKeyFile(entry.Name()) {
			continue
		}
		path := filepath.Join(k.dir, entry.Name())
		key, err := readKey(path)
		switch {
		case err == nil:
			keys = append(keys, key)
		case errors.Is(err, fs.ErrNotExist): // it was removed meanwhile
		case errors.Is(err, errDamaged), errors.Is(err, fs.ErrPermission):
			if !k.unusable[path] {
				k.logger.Error("a token key cannot be used: tokens that it signed are refused", "file", path, "error", err)
			}
			unusable[path], failure = true, err
		default:
			// Perhaps for a moment, as when too many files are open: what was read
			// before is kept.
			for _, kept := range k.keys {
				if kept.path == path {
					kept.signs = false
					keys = append(keys, kept)
				}
			}
			unusable[path], failure = true, err
			if !k.unusable[path] {
				k.logger.Error("a token key cannot be read", "file", path, "error", err)
			}
		}
	}
	k.unusable = unusable
	if len(keys) == 0 && failure != nil {
		k.settled = false
		paths := slices.Sorted(maps.Keys(unusable))
		return nil, fmt.Errorf("there is no usable token key; %s: %w", strings.Join(paths, ", "), failure)
	}
	signing, err := os.ReadFile(filepath.Join(k.dir, SigningFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	if len(keys) > 0 {
		named := slices.IndexFunc(keys, func(key key) bool { return key.id == strings.TrimSpace(string(signing)) })
		if named < 0 { // no file, or its key was removed by hand
			named = len(keys) - 1
		}
		keys[named].signs = true
	}
	k.keys, k.read, k.modified, k.settled = keys, read, info.ModTime(), settled
	return keys, nil
}

// IsKeyFile reports whether a file of this name in the directory of the keys is
// a token key.
func IsKeyFile(name string) bool {
	return strings.HasPrefix(name, "token-") && strings.HasSuffix(name, ".pem")
}

var errDamaged = errors.New("the file is damaged: restore it from a backup, or remove it; if no key is left, the next start creates one")

func readKey(path string) (key, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key{}, err
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return key{}, errDamaged
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if block, _ = pem.Decode(rest); err != nil || !ok || private.Curve != elliptic.P256() || block == nil {
		return key{}, errDamaged
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !private.PublicKey.Equal(certificate.PublicKey) {
		return key{}, errDamaged
	}
	loaded := key{path: path, private: private, certificate: certificate}
	if loaded.id, err = thumbprint(private); err != nil {
		return key{}, err
	}
	signing := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: loaded.id}}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if loaded.signer, err = jose.NewSigner(signing, options); err != nil {
		return key{}, err
	}
	chain := []string{base64.StdEncoding.EncodeToString(certificate.Raw)}
	loaded.certified, err = jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5c", chain))
	return loaded, err
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517).
func (k *Keys) JWKS() (jose.JSONWebKeySet, error) {
	keys, err := k.all()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &key.private.PublicKey, KeyID: key.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set, err
}

// Certificates returns the keys' certificates in PEM: the bundle for a registry
// that verifies by the header x5c.
func (k *Keys) Certificates() ([]byte, error) {
	keys, err := k.all()
	var bundle []byte
	for _, key := range keys {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key.certificate.Raw})...)
	}
	return bundle, err
}
