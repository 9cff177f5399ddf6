package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/store/storetest"
)

func TestUpgradeAfterAnUncleanStop(t *testing.T) {
	path := versionTwo(t)
	if err := os.WriteFile(path+"-wal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), path); !errors.Is(err, ErrEarlierVersion) {
		t.Fatalf("Open = %v, %v; want %v", s, err, ErrEarlierVersion)
	}
	upgrade(t, path)
	if s := openStore(t, path); !s.WasUnclean() {
		t.Error("after the upgrade: the database is clean, want it unclean")
	}
}

// versionTwo creates a database of the program's second version: the users
// 1 to 3, of which the second was deleted, and 4 also.
func versionTwo(t *testing.T) (path string) {
	t.Helper()
	path = newPath(t)
	var scripts []string
	for _, name := range []string{"0001_accounts.sql", "0002_records.sql"} {
		script, err := migrations.ReadFile("migrations/" + name)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, string(script))
	}
	raw(t, path, append(scripts, "PRAGMA user_version = 2",
		"INSERT INTO registries (project_id, region_id, name, created_at) VALUES (1, 1, 'demo', 0)",
		`INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_hash, secret_version) VALUES
		(1, 'generated', 1, 14, 1000000, 1209601000000, x'0102', NULL, 1),
		(1, 'gone', 0, 0, 0, 0, x'03', NULL, 1),
		(1, 'custom', 0, -1, 2000000, 253402300799000000, NULL, '$argon2id$', 3),
		(1, 'last', 0, 0, 0, 0, x'04', NULL, 1)`,
		"DELETE FROM users WHERE name IN ('gone', 'last')",
		"INSERT INTO create_records (key, request, salt, user_id, ends_at) VALUES (x'6b', x'01', x'02', 3, 253402300799000000)")...)
	return path
}

func upgrade(t *testing.T, path string) {
	t.Helper()
	if err := Upgrade(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

func TestUpgradeFromVersionTwo(t *testing.T) {
	path := versionTwo(t)
	if s, err := Open(t.Context(), path); !errors.Is(err, ErrEarlierVersion) {
		t.Fatalf("Open = %v, %v; want %v", s, err, ErrEarlierVersion)
	}
	upgrade(t, path)
	s := openStore(t, path)
	users, total, err := s.Users(t.Context(), accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}, every)
	if err != nil || len(users) != 2 || total != 2 {
		t.Fatalf("Users = %+v of %d, %v; want the two there were", users, total, err)
	}
	none := accounts.Incarnation{}
	if users[0].Incarnation == none || users[1].Incarnation == none || users[0].Incarnation == users[1].Incarnation {
		t.Errorf("the incarnations are %x and %x; want random ones", users[0].Incarnation, users[1].Incarnation)
	}
	ref := time.Unix(0, 0).UTC()
	for i, want := range []accounts.User{
		{ID: 1, RegistryID: 1, Name: "generated", ReadOnly: true, Duration: 14, CreatedAt: ref.Add(time.Second), ExpiresAt: ref.AddDate(0, 0, 14).Add(time.Second), Verifier: accounts.Verifier{Index: []byte{1, 2}}, SecretVersion: 1},
		{ID: 3, RegistryID: 1, Name: "custom", Duration: -1, CreatedAt: ref.Add(2 * time.Second), ExpiresAt: accounts.Never, Verifier: accounts.Verifier{Hash: "$argon2id$"}, SecretVersion: 3},
	} {
		want.Incarnation = users[i].Incarnation
		if got, want := mustJSON(t, users[i]), mustJSON(t, want); got != want {
			t.Errorf("a user after the upgrade:\n%s; want\n%s", got, want)
		}
	}
	if _, u, err := storetest.RecordedUser(t.Context(), s, []byte("k")); err != nil || u == nil || u.ID != 3 {
		t.Errorf("Record: its user is %+v, %v; want the user 3", u, err)
	}
	// Ids are still never reused, and every row has an incarnation.
	u, err := s.CreateUser(t.Context(), accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1},
		accounts.User{Name: "new", Verifier: accounts.Verifier{Index: []byte("new")}, Incarnation: accounts.Incarnation{1}}, nil)
	if err != nil || u.ID != 5 {
		t.Errorf("CreateUser = %+v, %v; want the id 5: 4 was used", u, err)
	}
	for _, statement := range []string{
		"UPDATE users SET incarnation = NULL", "UPDATE users SET incarnation = x'01'", "UPDATE users SET registry_id = 9",
		"INSERT INTO users (registry_id, name, read_only, duration, created_at, expires_at, secret_index, secret_version) VALUES (1, 'x', 0, 0, 0, 0, x'05', 1)",
		"UPDATE users SET name = 'new'", "UPDATE users SET secret_index = NULL, secret_hash = NULL",
	} {
		if err := exec(t, s, statement); err == nil {
			t.Errorf("%s: success; want it refused", statement)
		}
	}
	reopened := openStore(t, path)
	again, _, err := reopened.Users(t.Context(), accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1}, every)
	if err != nil || len(again) != 3 || again[0].Incarnation != users[0].Incarnation {
		t.Errorf("Users, opened again = %+v, %v; want the incarnations kept", again, err)
	}
}

// The upgrade of an empty table must not lose the last id either.
func TestUpgradeFromVersionTwoWithoutUsers(t *testing.T) {
	path := versionTwo(t)
	raw(t, path, "DELETE FROM users")
	upgrade(t, path)
	s := openStore(t, path)
	u, err := s.CreateUser(t.Context(), accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: 1},
		accounts.User{Name: "new", Verifier: accounts.Verifier{Index: []byte("new")}}, nil)
	if err != nil || u.ID != 5 {
		t.Errorf("CreateUser = %+v, %v; want the id 5: 4 was used", u, err)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// schema returns the statements that created a database's tables and indexes.
func schema(t *testing.T, path string) map[string]string {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, url.Values{}))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string]string)
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			t.Fatal(err)
		}
		all[name] = text
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// A new database and an upgraded one have the same tables.
func TestUpgradedSchemaIsTheNewOne(t *testing.T) {
	upgraded, fresh := versionTwo(t), newPath(t)
	upgrade(t, upgraded)
	openStore(t, fresh)
	got, want := schema(t, upgraded), schema(t, fresh)
	if mustJSON(t, got) != mustJSON(t, want) || want["index users_custom"] == "" || want["table users_new"] != "" {
		t.Errorf("the upgraded schema is %v; want %v", got, want)
	}
}
