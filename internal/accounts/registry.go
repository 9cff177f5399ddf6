package accounts

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/registryusers/registryusers"
)

// RegistryRef refers to a registry by its id, within its project and region: the
// id of a registry in another project or region is not found.
type RegistryRef struct{ ProjectID, RegionID, RegistryID int64 }

// Registry is a container registry, which has users.
type Registry struct {
	ID        int64 // 1 or more
	ProjectID int64 // 1 or more
	RegionID  int64 // 1 or more
	Name      string
	CreatedAt time.Time
}

// registryName is the pattern of registry names in the vendor's API.
var registryName = regexp.MustCompile(`^[a-z][-a-z0-9]{0,22}[a-z0-9]$`)

// CreateRegistry creates a registry in a project. ErrInvalid, ErrForbidden,
// ErrRegistryExists.
func (s *Service) CreateRegistry(ctx context.Context, caller APIKey, projectID, regionID int64, name string) (Registry, error) {
	if projectID < 1 || regionID < 1 {
		return Registry{}, fmt.Errorf("%w: project and region must be 1 or more", registryusers.ErrInvalid)
	}
	if !registryName.MatchString(name) {
		return Registry{}, fmt.Errorf("%w: a registry's name must match %s", registryusers.ErrInvalid, registryName)
	}
	if err := caller.authorize(projectID); err != nil {
		return Registry{}, err
	}
	return s.store.CreateRegistry(ctx, Registry{ProjectID: projectID, RegionID: regionID, Name: name, CreatedAt: s.clock()}, nil)
}

// Ref returns what refers to the registry.
func (r Registry) Ref() RegistryRef { return RegistryRef{r.ProjectID, r.RegionID, r.ID} }

// Registries returns the registries of all projects, by id.
func (s *Service) Registries(ctx context.Context) ([]Registry, error) {
	return readPages(func(p Page) ([]Registry, int64, error) { return s.store.Registries(ctx, p) },
		func(r Registry) int64 { return r.ID })
}
