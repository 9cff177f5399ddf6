package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"
)

// A cost is the cost of one call.
type cost struct {
	ratio  float64 // of the time to the time of the first call
	ns     float64
	bytes  float64
	allocs float64
}

// turn is the length of one measurement of a call before the next call's turn. It is
// short, so that other load on the machine slows all calls alike.
const turn = 20 * time.Millisecond

// compare measures calls in turns and returns the medians of the turns.
func compare(calls []func(), turns int) []cost {
	times := make([][]float64, len(calls))
	costs := make([]cost, len(calls))
	for i, call := range calls {
		costs[i].bytes, costs[i].allocs = allocations(call)
	}
	for round := range turns {
		for at := range calls {
			i := (at + round) % len(calls) // the order changes, so that no call always follows the same one
			runtime.GC()                   // collect the garbage of the previous call
			times[i] = append(times[i], timed(calls[i]))
		}
	}
	for i := range calls {
		costs[i].ns = median(times[i])
		costs[i].ratio = median(ratios(times[i], times[0]))
	}
	return costs
}

// timed returns the mean time of a call in nanoseconds, measured for a turn.
func timed(call func()) float64 {
	const batch = 16 // calls between two readings of the clock
	n, start := 0, time.Now()
	for {
		for range batch {
			call()
		}
		n += batch
		if took := time.Since(start); took >= turn {
			return float64(took) / float64(n)
		}
	}
}

// allocations returns the bytes and the allocations of a call.
func allocations(call func()) (bytes, allocs float64) {
	const calls = 2000
	for range 100 { // fill pools and caches
		call()
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		call()
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / calls, float64((after.Mallocs - before.Mallocs) / calls)
}

// inProcess measures the peers' handlers with each kind of request, and stores the
// costs in the peers' rows.
func inProcess(ctx context.Context, rows []row, turns int) error {
	var handlers []http.Handler
	var measured []int
	for i, p := range peers {
		if p.handler == nil {
			continue
		}
		h, err := p.handler()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := p.check(h); err != nil {
			return err
		}
		handlers, measured = append(handlers, h), append(measured, i)
	}
	for kind := range kinds {
		var calls []func()
		for i, h := range handlers {
			calls = append(calls, newCall(h, kind, peers[measured[i]].statuses[kind]))
		}
		for i, c := range compare(calls, turns) {
			rows[measured[i]].handler[kind] = c
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// newCall returns a function that calls h with the same request each time. The
// function itself does not allocate.
func newCall(h http.Handler, kind, status int) func() {
	text, request := bodyOf(kind), newRequest(kind)
	body := &rewinding{strings.NewReader(text)}
	w := &recorder{header: http.Header{}}
	return func() {
		body.Reset(text)
		request.Body = body
		clear(w.header)
		w.status = 0
		h.ServeHTTP(w, request)
		if w.status != status {
			panic(fmt.Sprintf("status %d, want %d", w.status, status))
		}
	}
}

// rewinding is a request body that can be read again after Reset.
type rewinding struct{ *strings.Reader }

func (rewinding) Close() error { return nil }

// recorder is a response writer that keeps the status.
type recorder struct {
	header http.Header
	status int
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { return len(p), nil }

// SetReadDeadline lets peers set a read deadline, as on a real connection.
func (w *recorder) SetReadDeadline(time.Time) error { return nil }
