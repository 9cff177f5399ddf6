package web

import (
	"context"
	"io"
	"net/http"
)

// probe responds with 200, or with 503 if check returns an error, whose text it
// does not send. A nil check always succeeds.
func probe(check func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), responseTime)
		defer cancel()
		status, text := http.StatusOK, "ok"
		if check != nil && check(ctx) != nil {
			w.Header().Set("Retry-After", "1")
			status, text = http.StatusServiceUnavailable, "not ready"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text+"\n") // fails only if the client has disconnected
	})
}
