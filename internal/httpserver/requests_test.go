package httpserver_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/registryusers/registryusers/internal/httpserver"
)

func TestRequestsInProgressAreBounded(t *testing.T) {
	entered, release := make(chan struct{}, 2000), make(chan struct{})
	wait := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	})
	handler := httpserver.New(httpserver.Handlers{API: wait, Token: wait, JWKS: wait, Registry: http.NotFoundHandler()}, nil, slog.New(slog.DiscardHandler)).Handler
	send := func(path, from string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.RemoteAddr = from
		handler.ServeHTTP(w, r)
		if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: got 503 without Retry-After", path)
		}
		return w.Code
	}
	var group sync.WaitGroup
	hold := func(from string, n int) {
		for range n {
			group.Go(func() { send("/token", from) })
		}
		for range n {
			<-entered
		}
	}
	hold("192.0.2.1:1", 256)
	if got := send("/token", "192.0.2.1:2"); got != 503 {
		t.Errorf("beside 256 requests of its address: got %d, want 503", got)
	}
	for _, path := range []string{"/healthz", "/readyz", "/v2/"} {
		if got := send(path, "192.0.2.1:2"); got == 503 {
			t.Errorf("%s beside 256 requests of its address: got 503", path)
		}
	}
	for i := range 3 {
		hold(fmt.Sprintf("[2001:db8:0:%d::1]:1", i), 256)
	}
	if got := send("/cloud/v1/registries/1/1/1/users", "198.51.100.1:1"); got != 503 {
		t.Errorf("beside 1024 requests: got %d, want 503", got)
	}
	close(release)
	group.Wait()
	if got := send("/token", "192.0.2.1:2"); got != 200 {
		t.Errorf("when all have ended: got %d, want 200", got)
	}
}
