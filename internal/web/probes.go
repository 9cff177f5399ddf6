package web

import (
	"context"
	"io"
	"net/http"

	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/observe"
)

// probe responds with 200, or with 503 if check returns an error, which is logged and
// not sent. A nil check always succeeds.
func probe(check func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), responseTime)
		defer cancel()
		if check != nil {
			if err := check(ctx); err != nil {
				record := observe.From(r.Context())
				writeError(record, http.StatusServiceUnavailable, apierror.Body{})
				record.SetCause(err)
				return
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "ok\n") // fails only if the client has disconnected
	})
}
