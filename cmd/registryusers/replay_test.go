package main

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A repeat gets the same response after the server was killed, and from another
// process on a copy of the data directory.
func TestRepeatAfterACrashAndOnACopy(t *testing.T) {
	data := t.TempDir()
	first := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	const key = "Idempotency-Key: k-17"
	bodies := []string{
		`{"name":"generated","duration":14}`,
		`{"name":"custom","duration":14,"secret":"correct horse"}`,
	}
	var want []response
	for i, body := range bodies {
		a := send(t, "POST", first.users(), body, authorization, isJSON, key+string(rune('a'+i)))
		if a.status != 201 || a.header.Get("Idempotent-Replayed") != "" {
			t.Fatalf("%s: got %d %s, want 201 and no replay", body, a.status, a.body)
		}
		want = append(want, a)
	}
	first.stop(os.Kill)

	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"the same directory": data, "a copy": copied} {
		p := serve(t, "--dev", "--images", "off", "--data", dir)
		for i, body := range bodies {
			a := send(t, "POST", p.users(), body, authorization, isJSON, key+string(rune('a'+i)))
			if a.status != 201 || a.body != want[i].body || a.header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("%s, %s: got %d %s, Idempotent-Replayed %q; want 201 %s again", name, body, a.status, a.body, a.header.Get("Idempotent-Replayed"), want[i].body)
			}
			if status := login(t, p.url, "1-1-demo+"+a.fields.Name, a.fields.Secret); status != 200 {
				t.Errorf("%s, %s: its secret gets %d at the token service, want 200", name, body, status)
			}
		}
		p.stop(os.Kill)
	}
}

// The server removes the records of creates that can no longer be repeated.
func TestServeDeletesExpiredRecords(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	for _, name := range []string{"ended", "kept"} {
		if a := send(t, "POST", p.users(), `{"name":"`+name+`","duration":14}`, authorization, isJSON, "Idempotency-Key: "+name); a.status != 201 {
			t.Fatalf("%s: got %d %s, want 201", name, a.status, a.body)
		}
	}
	p.stop(os.Interrupt)

	db, err := sql.Open("sqlite", filepath.Join(data, "registryusers.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	result, err := db.ExecContext(t.Context(), "UPDATE idempotency_records SET expires_at = 1 WHERE object_id = (SELECT id FROM users WHERE name = 'ended')")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("records set to expire: got %d, %v, want 1", n, err)
	}
	serve(t, "--images", "off", "--data", data)
	var left []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		left = nil
		rows, err := db.QueryContext(t.Context(), "SELECT name FROM idempotency_records JOIN users ON users.id = object_id ORDER BY name")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			left = append(left, name)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		if len(left) < 2 {
			break
		}
	}
	if !slices.Equal(left, []string{"kept"}) {
		t.Errorf("records after the server deleted the expired ones: got %q, want only that of kept", left)
	}
}
