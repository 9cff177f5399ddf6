package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A repeat is answered alike after the server was killed, and by another
// process on a copy of the data directory.
func TestRepeatAfterACrashAndOnACopy(t *testing.T) {
	data := t.TempDir()
	first := serve(t, "--dev", "--registry", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	const key = "Idempotency-Key: k-17"
	bodies := []string{
		`{"name":"made","duration":14}`,
		`{"name":"chosen","duration":14,"secret":"correct horse"}`,
	}
	var want []answer
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
		p := serve(t, "--dev", "--registry", "off", "--data", dir)
		for i, body := range bodies {
			a := send(t, "POST", p.users(), body, authorization, isJSON, key+string(rune('a'+i)))
			if a.status != 201 || a.body != want[i].body || a.header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("%s, %s: got %d %s, Idempotent-Replayed %q; want 201 %s again", name, body, a.status, a.body, a.header.Get("Idempotent-Replayed"), want[i].body)
			}
			if status := login(t, p.url, a.fields.Name, a.fields.Secret); status != 200 {
				t.Errorf("%s, %s: its secret gets %d at the token service, want 200", name, body, status)
			}
		}
		p.stop(os.Kill)
	}
}
