package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/datadir"
)

// devFile is what serve --dev leaves for scripts and tests.
type devFile struct {
	URL        string `json:"url"`
	APIKey     string `json:"api_key"`
	ProjectID  int64  `json:"project_id"`
	RegionID   int64  `json:"region_id"`
	RegistryID int64  `json:"registry_id"`
}

const devRegistry = "demo"

// dev makes a registry and an API key for a first try, unless an earlier start
// made them, writes them to DIR/dev.json and prints how to use them.
func dev(ctx context.Context, dir *datadir.Dir, url string, stdout io.Writer) error {
	registry, err := findDevRegistry(ctx, dir.Accounts)
	if err != nil {
		return err
	}
	path := filepath.Join(dir.Path, "dev.json")
	var file devFile
	data, err := os.ReadFile(path)
	if err == nil && json.Unmarshal(data, &file) != nil {
		return fmt.Errorf("%s is damaged: remove it, and --dev makes another", path)
	}
	key, err := dir.Accounts.Authenticate(ctx, registryusers.NewSecret(file.APIKey))
	if errors.Is(err, registryusers.ErrUnauthenticated) || err == nil && !key.May(registry.ProjectID) {
		var token registryusers.Secret
		_, token, err = dir.Accounts.CreateKey(ctx, registry.ProjectID)
		file.APIKey = token.Reveal()
	}
	if err != nil {
		return err
	}
	file.URL, file.ProjectID, file.RegionID, file.RegistryID = url, registry.ProjectID, registry.RegionID, registry.ID
	if data, err = json.MarshalIndent(file, "", "  "); err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(data, '\n'), 0o600); err != nil {
		return err
	}
	_, host, _ := strings.Cut(url, "://")
	_, err = fmt.Fprintf(stdout, `Serving %[1]s with a registry %[6]q. To create a user in it:

  curl -sS %[1]s/cloud/v1/registries/%[3]d/%[4]d/%[5]d/users -H 'Authorization: apikey %[2]s' -H 'Content-Type: application/json' -d '{"name":"user1","duration":14}'

Then, with its secret from the answer, into the registry:

  docker login %[8]s -u user1 -p SECRET
  docker push %[8]s/%[9]s/IMAGE

The first of these, with the command line:

  export GCORE_BASE_URL=%[1]s GCORE_API_KEY='%[2]s' GCORE_CLOUD_PROJECT_ID=%[3]d GCORE_CLOUD_REGION_ID=%[4]d
  go run ./cmd/registryusers user create user1 --days 14 --registry %[5]d

The same settings are in %[7]s.
`, url, file.APIKey, file.ProjectID, file.RegionID, file.RegistryID, devRegistry, path,
		host, accounts.Namespace(registry.ProjectID, registry.RegionID, registry.Name))
	return err
}

func findDevRegistry(ctx context.Context, service *accounts.Service) (accounts.Registry, error) {
	registries, err := service.Registries(ctx)
	if err != nil {
		return accounts.Registry{}, err
	}
	for _, r := range registries {
		if r.ProjectID == 1 && r.RegionID == 1 && r.Name == devRegistry {
			return r, nil
		}
	}
	return service.CreateRegistry(ctx, 1, 1, devRegistry)
}
