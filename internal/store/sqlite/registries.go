package sqlite

import (
	"context"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

var _ accounts.Store = (*Store)(nil)

// CreateRegistry implements [accounts.Store].
func (s *Store) CreateRegistry(ctx context.Context, r accounts.Registry, record *accounts.IdempotencyRecord) (accounts.Registry, error) {
	err := s.writer.do(ctx, &write{adds: true, isStatement: record == nil, run: func(c *conn) (err error) {
		r.ID, err = c.change(nil, registryusers.ErrRegistryExists,
			"INSERT INTO registries (project_id, region_id, name, created_at) VALUES (?, ?, ?, ?)",
			r.ProjectID, r.RegionID, r.Name, r.CreatedAt.UnixMicro())
		if err != nil {
			return err
		}
		return s.putRecord(c, record, r.ID)
	}})
	return r, err
}

const (
	selectRegistry = "SELECT id, project_id, region_id, name, created_at FROM registries "
	registryByRef  = selectRegistry + "WHERE id = ? AND project_id = ? AND region_id = ?"
)

// Registry implements [accounts.Store].
func (s *Store) Registry(ctx context.Context, ref accounts.RegistryRef) (accounts.Registry, error) {
	return readOne(ctx, s, scanRegistry, registryusers.ErrRegistryNotFound,
		registryByRef, ref.RegistryID, ref.ProjectID, ref.RegionID)
}

// findRegistry returns ErrRegistryNotFound unless ref refers to a registry.
func findRegistry(c *conn, ref accounts.RegistryRef) error {
	_, err := queryOne(c, scanRegistry, registryusers.ErrRegistryNotFound, registryByRef, ref.RegistryID, ref.ProjectID, ref.RegionID)
	return err
}

// Registries implements [accounts.Store].
func (s *Store) Registries(ctx context.Context, page accounts.Page) ([]accounts.Registry, int64, error) {
	return readPage(ctx, s, scanRegistry, selectRegistry, "SELECT count(*) FROM registries", page)
}

func scanRegistry(r row) (accounts.Registry, error) {
	var registry accounts.Registry
	var created int64
	err := r.scan(&registry.ID, &registry.ProjectID, &registry.RegionID, &registry.Name, &created)
	registry.CreatedAt = fromMicros(created)
	return registry, err
}
