package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/web"
)

const (
	// DevRegistry is the name of the registry that [App.Dev] creates.
	DevRegistry = "demo"
	// DevFileName is the name of the file in the data directory that App.Dev writes.
	DevFileName = "dev.json"
)

// DevFile is the content of dev.json, for scripts and tests.
type DevFile struct {
	URL        string `json:"url"`
	APIKey     string `json:"api_key"`
	ProjectID  int64  `json:"project_id"`
	RegionID   int64  `json:"region_id"`
	RegistryID int64  `json:"registry_id"`
}

// UsersURL returns the URL at which users are created.
func (f DevFile) UsersURL() string {
	return fmt.Sprintf("%s%s%d/%d/%d/users", f.URL, web.APIPrefix, f.ProjectID, f.RegionID, f.RegistryID)
}

// ReadDevFile reads dev.json. An error that says that there is no such file wraps
// [fs.ErrNotExist].
func ReadDevFile(path string) (DevFile, error) {
	var file DevFile
	text, err := os.ReadFile(path)
	if err != nil {
		return file, err
	}
	if json.Unmarshal(text, &file) != nil {
		return file, fmt.Errorf("%s is damaged: remove it; 'registryusers serve --dev' writes a new one", path)
	}
	return file, nil
}

// Dev creates a registry and an API key for trying the server, unless an earlier start
// created them, and writes them with the server's URL to dev.json.
func (a *App) Dev(ctx context.Context, url string) (DevFile, error) {
	registry, err := a.findDevRegistry(ctx)
	if err != nil {
		return DevFile{}, err
	}
	path := filepath.Join(a.dir.Path, DevFileName)
	file, err := ReadDevFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	key, err := a.Accounts.Authenticate(ctx, registryusers.NewSecret(file.APIKey))
	if errors.Is(err, registryusers.ErrUnauthenticated) || err == nil && !key.ValidFor(registry.ProjectID) {
		var token registryusers.Secret
		_, token, err = a.Accounts.CreateAPIKey(ctx, registry.ProjectID)
		file.APIKey = token.Reveal()
	}
	if err != nil {
		return file, err
	}
	file.URL, file.ProjectID, file.RegionID, file.RegistryID = url, registry.ProjectID, registry.RegionID, registry.ID
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return file, err
	}
	return file, atomicfile.Write(path, append(text, '\n'), 0o600)
}

func (a *App) findDevRegistry(ctx context.Context) (accounts.Registry, error) {
	registries, err := a.Accounts.Registries(ctx)
	if err != nil {
		return accounts.Registry{}, err
	}
	if i := slices.IndexFunc(registries, func(r accounts.Registry) bool {
		return r.ProjectID == 1 && r.RegionID == 1 && r.Name == DevRegistry
	}); i >= 0 {
		return registries[i], nil
	}
	return a.Accounts.CreateRegistry(ctx, accounts.Administrator, 1, 1, DevRegistry)
}
