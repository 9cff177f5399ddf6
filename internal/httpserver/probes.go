package httpserver

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// NewAdmin returns a server of the probes alone, for a listener of its own,
// which answers when all connections of the main one are taken.
func NewAdmin(ready func(context.Context) error, logger *slog.Logger) *http.Server {
	s := New(Handlers{}, nil, logger)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end := time.Now().Add(requestTimeout)
		r = r.WithContext(r.Context())
		limitTo(end, end, w, r)
		if r.URL.Path != healthPath && r.URL.Path != readyPath {
			http.NotFound(w, r)
			return
		}
		probe(w, r, ready)
	})
	return s
}

// probe answers /healthz with 200 as long as the process answers at all, and
// /readyz with 503 when ready returns an error: when nothing can be served. It
// says nothing else. A nil ready is always ready.
func probe(w http.ResponseWriter, r *http.Request, ready func(context.Context) error) {
	ctx, cancel := context.WithTimeout(r.Context(), responseTime)
	defer cancel()
	status, text := http.StatusOK, "ok"
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		status, text = http.StatusMethodNotAllowed, "probes have GET and HEAD"
	case r.URL.Path == readyPath && ready != nil && ready(ctx) != nil:
		w.Header().Set("Retry-After", "1")
		status, text = http.StatusServiceUnavailable, "not ready"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the client may have gone
}
