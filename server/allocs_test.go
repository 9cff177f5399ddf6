package server

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// A create has a bounded number of allocations in the handler, whose
// implementation only returns a response.
func TestCreateAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	handler := newQuiet(t)
	for _, test := range []struct {
		name, body string
		status     int
		most       float64
	}{
		{"valid", validBody, http.StatusCreated, 13},
		{"invalid", invalidBody, http.StatusBadRequest, 18},
	} {
		got := testing.AllocsPerRun(1000, newLoop(t, handler, test.body, test.status))
		t.Logf("%s create: %v allocations", test.name, got)
		if got > test.most {
			t.Errorf("%s create %s: got %v allocations, want at most %v", test.name, test.body, got, test.most)
		}
	}
}

// newQuiet returns the handler with an implementation that only returns a
// response, and without an access log.
func newQuiet(tb testing.TB) http.Handler {
	tb.Helper()
	handler, err := New(creator{create: created}, Options{Authenticator: anyone, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return handler
}

// newLoop returns a function that sends the same create again and again to h,
// and allocates nothing itself.
func newLoop(tb testing.TB, h http.Handler, text string, status int) (serve func()) {
	tb.Helper()
	body := &rewinding{strings.NewReader(text)}
	request := call{}.request()
	request.ContentLength = int64(len(text))
	w := &discarding{header: http.Header{}}
	return func() {
		body.Reset(text)
		request.Body = body
		clear(w.header)
		w.status = 0
		h.ServeHTTP(w, request)
		if w.status != status {
			tb.Fatalf("status: got %d, want %d", w.status, status)
		}
	}
}

// invalidBody breaks two rules of the document.
const invalidBody = `{"name":"M0rk3r","duration":900,"secret":"m0rk3r"}`

// rewinding is a body that can be used again.
type rewinding struct{ *strings.Reader }

func (rewinding) Close() error { return nil }

// discarding is a response writer that keeps the status.
type discarding struct {
	header http.Header
	status int
}

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) WriteHeader(status int)      { d.status = status }
func (d *discarding) Write(p []byte) (int, error) { return io.Discard.Write(p) }
