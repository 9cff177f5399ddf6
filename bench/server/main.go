// Command server is registryusers serve with another store, to see what the
// store costs. It takes the flags that the benchmark gives to each binary.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/app"
	"github.com/registryusers/registryusers/internal/app/images"
	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/connections"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/ociregistry"
	"github.com/registryusers/registryusers/internal/web"
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
	if err := dev(ctx, dir); err != nil {
		return err
	}
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
		Config:   app.Config{Store: store, Logger: logger},
		Service:  "registryusers",
		Registry: &ociregistry.Options{Root: dir.Images()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server := a.Server(web.Options{})
	const most = 4096 // as many as registryusers serve allows by default
	limited := connections.Limit(listener, server, connections.Limits{Total: most, PerAddress: most / 4}, logger)
	if err := atomicfile.Write(addressFile, []byte(listener.Addr().String()), 0o600); err != nil {
		return err
	}
	return server.Serve(limited)
}

// dev makes what serve --dev makes, unless it is there.
func dev(ctx context.Context, dir *datadir.Dir) error {
	path := filepath.Join(dir.Path, "dev.json")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a := dir.Accounts()
	registry, err := a.CreateRegistry(ctx, 1, 1, "demo")
	if err != nil {
		return err
	}
	_, token, err := a.CreateAPIKey(ctx, 1)
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"api_key": token.Reveal(), "project_id": 1, "region_id": 1, "registry_id": registry.ID})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
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
