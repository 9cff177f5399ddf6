package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/gen/apiserver"
)

// maxCreateAllocs bounds the allocations of one valid create in the handler,
// which has nothing to do but to judge and to answer.
const maxCreateAllocs = 60

func TestCreateAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	serve := newCreateLoop(t)
	got := testing.AllocsPerRun(1000, serve)
	t.Logf("a valid create: %v allocations", got)
	if got > maxCreateAllocs {
		t.Errorf("a valid create: got %v allocations, want at most %d", got, maxCreateAllocs)
	}
}

func BenchmarkCreate(b *testing.B) {
	serve := newCreateLoop(b)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}

// newCreateLoop returns a function that sends the same create again and again,
// and allocates nothing itself.
func newCreateLoop(tb testing.TB) (serve func()) {
	var answer apiserver.CreateUserResponseObject = apiserver.CreateUser201JSONResponse{}
	handler, err := New(createFunc(func(context.Context, apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
		return answer, nil
	}), Options{Authenticator: anyone, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	body := &rewinding{strings.NewReader(validBody)}
	request := call{}.request()
	w := &discarding{header: http.Header{}}
	return func() {
		body.Reset(validBody)
		request.Body = body
		clear(w.header)
		w.status = 0
		handler.ServeHTTP(w, request)
		if w.status != http.StatusCreated {
			tb.Fatalf("status: got %d, want 201", w.status)
		}
	}
}

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
