// Package observe sees every request of every handler: it gives the request an
// id, counts its response, and writes one line in the access log. Package web
// observes what the binary serves; package server observes its own handler where
// nobody did before.
package observe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"
)

// RequestIDHeader is on every response.
const RequestIDHeader = "X-Request-Id"

// Options are what [Handler] needs.
type Options struct {
	// Logger gets one line for each request, when it has ended: at level Error if
	// the status is 500 or more and the client was still there, else at level
	// Info, or [Record.Quiet]'s Debug. It never gets a header, a query, a path as
	// it was sent, or a body. Required.
	Logger *slog.Logger

	// Begin, if not nil, is called when a request begins, for metrics and spans.
	// The request's handler gets the context that it returns, derived from the
	// request's; end, if not nil, is called when the request has ended.
	Begin func(r *http.Request) (ctx context.Context, end func(*Record))
}

// Handler observes the requests to next. A request that is observed already is
// passed on as it is.
func Handler(next http.Handler, o Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if From(r.Context()) != nil {
			next.ServeHTTP(w, r)
			return
		}
		record := &Record{Context: r.Context(), ID: rand.Text(), Start: time.Now()}
		var end func(*Record)
		if o.Begin != nil {
			record.Context, end = o.Begin(r)
		}
		record.Request = r.WithContext(record)
		record.attrs = record.room[:0]
		record.Writer.ResponseWriter = w
		w.Header().Set(RequestIDHeader, record.ID)
		defer func() {
			value := recover()
			if value != nil {
				record.Panicked(value)
				record.aborted = true
			}
			record.log(o.Logger)
			if end != nil {
				end(record)
			}
			if record.aborted {
				panic(http.ErrAbortHandler) // logged already
			}
		}()
		next.ServeHTTP(&record.Writer, record.Request)
	})
}

// Record is what is known of a request. It is the context of the request too,
// and belongs to the goroutine of its handler.
type Record struct {
	context.Context

	ID      string
	Start   time.Time
	Request *http.Request // as the handler got it; its RemoteAddr is the client's address
	Writer  Writer

	level   slog.Level   // of a request that did not fail
	attrs   []slog.Attr  // that handlers have added
	room    [4]slog.Attr // of attrs, so that most requests need no more
	busy    bool         // a status of 500 or more is no failure
	stack   string       // of a panic
	aborted bool         // the connection is closed, whatever was sent
}

type recordKey struct{}

// Value implements [context.Context].
func (r *Record) Value(key any) any {
	if key == (recordKey{}) {
		return r
	}
	return r.Context.Value(key)
}

// From returns the record of a request's context, or nil if the request is not
// observed.
func From(ctx context.Context) *Record {
	r, _ := ctx.Value(recordKey{}).(*Record)
	return r
}

// Add appends attributes to the request's line in the access log.
func (r *Record) Add(attrs ...slog.Attr) { r.attrs = append(r.attrs, attrs...) }

// Fail adds the cause of an error response, which the client does not see.
func (r *Record) Fail(cause error) {
	r.Add(slog.String("error", cause.Error()))
}

// Busy notes that the request is refused because too many are in progress, which
// is no failure of the server.
func (r *Record) Busy() { r.busy = true }

// Quiet has a request that does not fail logged at level Debug: one that comes
// every few seconds and says nothing, such as a probe.
func (r *Record) Quiet() { r.level = slog.LevelDebug }

// Panicked notes the value of a panic, from within the function that recovered
// from it.
func (r *Record) Panicked(value any) {
	if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return
	}
	r.stack = string(debug.Stack())
	r.Add(slog.String("error", panicText(value)))
}

// panicText leaves out a value that is not the runtime's own, which may hold a secret.
func panicText(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic with a value of type %T", value)
}

func (r *Record) log(logger *slog.Logger) {
	if r.Writer.Status == 0 && !r.aborted { // nothing was written: net/http sends this one
		r.Writer.Status = http.StatusOK
	}
	level := r.level
	if r.Writer.Status >= 500 && !r.busy && !errors.Is(r.Err(), context.Canceled) || r.stack != "" {
		level = slog.LevelError
	}
	if !logger.Enabled(r, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 8+len(r.attrs)),
		slog.String("request_id", r.ID),
		slog.String("method", knownMethod(r.Request.Method)),
		slog.Int("status", r.Writer.Status),
		slog.Int64("bytes", r.Writer.Bytes),
		slog.Duration("duration", time.Since(r.Start)),
		slog.String("remote", r.Request.RemoteAddr),
	)
	attrs = append(attrs, r.attrs...)
	if r.aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if r.stack != "" {
		attrs = append(attrs, slog.String("stack", r.stack))
	}
	logger.LogAttrs(r, level, "request", attrs...)
}

// knownMethod keeps words of the caller's own out of the log.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE":
		return method
	}
	return "other"
}
