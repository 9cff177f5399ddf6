package main

import (
	"database/sql"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/registryusers/registryusers/internal/testkit"
)

// TestKilledWhileCreatesAreCommittedTogether has 64 callers create users, each
// at its own speed, and kills the server 100 times or more, each time after a
// random number of responses: each of the 10,000 users that got 201 exists.
// (A killed process loses no page that it wrote; that each commit is synced to
// the disk, too, is a setting that the store's tests check.)
func TestKilledWhileCreatesAreCommittedTogether(t *testing.T) {
	kills, creates := testkit.InCI(100, 20), testkit.InCI(10_000, 2_000) // or more, acknowledged
	const callers = 64
	t.Logf("to see the same numbers of responses: -seed %d", *faultSeed)
	dice := rand.New(rand.NewPCG(*faultSeed, 1))
	data := t.TempDir()
	server := serve(t, "--dev", "--images", "off", "--data", data)
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	var (
		sent         atomic.Int64
		mu           sync.Mutex
		acknowledged = make(map[string]int64) // ids by name
	)
	killed := 0
	for ; killed < kills || len(acknowledged) < creates; killed++ {
		until := dice.Int64N(int64(2*creates/kills)) + 1
		var acknowledgements atomic.Int64
		var group sync.WaitGroup
		now := make(chan struct{})
		for range callers {
			group.Go(func() {
				for {
					name := "u" + strconv.FormatInt(sent.Add(1), 10)
					a, err := trySend("POST", server.users(), `{"name":"`+name+`","duration":1}`, isJSON, authorization)
					if err != nil { // the server is down
						return
					}
					if a.status != 201 {
						t.Errorf("create %s: got %d %s, want 201 or no response", name, a.status, a.body)
						return
					}
					mu.Lock()
					acknowledged[name] = a.fields.ID
					mu.Unlock()
					if acknowledgements.Add(1) == until {
						close(now)
					}
				}
			})
		}
		ended := make(chan struct{})
		go func() {
			group.Wait()
			close(ended)
		}()
		select {
		case <-now:
		case <-ended:
			t.Fatalf("no caller is left after %d responses, want %d before the kill", acknowledgements.Load(), until)
		}
		server.stop(os.Kill)
		<-ended
		server = serve(t, "--images", "off", "--data", data)
	}
	server.stop(os.Interrupt)

	db, err := sql.Open("sqlite", filepath.Join(data, "registryusers.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var integrity string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&integrity); err != nil || integrity != "ok" {
		t.Errorf("the database's integrity: got %q, %v, want ok", integrity, err)
	}
	rows, err := db.QueryContext(t.Context(), "SELECT id, name FROM users")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := make(map[string]int64)
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			t.Fatal(err)
		}
		stored[name] = id
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for name, id := range acknowledged {
		if got, ok := stored[name]; !ok || got != id {
			if lost++; lost <= 5 {
				t.Errorf("%s, acknowledged with the id %d: stored %v with the id %d", name, id, ok, got)
			}
		}
	}
	t.Logf("%d creates sent, %d acknowledged, %d stored, %d kills; %d lost", sent.Load(), len(acknowledged), len(stored), killed, lost)
	if int64(len(stored)) > sent.Load() {
		t.Errorf("%d users are stored, and %d creates were sent", len(stored), sent.Load())
	}
}
