// Command server is registryusers serve with another store, to see what the
// store costs. It takes the flags that the benchmark gives to each binary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/app"
	"github.com/registryusers/registryusers/internal/app/images"
	"github.com/registryusers/registryusers/internal/datadir"
)

func main() {
	variant := flag.String("store", "", "nothing: creates are acknowledged and not stored; serial: each create is a commit of its own")
	data := flag.String("data", "", "data directory")
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	addressFile := flag.String("address-file", "", "file to write the address to")
	flag.Bool("dev", true, "make a registry and an API key, if there are none")
	flag.Parse()
	if err := serve(context.Background(), *variant, *data, *listen, *addressFile); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, variant, data, listen, addressFile string) (err error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	dir, err := datadir.Open(ctx, data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	var store accounts.Store
	switch variant {
	case "nothing":
		store = &nothing{Store: dir.Store}
	case "serial":
		store = &serial{Store: dir.Store}
	default:
		return fmt.Errorf("there is no store %q", variant)
	}
	a, err := images.Open(ctx, dir, images.Options{
		Config: app.Config{Logger: logger}, Store: store, Service: "registryusers", Images: true,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if _, err := a.Dev(ctx, ""); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	return a.Serve(ctx, listener, images.ServeOptions{AddressFile: addressFile})
}

// nothing acknowledges creates without storing them, and reads the API key once.
type nothing struct {
	accounts.Store
	key atomic.Pointer[accounts.APIKey] // there is but one
}

func (n *nothing) CreateUser(_ context.Context, at accounts.RegistryRef, u accounts.User, _ *accounts.IdempotencyRecord) (accounts.User, error) {
	u.RegistryID, u.ID = at.RegistryID, 1
	return u, nil
}

func (n *nothing) APIKey(ctx context.Context, id int64) (accounts.APIKey, error) {
	if key := n.key.Load(); key != nil {
		return *key, nil
	}
	key, err := n.Store.APIKey(ctx, id)
	if err == nil {
		n.key.Store(&key)
	}
	return key, err
}

// serial has each create wait for the commit of the one before.
type serial struct {
	accounts.Store
	mu sync.Mutex
}

func (s *serial) CreateUser(ctx context.Context, at accounts.RegistryRef, u accounts.User, r *accounts.IdempotencyRecord) (accounts.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Store.CreateUser(ctx, at, u, r)
}
