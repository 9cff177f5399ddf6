package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/atomicfile"
	"github.com/registryusers/registryusers/internal/datadir"
)

// devFile is the content of dev.json, which serve --dev writes for scripts and tests.
type devFile struct {
	URL        string `json:"url"`
	APIKey     string `json:"api_key"`
	ProjectID  int64  `json:"project_id"`
	RegionID   int64  `json:"region_id"`
	RegistryID int64  `json:"registry_id"`
}

const (
	devRegistry = "demo"
	devFileName = "dev.json"
)

// readDevFile reads dev.json.
func readDevFile(path string) (devFile, error) {
	var file devFile
	text, err := os.ReadFile(path)
	if err != nil {
		return file, err
	}
	if json.Unmarshal(text, &file) != nil {
		return file, fmt.Errorf("%s is damaged: remove it; 'registryusers serve --dev' writes a new one", path)
	}
	return file, nil
}

// dev creates a registry and an API key for trying the server, unless an earlier
// start created them, writes them to DIR/dev.json and prints how to use them.
// hasRegistry says that this server stores images.
func dev(ctx context.Context, dir *datadir.Dir, a *accounts.Service, base string, hasRegistry bool, stdout io.Writer) error {
	registry, err := findDevRegistry(ctx, a)
	if err != nil {
		return err
	}
	path := filepath.Join(dir.Path, devFileName)
	file, err := readDevFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	key, err := a.Authenticate(ctx, registryusers.NewSecret(file.APIKey))
	if errors.Is(err, registryusers.ErrUnauthenticated) || err == nil && !key.ValidFor(registry.ProjectID) {
		var token registryusers.Secret
		_, token, err = a.CreateAPIKey(ctx, registry.ProjectID)
		file.APIKey = token.Reveal()
	}
	if err != nil {
		return err
	}
	file.URL, file.ProjectID, file.RegionID, file.RegistryID = base, registry.ProjectID, registry.RegionID, registry.ID
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(data, '\n'), 0o600); err != nil {
		return err
	}
	text, err := devText(ctx, a, dir.Path, file, registry, hasRegistry)
	return printLine(stdout, err, text)
}

// devText returns command lines for trying the server. They can be pasted one after
// the other, in any directory, and use names that no user has.
func devText(ctx context.Context, a *accounts.Service, directory string, file devFile, registry accounts.Registry, hasRegistry bool) (string, error) {
	names, err := freeNames(ctx, a, registry.ID, 2)
	if err != nil {
		return "", err
	}
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("the path of this program is unknown: %w", err)
	}
	data, err := filepath.Abs(directory)
	if err != nil {
		return "", err
	}
	base, err := url.Parse(file.URL)
	if err != nil {
		return "", err
	}
	create := fmt.Sprintf("%s user create %s --data %s --days 14", quoted(program), names[1], quoted(data))
	if base.Scheme == "http" && !isLoopback(base.Hostname()) {
		create += " --insecure-http"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Serving %[1]s with a registry %[6]q. To create a user in it:

  curl -sS %[1]s/cloud/v1/registries/%[3]d/%[4]d/%[5]d/users -H 'Authorization: apikey %[2]s' -H 'Content-Type: application/json' -d '{"name":"%[7]s","duration":14}'

`, file.URL, file.APIKey, file.ProjectID, file.RegionID, file.RegistryID, registry.Name, names[0])
	if hasRegistry {
		image := base.Host + "/" + accounts.Namespace(registry.ProjectID, registry.RegionID, registry.Name) + "/hello-world"
		fmt.Fprintf(&b, `To create another with the command line, log in with its secret, and push an image:

  %s --secret-only | docker login %s -u %s --password-stdin
  docker pull hello-world
  docker tag hello-world %[4]s
  docker push %[4]s

`, create, base.Host, names[1], image)
	} else {
		fmt.Fprintf(&b, "To create another with the command line:\n\n  %s\n\n", create)
	}
	fmt.Fprintf(&b, "The address and the API key are in %s.", filepath.Join(data, devFileName))
	return b.String(), nil
}

// freeNames returns names that no user of the registry has: user1, user2, and so on.
func freeNames(ctx context.Context, service *accounts.Service, registryID int64, count int) ([]string, error) {
	const most = 100 // after that, random names save queries
	var names []string
	for i := 1; len(names) < count; i++ {
		name := fmt.Sprintf("user%d", i)
		if i > most {
			name = "user" + strings.ToLower(rand.Text()[:8])
		}
		_, err := service.User(ctx, registryID, name)
		if errors.Is(err, registryusers.ErrUserNotFound) {
			names = append(names, name)
		} else if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// quoted returns text quoted as one word for a shell.
func quoted(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[-0-9A-Za-z_./:@+]+$`)

func findDevRegistry(ctx context.Context, service *accounts.Service) (accounts.Registry, error) {
	registries, err := service.Registries(ctx)
	if err != nil {
		return accounts.Registry{}, err
	}
	if i := slices.IndexFunc(registries, func(r accounts.Registry) bool {
		return r.ProjectID == 1 && r.RegionID == 1 && r.Name == devRegistry
	}); i >= 0 {
		return registries[i], nil
	}
	return service.CreateRegistry(ctx, 1, 1, devRegistry)
}
