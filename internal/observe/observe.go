// Package observe handles every request first: it gives the request an id, counts
// the bytes of its response, and writes one line to the access log. Package web uses
// it for all handlers; package server uses it for a handler that runs without
// package web.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// RequestIDHeader is on every response.
const RequestIDHeader = "X-Request-Id"

// Options are the options of [Handler].
type Options struct {
	// Logger gets one line for each request when it has ended: at level Error if
	// the status is 500 or more and the client was still connected, otherwise at
	// level Info, or at Debug after [Record.Quiet], or at Warn after [Record.Warn]. Headers, queries, paths and
	// bodies that a client sent are never logged. Required.
	Logger *slog.Logger

	// Begin, if not nil, is called when a request begins, for metrics and spans.
	// The request's handler gets the context that it returns, derived from the
	// request's; end, if not nil, is called when the request has ended.
	Begin func(r *http.Request) (ctx context.Context, end func(*Record))
}

// Handler observes the requests to next, whose requests have the record as their
// context. It passes a request on unchanged if another Handler observes it already.
func Handler(next http.Handler, o Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if From(r.Context()) != nil {
			next.ServeHTTP(w, r)
			return
		}
		Observe(new(Record), w, r, o, func(record *Record) {
			record.Request = r.WithContext(record)
			next.ServeHTTP(&record.Writer, record.Request)
		})
	})
}

// Observe observes a request in a new record while serve handles it. serve writes the
// response to the record's Writer, and goes on with the record as its context. The
// request must not be observed already.
func Observe(record *Record, w http.ResponseWriter, r *http.Request, o Options, serve func(*Record)) {
	record.Context, record.ID, record.Start, record.Request = r.Context(), newID(), time.Now(), r
	var end func(*Record)
	if o.Begin != nil {
		record.Context, end = o.Begin(r)
	}
	record.attrs = record.room[:0]
	record.Writer.ResponseWriter = w
	record.header[0] = record.ID
	w.Header()[RequestIDHeader] = record.header[:]
	defer func() {
		value := recover()
		if value != nil {
			record.SetPanic(value)
			record.aborted = true
		}
		record.log(o.Logger, errors.Is(r.Context().Err(), context.Canceled))
		if end != nil {
			end(record)
		}
		if record.aborted {
			panic(http.ErrAbortHandler) // closes the connection; net/http does not log it again
		}
	}()
	serve(record)
}

// newID returns an id of 26 letters and digits, from a text of many that are made at
// once. Ids are distinct, and come from math/rand/v2, which can be predicted: an id finds
// a request in the log, and nothing accepts it as a credential.
func newID() string {
	ids := idTexts.Get().(*string)
	if *ids == "" {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // of crypto/rand.Text
		text := make([]byte, 32*idLength)
		var bits uint64
		for i := range text {
			if i%12 == 0 { // 5 bits each
				bits = rand.Uint64() //nolint:gosec // G404: no secret
			}
			text[i] = alphabet[bits%32]
			bits /= 32
		}
		*ids = string(text)
	}
	id := (*ids)[:idLength]
	*ids = (*ids)[idLength:]
	idTexts.Put(ids)
	return id
}

const idLength = 26

var idTexts = sync.Pool{New: func() any { return new(string) }}

// Record holds what is known about a request. It is also the request's context. Only
// the goroutine of the request's handler may use it.
type Record struct {
	context.Context // may be replaced by one derived from it, before the request's handler is called

	ID      string
	Start   time.Time
	Request *http.Request // as the handler got it; its RemoteAddr is the client's address
	Writer  Writer
	HTTPS   bool // the client uses https, with this server or with a trusted proxy

	busy    bool         // a status of 500 or more is not a failure
	header  [1]string    // the response's X-Request-Id
	level   slog.Level   // for a request that does not fail
	attrs   []slog.Attr  // added by handlers
	room    [4]slog.Attr // initial memory of attrs, enough for most requests
	stack   string       // of a panic
	aborted bool         // the connection is closed without a complete response
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

// SetCause adds the cause of an error response to the log; it is not sent to the client.
func (r *Record) SetCause(cause error) {
	r.Add(slog.String("error", cause.Error()))
}

// Refused records that the request is refused because too many are in progress, which
// is not a failure of the server.
func (r *Record) Refused() { r.busy = true }

// Quiet sets the log level to Debug, unless the request fails. It is for requests
// that come every few seconds, such as probes.
func (r *Record) Quiet() { r.level = slog.LevelDebug }

// Warn sets the log level to Warn, unless the request fails.
func (r *Record) Warn() { r.level = slog.LevelWarn }

// SetPanic records the value of a panic. The deferred function that recovered from
// it must call it, so that the stack is the panic's.
func (r *Record) SetPanic(value any) {
	if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return
	}
	r.stack = string(debug.Stack())
	r.Add(slog.String("error", panicText(value)))
}

// panicText returns the text of a runtime error, and only the type of any other
// value, which may contain a secret.
func panicText(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic with a value of type %T", value)
}

func (r *Record) log(logger *slog.Logger, disconnected bool) {
	if r.Writer.Status == 0 && !r.aborted { // nothing was written: net/http sends 200
		r.Writer.Status = http.StatusOK
	}
	level := r.level
	if r.Writer.Status >= 500 && !r.busy && !disconnected || r.stack != "" {
		level = slog.LevelError
	}
	if !logger.Enabled(r, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 8+len(r.attrs)),
		slog.String("request_id", r.ID),
		slog.String("method", knownMethod(r.Request.Method)),
		slog.Int("status", r.Writer.Status),
		slog.Int64("response_bytes", r.Writer.Bytes),
		slog.Duration("duration", time.Since(r.Start)),
		slog.String("client_address", r.Request.RemoteAddr),
	)
	attrs = append(attrs, r.attrs...)
	if r.aborted {
		attrs = append(attrs, slog.Bool("incomplete", true))
	}
	if r.stack != "" {
		attrs = append(attrs, slog.String("stack", r.stack))
	}
	logger.LogAttrs(r, level, "request", attrs...)
}

// knownMethod returns "other" for an unknown method, to keep text of the caller's
// choice out of the log.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE":
		return method
	}
	return "other"
}
