package sqlite

import (
	"context"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
)

// CreateAPIKey implements [accounts.Store].
func (s *Store) CreateAPIKey(ctx context.Context, k accounts.APIKey) (accounts.APIKey, error) {
	var err error
	k.ID, err = s.insert(ctx, nil, nil, "INSERT INTO api_keys (project_id, hash, created_at) VALUES (?, ?, ?)",
		k.ProjectID, k.Hash[:], k.CreatedAt.UnixMicro())
	return k, err
}

const (
	selectKey = "SELECT id, project_id, hash, created_at FROM api_keys "
	keyByID   = selectKey + "WHERE id = ?"
)

// APIKey implements [accounts.Store].
func (s *Store) APIKey(ctx context.Context, id int64) (accounts.APIKey, error) {
	return readOne(ctx, s, scanKey, registryusers.ErrAPIKeyNotFound, keyByID, id)
}

// APIKeys implements [accounts.Store].
func (s *Store) APIKeys(ctx context.Context, page accounts.Page) ([]accounts.APIKey, int64, error) {
	return readPage(ctx, s, scanKey, selectKey, "SELECT count(*) FROM api_keys", page)
}

func scanKey(r row) (accounts.APIKey, error) {
	var k accounts.APIKey
	var hash []byte
	var created int64
	err := r.scan(&k.ID, &k.ProjectID, &hash, &created)
	copy(k.Hash[:], hash)
	k.CreatedAt = fromMicros(created)
	return k, err
}

// DeleteAPIKey implements [accounts.Store].
func (s *Store) DeleteAPIKey(ctx context.Context, id int64) error {
	return s.change(ctx, registryusers.ErrAPIKeyNotFound, "DELETE FROM api_keys WHERE id = ?", id)
}
