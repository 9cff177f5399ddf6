package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// newBare returns a short handwritten handler of the operation with net/http and
// encoding/json. It checks the key, parses the ids, decodes the request and encodes
// the response. It validates nothing.
func newBare() (http.Handler, error) {
	type request struct {
		Name     string `json:"name"`
		Duration int    `json:"duration"`
		ReadOnly bool   `json:"read_only"`
		Secret   string `json:"secret"`
	}
	type user struct {
		CreatedAt time.Time `json:"created_at"`
		Duration  int       `json:"duration"`
		ExpiresAt time.Time `json:"expires_at"`
		ID        int64     `json:"id"`
		Name      string    `json:"name"`
		ReadOnly  bool      `json:"read_only"`
		Secret    string    `json:"secret"`
	}
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "apikey "+key {
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
		_ = json.NewEncoder(w).Encode(user{
			ID: responseID, Name: body.Name, ReadOnly: body.ReadOnly, Duration: body.Duration,
			CreatedAt: createdAt, ExpiresAt: expiresAt(body.Duration), Secret: secret,
		})
	})
	return mux, nil
}
