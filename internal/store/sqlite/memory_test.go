package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/storetest"
)

func openMemory(t *testing.T) *Store {
	t.Helper()
	s, err := OpenMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestStoreContractInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) accounts.Store { return openMemory(t) })
}

func TestStoresInMemoryAreSeparate(t *testing.T) {
	t.Chdir(t.TempDir())
	a, b := openMemory(t), openMemory(t)
	sample(t, a)
	if got, _, err := b.Registries(t.Context(), every); err != nil || len(got) != 0 {
		t.Errorf("the other store's registries = %v, %v; want none", got, err)
	}
	if files, err := os.ReadDir("."); err != nil || len(files) != 0 {
		t.Errorf("in the directory: %v, %v; want no file", files, err)
	}
}

// The connection is the database, so it must outlive canceled calls.
func TestStoreInMemoryOutlivesCanceledCalls(t *testing.T) {
	s := openMemory(t)
	r, ref, u := sample(t, s)
	var wg sync.WaitGroup
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			u := u
			u.Name, u.Verifier.Index = fmt.Sprint("u", i), fmt.Append(nil, "index ", i)
			record := &accounts.IdempotencyRecord{Key: fmt.Append(nil, "key ", i), Request: []byte("r"), Salt: []byte("s"), ExpiresAt: accounts.Never}
			_, _ = s.CreateUser(ctx, ref, u, record)
			_, _, _ = s.Users(ctx, r.Ref(), every)
		})
		wg.Go(cancel)
	}
	wg.Wait()
	if got, err := s.Registry(t.Context(), ref); err != nil || got != r {
		t.Fatalf("Registry = %+v, %v; want %+v", got, err, r)
	}
	u.Name, u.Verifier.Index = "last", []byte("last")
	if _, err := s.CreateUser(t.Context(), ref, u, nil); err != nil {
		t.Errorf("CreateUser: %v", err)
	}
	users, _, err := s.Users(t.Context(), r.Ref(), every)
	if err != nil || len(users) == 0 || len(users) > 201 {
		t.Errorf("%d users, %v; want 1 to 201", len(users), err)
	}
}

func TestClosedStoreInMemory(t *testing.T) {
	s, err := OpenMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, _, err := s.Registries(t.Context(), every); err == nil || errors.Is(err, registryusers.ErrNotFound) {
		t.Errorf("Registries after Close: %v; want an error of its own", err)
	}
}

func TestOpenMemoryWithACanceledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := OpenMemory(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenMemory = %v, %v; want %v", s, err, context.Canceled)
	}
}
