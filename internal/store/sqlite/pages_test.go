package sqlite

import (
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
)

// Registries with users in many blocks of user_counts, some of which have no user
// any more.
func TestPagesOverManyBlocks(t *testing.T) {
	s := openMemory(t)
	r, _, _ := sample(t, s)
	other, err := s.CreateRegistry(t.Context(), accounts.Registry{ProjectID: 1, RegionID: 1, Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	err = exec(t, s, `INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_version, incarnation)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
		SELECT CASE i % 3 WHEN 0 THEN ? ELSE ? END, printf('u%d', i), 0, -1, 0, 0, randomblob(32), 1, randomblob(16) FROM n`, other.ID, r.ID)
	if err == nil {
		err = exec(t, s, "DELETE FROM users WHERE id BETWEEN 5000 AND 17000 AND id % 7 > 0 OR id BETWEEN 20000 AND 25000")
	}
	if err != nil {
		t.Fatal(err)
	}
	all, total, err := s.Users(t.Context(), r.ID, every)
	if err != nil || int64(len(all)) != total || total < 9000 {
		t.Fatalf("Users() = %d users of %d, %v; want all of more than 9,000", len(all), total, err)
	}
	for offset := int64(0); offset < total+2; offset += 97 {
		users, count, err := s.Users(t.Context(), r.ID, accounts.Page{Limit: 10, Offset: offset})
		if err != nil || count != total || int64(len(users)) != max(0, min(10, total-offset)) || len(users) > 0 && users[0].ID != all[offset].ID {
			t.Fatalf("Users at the offset %d = %+v of %d, %v; want 10 of %d from %+v", offset, users, count, err, total, all[min(offset, total-1)])
		}
	}
}
