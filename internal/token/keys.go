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
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/registryusers/registryusers"
)

// Keys are the keys that sign tokens, as the files token-*.pem of a directory:
// each a key of its own with a self-signed certificate. All of them verify; the
// one that the file token-signing names signs, or the newest where there is no
// such file. Changes are noticed at the next use. A key is rotated in three
// steps, so that outside registries can learn of it: [Keys.Add] publishes it,
// [Keys.Use] has it sign, and [Keys.Remove] removes the old one once its tokens
// have expired. It is safe for concurrent use.
type Keys struct {
	dir string

	mu       sync.Mutex
	modified time.Time // of the directory, when it was read
	settled  bool      // it was read so long after, that a later change shows
	keys     []key     // in the order of their names, so of their age
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

// OpenKeys returns the keys of a directory, and makes the first if there is none.
func OpenKeys(dir string) (*Keys, error) {
	k := &Keys{dir: dir}
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
		if err := k.write(signingFile, []byte(keys[i].id+"\n")); err != nil {
			return "", err
		}
	}
	return k.create()
}

// Use has a key sign from now on. An error of a [registryusers.ErrKeyNotFound] says
// that there is no such key.
func (k *Keys) Use(id string) error {
	keys, err := k.all()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(key key) bool { return key.id == id }) {
		return errNoKey
	}
	return k.write(signingFile, []byte(id+"\n"))
}

// signingFile names the key that signs.
const signingFile = "token-signing"

type notFound string

func (e notFound) Error() string { return string(e) }
func (e notFound) Unwrap() error { return registryusers.ErrKeyNotFound }

const errNoKey = notFound("there is no token key with this id: admin token-key ls lists them")

// create makes a new key.
func (k *Keys) create() (id string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for err == nil && !isFull(private) {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return "", err
	}
	if id, err = thumbprint(private); err != nil {
		return "", err
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
	return id, k.write(fmt.Sprintf("token-%020d.pem", now.UnixNano()), text)
}

// write writes a file of the directory, whole or not at all, so that it survives
// power loss.
func (k *Keys) write(name string, content []byte) error {
	f, err := os.CreateTemp(k.dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(k.dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(k.dir)
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
// [registryusers.ErrKeyNotFound]; and [registryusers.ErrInvalid] for the key that signs.
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
			return errors.Join(os.Remove(key.path), syncDir(k.dir))
		}
	}
	return errNoKey
}

// clockTick is more than the step of a file system's clock: two changes within
// one look like one.
const clockTick = 100 * time.Millisecond

// all returns the keys, read anew if the directory has changed.
func (k *Keys) all() ([]key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.dir)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	if k.settled && info.ModTime().Equal(k.modified) {
		return k.keys, nil
	}
	settled := time.Since(info.ModTime()) > clockTick
	paths, err := filepath.Glob(filepath.Join(k.dir, "token-*.pem"))
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	slices.Sort(paths)
	keys := make([]key, 0, len(paths))
	for _, path := range paths {
		key, err := readKey(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("token key %s: %w", path, err)
		}
		keys = append(keys, key)
	}
	signing, err := os.ReadFile(filepath.Join(k.dir, signingFile))
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
	k.keys, k.modified, k.settled = keys, info.ModTime(), settled
	return keys, nil
}

var errDamaged = errors.New("the file is damaged: restore it from a backup, or remove it and restart, and another key is made if it was the last")

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
