package web

import (
	"context"
	"io"
	"net/http"
)

// probeRoutes returns the routes /healthz and /readyz. ready returns an error if the
// server cannot serve; a nil ready never does.
func probeRoutes(ready func(context.Context) error) []route {
	healthy := func(context.Context) error { return nil }
	if ready == nil {
		ready = healthy
	}
	return []route{
		{name: "probe", path: "/healthz", handler: probe(healthy), limits: brief, public: true, quiet: true},
		{name: "probe", path: "/readyz", handler: probe(ready), limits: brief, public: true, quiet: true},
	}
}

// probe responds with 200, or with 503 if check returns an error. It does not send
// the error's text.
func probe(check func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), responseTime)
		defer cancel()
		status, text := http.StatusOK, "ok"
		if check(ctx) != nil {
			w.Header().Set("Retry-After", "1")
			status, text = http.StatusServiceUnavailable, "not ready"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text+"\n") // fails only if the client has disconnected
	})
}
