package storetest

import (
	"context"
	"sync"

	"github.com/registryusers/registryusers/internal/accounts"
)

// Counting is a store that notes which methods are called for users and registries.
type Counting struct {
	accounts.Store

	mu    sync.Mutex
	asked []string
}

// Take returns the names of the methods that were called since it was last called.
func (c *Counting) Take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asked
	c.asked = nil
	return asked
}

func (c *Counting) note(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, method)
}

// AccountBySecret implements [accounts.Store].
func (c *Counting) AccountBySecret(ctx context.Context, index []byte) (accounts.Account, error) {
	c.note("AccountBySecret")
	return c.Store.AccountBySecret(ctx, index)
}

// Account implements [accounts.Store].
func (c *Counting) Account(ctx context.Context, id int64) (accounts.Account, error) {
	c.note("Account")
	return c.Store.Account(ctx, id)
}

// AccountByName implements [accounts.Store].
func (c *Counting) AccountByName(ctx context.Context, projectID, regionID int64, registry, name string) (accounts.Account, error) {
	c.note("AccountByName")
	return c.Store.AccountByName(ctx, projectID, regionID, registry, name)
}

// SoleAccountByName implements [accounts.Store].
func (c *Counting) SoleAccountByName(ctx context.Context, name string) (accounts.Account, error) {
	c.note("SoleAccountByName")
	return c.Store.SoleAccountByName(ctx, name)
}

// UpdateUser implements [accounts.Store].
func (c *Counting) UpdateUser(ctx context.Context, ref accounts.RegistryRef, userID int64, change func(*accounts.User) error, r *accounts.IdempotencyRecord) (accounts.User, error) {
	c.note("UpdateUser")
	return c.Store.UpdateUser(ctx, ref, userID, change, r)
}

// User implements [accounts.Store].
func (c *Counting) User(ctx context.Context, ref accounts.RegistryRef, name string) (accounts.User, error) {
	c.note("User")
	return c.Store.User(ctx, ref, name)
}

// Registry implements [accounts.Store].
func (c *Counting) Registry(ctx context.Context, at accounts.RegistryRef) (accounts.Registry, error) {
	c.note("Registry")
	return c.Store.Registry(ctx, at)
}
