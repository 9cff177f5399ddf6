package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/testkit"
)

// newBare returns the handler that one would write by hand for this one
// operation, with net/http and encoding/json alone: it checks the key, parses
// the ids, decodes and encodes, and validates nothing.
func newBare() http.Handler {
	type request struct {
		Name     string `json:"name"`
		Duration int64  `json:"duration"`
		ReadOnly bool   `json:"read_only"`
		Secret   string `json:"secret"`
	}
	type user struct {
		CreatedAt time.Time `json:"created_at"`
		Duration  int64     `json:"duration"`
		ExpiresAt time.Time `json:"expires_at"`
		ID        int64     `json:"id"`
		Name      string    `json:"name"`
		ReadOnly  bool      `json:"read_only"`
		Secret    string    `json:"secret"`
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "apikey "+marker {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		for _, name := range []string{"project_id", "region_id", "registry_id"} {
			if _, err := strconv.ParseInt(r.PathValue(name), 10, 64); err != nil {
				http.Error(w, "bad id", http.StatusBadRequest)
				return
			}
		}
		var body request
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, "bad body", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(user{ID: 7, Name: body.Name, ReadOnly: body.ReadOnly, Duration: body.Duration,
			CreatedAt: createdAt, ExpiresAt: createdAt.AddDate(0, 0, int(body.Duration)), Secret: body.Secret})
	})
	return mux
}

// BenchmarkCreateRatio reports how many creates by a bare handler a create costs:
// the medians of both, taken in turns so that what slows the machine slows both.
func BenchmarkCreateRatio(b *testing.B) {
	ours := newQuiet(b)
	for _, test := range []struct {
		name, body string
		status     int
	}{{"valid", validBody, http.StatusCreated}, {"invalid", invalidBody, http.StatusBadRequest}} {
		b.Run(test.name, func(b *testing.B) {
			const rounds, each = 20, 500
			ours, bare := newLoop(b, ours, test.body, test.status), newLoop(b, newBare(), test.body, http.StatusCreated)
			var ratios []float64
			for b.Loop() {
				for range rounds {
					theirs := testkit.Median(each, bare)
					ratios = append(ratios, float64(testkit.Median(each, ours))/float64(theirs))
				}
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "x-bare")
			b.ReportMetric(testing.AllocsPerRun(1000, ours), "ours-allocs")
			b.ReportMetric(testing.AllocsPerRun(1000, bare), "bare-allocs")
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	serve := newLoop(b, newQuiet(b), validBody, http.StatusCreated)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}
