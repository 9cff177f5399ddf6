package accounts

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
)

// accepting is a store that accepts every user.
type accepting struct{ Store }

func (accepting) Registry(context.Context, RegistryRef) (Registry, error) { return Registry{}, nil }

func (accepting) CreateUser(_ context.Context, _ RegistryRef, u User, _ *IdempotencyRecord) (User, error) {
	return u, nil
}

// occupy takes all slots, as if that many secrets were being hashed, until empty
// is called.
func (h *hashSlots) occupy(t *testing.T) (empty func()) {
	t.Helper()
	var releases []func()
	for range h.unused() {
		release, err := h.acquire(t.Context(), "the test", 0)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	return func() {
		for _, release := range releases {
			release()
		}
	}
}

// unused returns how many slots are free.
func (h *hashSlots) unused() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.free
}

// length returns how many callers wait.
func (h *hashSlots) length() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting.waiters)
}

func TestHashingWaitsItsTurnAndEndsWithItsContext(t *testing.T) {
	s := New(accepting{}, NewServerKey("k", [32]byte{}), nil)
	if got, want := s.logins.unused(), min(runtime.GOMAXPROCS(0), 2); got != want || s.creates.unused() != 1 {
		t.Fatalf("%d argon2ids of logins and %d of creates may run at a time; want %d and 1", got, s.creates.unused(), want)
	}
	empty := s.creates.occupy(t)
	create := func(ctx context.Context, custom string) (CreatedUser, error) {
		return s.create(ctx, APIKey{}, RegistryRef{}, User{}, registryusers.NewSecretText(custom), nil, nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := create(ctx, "custom")
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, registryusers.ErrUnavailable) {
		t.Fatalf("a hash that waits, its context canceled: %v; want %v and %v: nothing is done", err, context.Canceled, registryusers.ErrUnavailable)
	}
	if u, err := create(t.Context(), ""); err != nil || len(u.Verifier.Index) == 0 || u.Secret.IsZero() {
		t.Errorf("a generated secret: %+v, %v; want one without waiting", u, err)
	}
	empty()
	u, err := create(t.Context(), "custom")
	if err != nil || !strings.HasPrefix(u.Verifier.Hash, "$argon2id$") {
		t.Errorf("with one place free: %+v, %v; want a hash", u, err)
	}
	if got := s.creates.unused(); got != 1 {
		t.Errorf("%d slots are free after the hash; want 1, its own given back", got)
	}
}

func TestManyHashesAtOnce(t *testing.T) {
	s := New(nil, NewServerKey("k", [32]byte{}), nil)
	hashes := make([]string, 4)
	var wg sync.WaitGroup
	for i := range hashes {
		wg.Go(func() {
			var err error
			if hashes[i], err = s.hash(t.Context(), APIKey{}, "the same"); err != nil {
				t.Errorf("hash %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, hash := range hashes {
		if seen[hash] {
			t.Errorf("%s came twice; want a salt for each", hash)
		}
		seen[hash] = true
	}
	if got := s.creates.unused(); got != 1 {
		t.Errorf("%d slots are free when all is done; want 1", got)
	}
}

func TestGeneratedSecretsAreSpreadEvenly(t *testing.T) {
	const n = 2000
	count := make(map[byte]int)
	first := make(map[byte]int)
	seen := make(map[string]bool)
	for range n {
		secret := generateSecret()
		if len(secret) != 32 {
			t.Fatalf("a generated secret has %d letters; want 32", len(secret))
		}
		if seen[secret] {
			t.Fatal("a secret was generated twice")
		}
		seen[secret] = true
		first[secret[0]]++
		for i := range len(secret) {
			count[secret[i]]++
		}
	}
	// Each letter's count has the mean 1032 and the deviation 32; beyond six of
	// them is one run in millions.
	for _, c := range []byte(alphabet) {
		if got, want := count[c], n*32/62; got < want-195 || got > want+195 {
			t.Errorf("%q came %d times in %d secrets; want about %d", c, got, n, want)
		}
		if first[c] == 0 {
			t.Errorf("%q was never the first letter of %d secrets", c, n)
		}
	}
	if len(count) != 62 {
		t.Errorf("%d different letters; want the 62 letters and digits", len(count))
	}
}

func TestGeneratedSecretsAreSpelledTheSameInEveryVersion(t *testing.T) {
	zero, ones := make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)
	small := func(n byte) []byte { return append(make([]byte, 31), n) }
	for _, test := range []struct {
		random []byte
		want   string
	}{
		{zero, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{small(1), "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{small(61), "9AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{small(62), "ABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{append([]byte{0x80}, make([]byte, 31)...), "g4QEdr5hWBFG731nDnpKEYvRvIYwfKkf"},
		{ones, "BzhI6Y1FtCKM4xtRHQVVIwgjgRwiBVKB"},
	} {
		if got := encodeSecret(test.random); got != test.want {
			t.Errorf("spell(%x) = %s; want %s", test.random, got, test.want)
		}
	}
}

// counting returns n bytes, from that one on.
func counting(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

// Another program derived the secret from the same key, salt and request.
func TestDerivedSecretIsStable(t *testing.T) {
	s := New(nil, NewServerKey("k", [32]byte(counting(0, 32))), nil)
	c := s.newCreateRequest(APIKey{ID: 7}, RegistryRef{ProjectID: 3, RegionID: 5, RegistryID: 1}, "a-key", NewUser{Name: "user1", Duration: 14, ReadOnly: true})
	for what, pair := range map[string][2]string{
		"the secret":                  {s.deriveSecret(c, counting(32, 32)), "NQzp4sdQPd5cH0srwpmHSbx9P1XCD9ab"},
		"the idempotency key's hash":  {hex.EncodeToString(c.key), "29791309943f4b2c8329119949696eb954dc34266dec4b531bc0dc7bfb2816e4"},
		"the hash of what was wanted": {hex.EncodeToString(c.hash), "d1fde2c3d5bf11980574a6355ec4405e40cd14429306299b0c603d279522e33e"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %s; want %s", what, pair[0], pair[1])
		}
	}
}

// Each input of a derived secret changes it, and the settings of the user
// do not: a repeat must be able to derive it again.
func TestDerivedSecretDependsOnEachInput(t *testing.T) {
	s := New(nil, NewServerKey("k", [32]byte{1}), nil)
	caller, ref, n := APIKey{ID: 7}, RegistryRef{ProjectID: 3, RegionID: 5, RegistryID: 1}, NewUser{Name: "u"}
	salt := counting(0, 32)
	secret := s.deriveSecret(s.newCreateRequest(caller, ref, "key", n), salt)
	if again := s.deriveSecret(s.newCreateRequest(APIKey{ID: 7, ProjectID: 3}, ref, "key", NewUser{Name: "v", Duration: 1, ReadOnly: true}), salt); again != secret {
		t.Errorf("the same key, salt and place derive %s and %s; want one secret", secret, again)
	}
	seen := map[string]string{secret: "the first"}
	for what, derived := range map[string]string{
		"another server key":      New(nil, NewServerKey("k", [32]byte{2}), nil).deriveSecret(s.newCreateRequest(caller, ref, "key", n), salt),
		"another salt":            s.deriveSecret(s.newCreateRequest(caller, ref, "key", n), counting(1, 32)),
		"another idempotency key": s.deriveSecret(s.newCreateRequest(caller, ref, "kez", n), salt),
		"another API key":         s.deriveSecret(s.newCreateRequest(APIKey{ID: 8}, ref, "key", n), salt),
		"another project":         s.deriveSecret(s.newCreateRequest(caller, RegistryRef{4, 5, 1}, "key", n), salt),
		"another region":          s.deriveSecret(s.newCreateRequest(caller, RegistryRef{3, 6, 1}, "key", n), salt),
		"another registry":        s.deriveSecret(s.newCreateRequest(caller, RegistryRef{3, 5, 2}, "key", n), salt),
		"digits moved":            s.deriveSecret(s.newCreateRequest(caller, RegistryRef{35, 1, 1}, "key", n), salt),
		"digits moved to the key": s.deriveSecret(s.newCreateRequest(caller, RegistryRef{3, 5, 0}, "1key", n), salt),
	} {
		if other, ok := seen[derived]; ok {
			t.Errorf("%s and %s derive the same secret", what, other)
		}
		seen[derived] = what
	}

	letter := make(map[rune]int)
	for i := range 200 {
		derived := s.deriveSecret(s.newCreateRequest(caller, ref, fmt.Sprint(i), n), salt)
		if len(derived) != 32 {
			t.Fatalf("a derived secret has %d letters; want 32", len(derived))
		}
		for _, c := range derived {
			letter[c]++
		}
	}
	for _, c := range alphabet {
		if letter[c] == 0 {
			t.Errorf("%q is in none of 200 derived secrets", c)
		}
		delete(letter, c)
	}
	if len(letter) > 0 {
		t.Errorf("derived secrets have %v besides letters and digits", letter)
	}
}

// Requests that differ have different hashes.
func TestEveryRequestHasAHashOfItsOwn(t *testing.T) {
	s := New(nil, NewServerKey("k", [32]byte{1}), nil)
	custom, other := registryusers.NewSecretText("custom"), registryusers.NewSecretText("other")
	request := func(n NewUser) string {
		return string(s.newCreateRequest(APIKey{ID: 7}, RegistryRef{3, 5, 1}, "key", n).hash)
	}
	if request(NewUser{Secret: custom}) != request(NewUser{Secret: other}) {
		t.Error("the hash of a request depends on its secret: a fast hash of that is then stored")
	}
	seen := make(map[string]NewUser)
	for _, name := range []string{"", "u", "1", "0", "true", "false", "1 true", "true u", " "} {
		for _, duration := range []int64{-1, 0, 1, 10, 365} {
			for _, n := range []NewUser{{}, {ReadOnly: true}, {Secret: custom}, {ReadOnly: true, Secret: custom}} {
				n.Name, n.Duration = name, duration
				if same, ok := seen[request(n)]; ok {
					t.Errorf("%+v and %+v have the same hash", n, same)
				}
				seen[request(n)] = n
			}
		}
	}
}

// recorded is a store that returns the same record and user for every create.
type recorded struct {
	Store
	record *IdempotencyRecord
	user   *User
}

func (s recorded) IdempotencyRecord(context.Context, []byte) (IdempotencyRecord, error) {
	return *s.record, nil
}

func (s recorded) Account(context.Context, int64) (Account, error) {
	return Account{User: *s.user}, nil
}

func TestRepeatOfACustomSecretWaitsItsTurn(t *testing.T) {
	var store recorded
	s := New(&store, NewServerKey("k", [32]byte{}), nil)
	hash, err := s.hash(t.Context(), APIKey{}, "custom")
	if err != nil {
		t.Fatal(err)
	}
	n := NewUser{Name: "u", Secret: registryusers.NewSecretText("custom")}
	r := s.newCreateRequest(APIKey{}, RegistryRef{}, "key", n).record(time.Now())
	store.record, store.user = &r, &User{Name: "u", SecretVersion: 1, Verifier: Verifier{Hash: hash}}

	empty := s.creates.occupy(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.CreateUser(ctx, APIKey{}, RegistryRef{}, "key", n)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("a repeat while others hash: %v; want it to wait", err)
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("a repeat that waits, its context canceled: %v; want %v", err, context.Canceled)
	}
	empty()
	if u, err := s.CreateUser(t.Context(), APIKey{}, RegistryRef{}, "key", n); err != nil || !u.Replayed {
		t.Errorf("with one slot free: %+v, %v; want the user", u, err)
	}
	if got := s.creates.unused(); got != 1 {
		t.Errorf("%d slots are free after the repeat; want 1, its own given back", got)
	}
}

// An unknown hash does not show whether the secret is right.
func TestRepeatWithAForeignHashIsAnError(t *testing.T) {
	var store recorded
	s := New(&store, NewServerKey("k", [32]byte{}), nil)
	n := NewUser{Name: "u", Secret: registryusers.NewSecretText("custom")}
	r := s.newCreateRequest(APIKey{}, RegistryRef{}, "key", n).record(time.Now())
	store.record, store.user = &r, &User{Name: "u", SecretVersion: 1, Verifier: Verifier{Hash: "$2b$10$x"}}
	u, err := s.CreateUser(t.Context(), APIKey{}, RegistryRef{}, "key", n)
	if err == nil || errors.Is(err, registryusers.ErrInvalid) || u.ID != 0 || !u.Secret.IsZero() {
		t.Errorf("CreateUser = %+v, %v; want an error that is not ErrInvalid, and no user", u, err)
	}
	if got := s.creates.unused(); got != 1 {
		t.Errorf("%d slots are free; want 1", got)
	}
}

// A repeat never returns a secret that does not log in.
func TestRepeatReturnsOnlyTheUsersOwnSecret(t *testing.T) {
	var store recorded
	s := New(&store, NewServerKey("k", [32]byte{}), nil)
	n := NewUser{Name: "u"}
	c := s.newCreateRequest(APIKey{}, RegistryRef{}, "key", n)
	r := c.record(time.Now())
	store.record = &r
	for _, test := range []struct {
		index []byte
		want  error
	}{
		{s.index(s.deriveSecret(c, r.Salt)), nil},
		{s.index("another"), registryusers.ErrUserChanged},
		{nil, registryusers.ErrUserChanged},
	} {
		store.user = &User{Name: "u", SecretVersion: 1, Verifier: Verifier{Index: test.index}}
		u, err := s.CreateUser(t.Context(), APIKey{}, RegistryRef{}, "key", n)
		if !errors.Is(err, test.want) || u.Secret.IsZero() != (err != nil) {
			t.Errorf("with the index %x: %+v, %v; want %v", test.index, u, err, test.want)
		}
	}
}

func TestServerKeySeparatesKeysAndPurposes(t *testing.T) {
	a, b := NewServerKey("a", [32]byte{1}), NewServerKey("b", [32]byte{2})
	seen := make(map[string]string)
	for name, mac := range map[string][]byte{
		"a":                a.mac("p", "data"),
		"another key":      b.mac("p", "data"),
		"another purpose":  a.mac("q", "data"),
		"other data":       a.mac("p", "datb"),
		"no data":          a.mac("p", ""),
		"a moved boundary": a.mac("pd", "ata"),
	} {
		if other, ok := seen[string(mac)]; ok || len(mac) != 32 {
			t.Errorf("%s: %x, of %d bytes, is also %q's; want 32 bytes of its own", name, mac, len(mac), other)
		}
		seen[string(mac)] = name
	}
}

func TestForeignHashIsAnErrorAndNoRefusal(t *testing.T) {
	for _, hash := range []string{"$2b$10$x", "$argon2id$v=19$m=1,t=1,p=1$YWJj$YWJj", hashPrefix, hashPrefix + "YWJj", hashPrefix + "!$YWJj", hashPrefix + "YWJj$!", hashPrefix + "a$b$c"} {
		if ok, err := verify(hash, "secret"); err == nil || ok || errors.Is(err, registryusers.ErrUnauthenticated) {
			t.Errorf("with the hash %q: %t, %v; want an error that is no refusal", hash, ok, err)
		}
	}
}
