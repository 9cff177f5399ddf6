package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/testkit"
	"github.com/registryusers/registryusers/internal/token"
)

const service = "test-registry"

var (
	quiet = slog.New(slog.DiscardHandler)
	noon  = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
)

// thumbprint returns a public key's RFC 7638 thumbprint.
func thumbprint(t *testing.T, key *ecdsa.PublicKey) string {
	t.Helper()
	point, err := key.Bytes() // 4, X, Y
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + b64.EncodeToString(point[1:33]) + `","y":"` + b64.EncodeToString(point[33:]) + `"}`))
	return b64.EncodeToString(sum[:])
}

func openKeys(t *testing.T, dir string) *keys.TokenKeys {
	t.Helper()
	keys, err := keys.OpenTokenKeys(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func ids(t *testing.T, keys *keys.TokenKeys) []string {
	t.Helper()
	ids, _, err := keys.IDs()
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestFirstStartMakesOneKey(t *testing.T) {
	dir := t.TempDir()
	first := ids(t, openKeys(t, dir))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || len(first) != 1 {
		t.Fatalf("files %v, ids %q, %v; want one key and no other file", entries, first, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode() != 0o600 || !strings.HasPrefix(info.Name(), "token-") || !strings.HasSuffix(info.Name(), ".pem") {
		t.Errorf("%s has the mode %v, %v; want token-*.pem with 0600", info.Name(), info.Mode(), err)
	}
	key := testkit.PrivateKey(t, filepath.Join(dir, info.Name()))
	if want := thumbprint(t, &key.PublicKey); first[0] != want {
		t.Errorf("the id is %s; want the thumbprint %s", first[0], want)
	}
	if again := ids(t, openKeys(t, dir)); !slices.Equal(again, first) {
		t.Errorf("opened again: %q; want %q", again, first)
	}
}

func TestDirectoryOfNoKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if _, err := keys.OpenTokenKeys(dir, quiet); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("OpenTokenKeys of a directory that is not there: %v; want an error that names %s", err, dir)
	}
	dir = t.TempDir() // other files are not touched
	for _, name := range []string{"server.json", ".new-123", "token-1.pem.bak", "other.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(t, openKeys(t, dir)); len(got) != 1 {
		t.Errorf("beside other files: %q; want one key", got)
	}
}

// Processes that open a new directory at the same time accept each other's tokens.
func TestKeysOpenedAtOnce(t *testing.T) {
	dir := t.TempDir()
	issuers, texts := make([]token.Issuer, 8), make([]string, 8)
	var wg sync.WaitGroup
	for i := range issuers {
		wg.Go(func() {
			keys, err := keys.OpenTokenKeys(dir, quiet)
			if err != nil {
				t.Errorf("open %d: %v", i, err)
				return
			}
			issuers[i] = token.Issuer{Keys: keys, Service: service, Now: func() time.Time { return noon }}
			if texts[i], _, _, err = issuers[i].Sign(accounts.Account{User: accounts.User{ExpiresAt: accounts.Never}}, nil); err != nil {
				t.Errorf("open %d: Sign: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i := range issuers {
		for j, text := range texts {
			if _, err := issuers[i].Verify(text); err != nil {
				t.Errorf("%d refuses the token of %d: %v", i, j, err)
			}
		}
	}
}

func TestKeysUsedAndChangedAtOnce(t *testing.T) {
	keys := openKeys(t, t.TempDir())
	issuer := token.Issuer{Keys: keys, Service: service, Now: func() time.Time { return noon }}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				// A token of a removed key is refused; others are valid.
				text, _, _, err := issuer.Sign(accounts.Account{User: accounts.User{ExpiresAt: accounts.Never}}, nil)
				if err != nil {
					t.Errorf("Sign: %v", err)
				} else if _, err = issuer.Verify(text); err != nil && !strings.Contains(err.Error(), "unknown key") {
					t.Errorf("Verify: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			id, err := keys.Add()
			if err != nil {
				t.Errorf("Add: %v", err)
			} else if err = keys.Remove(id); err != nil {
				t.Errorf("Remove: %v", err)
			}
		}
	})
	wg.Wait()
	if got := ids(t, keys); len(got) != 1 {
		t.Errorf("%d keys after twenty came and went; want 1", len(got))
	}
}

func wantKeys(t *testing.T, when string, keys *keys.TokenKeys, signing string, want ...string) {
	t.Helper()
	got, signs, err := keys.IDs()
	if err != nil || !slices.Equal(got, want) || signs != signing {
		t.Errorf("%s: got the keys %q, %s signs, %v; want %q, %s", when, got, signs, err, want, signing)
	}
}

// An outside registry must have a key before it signs.
func TestKeyIsPublishedBeforeItSigns(t *testing.T) {
	dir := t.TempDir()
	keys, elsewhere := openKeys(t, dir), openKeys(t, dir)
	first := ids(t, keys)[0]
	second, err := elsewhere.Add()
	if err != nil {
		t.Fatal(err)
	}
	third, err := elsewhere.Add()
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "after two were added", keys, first, first, second, third)
	if set, err := keys.JWKS(); err != nil || len(set.Keys) != 3 {
		t.Errorf("the published keys: got %d, %v; want 3", len(set.Keys), err)
	}
	for _, id := range []string{second, first, third, third} {
		if err := elsewhere.Use(id); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, "after one was put to use", keys, id, first, second, third)
	}
	for _, id := range []string{"", "unknown", "../" + first} {
		if err := elsewhere.Use(id); !errors.Is(err, registryusers.ErrNotFound) || !strings.Contains(err.Error(), "token key") {
			t.Errorf("Use(%q): %v; want %v, of a token key", id, err, registryusers.ErrNotFound)
		}
	}
	wantKeys(t, "after keys that do not exist", keys, third, first, second, third)
	wantKeys(t, "opened again", openKeys(t, dir), third, first, second, third)
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v; want nothing", left, err)
	}
}

// A directory of an earlier version has no file that names the signing key.
func TestNewestKeySignsByDefault(t *testing.T) {
	dir := t.TempDir()
	keys := openKeys(t, dir)
	second, err := keys.Add()
	if err != nil {
		t.Fatal(err)
	}
	first := ids(t, keys)[0]
	if err := os.Remove(filepath.Join(dir, "token-signing")); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "without the file", keys, second, first, second)
	third, err := keys.Add()
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "after a third was added", keys, second, first, second, third)
}

func TestRemoveKey(t *testing.T) {
	dir := t.TempDir()
	keys := openKeys(t, dir)
	first := ids(t, keys)[0]
	if err := keys.Remove(first); !errors.Is(err, registryusers.ErrInvalid) || !strings.Contains(err.Error(), "only") {
		t.Errorf("Remove of the only key: %v; want %v, and why", err, registryusers.ErrInvalid)
	}
	second, err := keys.Add()
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Remove(first); !errors.Is(err, registryusers.ErrInvalid) || !strings.Contains(err.Error(), "token-key use") {
		t.Errorf("Remove of the key that signs: %v; want %v, and the next step", err, registryusers.ErrInvalid)
	}
	for _, id := range []string{"", "unknown", "*", first + "x", "../" + first, filepath.Base(testkit.TokenKeyFiles(t, dir)[0])} {
		if err := keys.Remove(id); !errors.Is(err, registryusers.ErrNotFound) || !strings.Contains(err.Error(), "token key") {
			t.Errorf("Remove(%q): %v; want %v, of a token key", id, err, registryusers.ErrNotFound)
		}
	}
	if err := keys.Use(second); err != nil {
		t.Fatal(err)
	}
	if err := keys.Remove(first); err != nil {
		t.Fatal(err)
	}
	if err := keys.Remove(first); !errors.Is(err, registryusers.ErrNotFound) {
		t.Errorf("Remove of a removed key: %v; want %v", err, registryusers.ErrNotFound)
	}
	if err := keys.Remove(second); !errors.Is(err, registryusers.ErrInvalid) {
		t.Errorf("Remove of the last key: %v; want %v", err, registryusers.ErrInvalid)
	}
	wantKeys(t, "in the end", keys, second, second)
	if got := testkit.TokenKeyFiles(t, dir); len(got) != 1 {
		t.Errorf("files: %q; want one", got)
	}
}

// The clocks of many file systems are so coarse that two successive changes of a directory
// have the same time. The second must be noticed nevertheless: a removed key
// would stay valid for ever.
func TestChangesWithinOneTickOfTheFileSystemsClock(t *testing.T) {
	dir := t.TempDir()
	if _, err := openKeys(t, dir).Add(); err != nil {
		t.Fatal(err)
	}
	keys := openKeys(t, dir)
	before := ids(t, keys)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	stop := func() { // as if the clock had not ticked since
		t.Helper()
		if err := os.Chtimes(dir, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := openKeys(t, dir)
	if err := elsewhere.Use(before[1]); err != nil {
		t.Fatal(err)
	}
	stop()
	wantKeys(t, "after another was put to use", keys, before[1], before...)
	if err := elsewhere.Remove(before[0]); err != nil {
		t.Fatal(err)
	}
	stop()
	if got, want := ids(t, keys), before[1:]; !slices.Equal(got, want) {
		t.Errorf("after a key was removed: got %q, want %q", got, want)
	}
	added, err := elsewhere.Add()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if got, want := ids(t, keys), []string{before[1], added}; !slices.Equal(got, want) {
		t.Errorf("after a key was added: got %q, want %q", got, want)
	}
}

func TestDamagedKeyFile(t *testing.T) {
	dir := t.TempDir()
	openKeys(t, dir)
	valid, err := os.ReadFile(testkit.TokenKeyFiles(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	private, rest := pem.Decode(valid)
	certificate, _ := pem.Decode(rest)
	file := func(blocks ...*pem.Block) string {
		var text []byte
		for _, block := range blocks {
			text = append(text, pem.EncodeToMemory(block)...)
		}
		return string(text)
	}
	pkcs8 := func(key any) *pem.Block {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"empty":                     "",
		"garbage":                   "garbage\x00\xff",
		"cut":                       string(valid[:len(valid)/2]),
		"cut within the key":        string(valid[:60]),
		"no certificate":            file(private),
		"no key":                    file(certificate),
		"the other way round":       file(certificate, private),
		"another key's certificate": file(pkcs8(p256), certificate),
		"an invalid key":            file(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}, certificate),
		"an invalid certificate":    file(private, &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"a key of another curve":    file(pkcs8(p384), certificate),
		"an RSA key":                file(pkcs8(rsaKey), certificate),
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "token-00000000000000000001.pem")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := keys.OpenTokenKeys(dir, quiet)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("OpenTokenKeys with the file %q: %v; want an error that says that %s is damaged", text, err, path)
			}
			if got := testkit.TokenKeyFiles(t, dir); !slices.Equal(got, []string{path}) {
				t.Errorf("files: %q; want only the damaged one, unchanged", got)
			}
		})
	}
}

// A damaged file invalidates its own tokens, and not those of the valid file beside it.
func TestDamagedKeyFileBesideAValidOne(t *testing.T) {
	for _, name := range []string{"token-00000000000000000001.pem", "token-99999999999999999999.pem"} { // the last one would sign
		t.Run(name, func(t *testing.T) {
			dir, logged := t.TempDir(), new(testkit.Log)
			valid := ids(t, openKeys(t, dir))
			keys, err := keys.OpenTokenKeys(dir, slog.New(slog.NewTextHandler(logged, nil)))
			if err != nil {
				t.Fatal(err)
			}
			issuer := token.Issuer{Keys: keys, Service: service, Now: func() time.Time { return noon }}
			sign := func() string {
				t.Helper()
				text, _, _, err := issuer.Sign(accounts.Account{User: accounts.User{ExpiresAt: accounts.Never}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			before := sign()
			bad := filepath.Join(dir, name)
			if err := os.WriteFile(bad, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{before, sign()} {
				if _, err := issuer.Verify(text); err != nil {
					t.Errorf("Verify with a damaged file: %v", err)
				}
			}
			if got := ids(t, keys); !slices.Equal(got, valid) {
				t.Errorf("ids with a damaged file: %q; want %q", got, valid)
			}
			set, err := keys.JWKS()
			if err != nil || len(set.Keys) != 1 {
				t.Errorf("JWKS with a damaged file: %v, %v; want the valid key", set, err)
			}
			if bundle, err := keys.Certificates(); err != nil || strings.Count(string(bundle), "BEGIN") != 1 {
				t.Errorf("Certificates with a damaged file: %q, %v; want the valid key's", bundle, err)
			}
			if err := keys.Remove(valid[0]); !errors.Is(err, registryusers.ErrInvalid) {
				t.Errorf("Remove of the only usable key: %v; want %v", err, registryusers.ErrInvalid)
			}
			if got := logged.Take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, name) {
				t.Errorf("logged %q; want one error that names %s", got, name)
			}
			if again := ids(t, openKeys(t, dir)); !slices.Equal(again, valid) || len(testkit.TokenKeyFiles(t, dir)) != 2 {
				t.Errorf("opened again: %q; want %q, and no other key created", again, valid)
			}
		})
	}
}

// A directory may have any name, also one that is a pattern.
func TestDirectoryWhoseNameIsAPattern(t *testing.T) {
	name := "a[b]*?#% c"
	if runtime.GOOS == "windows" {
		name = "a[b]#% c" // the others cannot be in a name
	}
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	first := ids(t, openKeys(t, dir))
	if again := ids(t, openKeys(t, dir)); len(first) != 1 || !slices.Equal(again, first) {
		t.Errorf("ids: %q, and opened again %q; want one key", first, again)
	}
}

// A directory with a key's name does not stop logins.
func TestDirectoryWithAKeysName(t *testing.T) {
	dir, logged := t.TempDir(), new(testkit.Log)
	valid := ids(t, openKeys(t, dir))
	if err := os.Mkdir(filepath.Join(dir, "token-99999999999999999999.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	keys, err := keys.OpenTokenKeys(dir, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(t, keys); !slices.Equal(got, valid) {
		t.Errorf("ids beside a directory: %q; want %q", got, valid)
	}
	if got := logged.Take(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "token-99999999999999999999.pem") {
		t.Errorf("logged %q; want one error that names it", got)
	}
}
