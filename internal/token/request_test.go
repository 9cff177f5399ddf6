package token_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
)

// TestSlowFormsDoNotBlockOthers starts forms without sending their rest:
// as many as one address may, and then as many as the limit of all.
func TestSlowFormsDoNotBlockOthers(t *testing.T) {
	e := newEnv(t)
	u, secret := e.create(t, e.demo, accounts.NewUser{Name: "u", Duration: 1})
	form := "grant_type=password&service=" + service + "&username=" + u.Name + "&password=" + secret
	send := func(method, from string, body io.Reader) int {
		r := httptest.NewRequestWithContext(t.Context(), method, "/token?service="+service, body)
		r.RemoteAddr = from
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		} else {
			r.SetBasicAuth(u.Name, secret)
		}
		w := httptest.NewRecorder()
		e.Config.Handler.ServeHTTP(w, r)
		if w.Code == http.StatusServiceUnavailable && (w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"UNAVAILABLE"`)) {
			t.Errorf("got %v %s with 503, want Retry-After and the registry's form", w.Header(), w.Body)
		}
		return w.Code
	}
	var group sync.WaitGroup
	var open []*io.PipeWriter
	start := func(from string, n int) {
		for range n {
			body, writer := io.Pipe()
			open = append(open, writer)
			group.Go(func() { send(http.MethodPost, from, body) })
			_, _ = writer.Write([]byte("g")) // returns when the form is being read
		}
	}
	start("192.0.2.1:1", 32)
	if got := send(http.MethodPost, "192.0.2.1:2", strings.NewReader(form)); got != http.StatusServiceUnavailable {
		t.Errorf("a form beside 32 of its address: got %d, want 503", got)
	}
	if got := send(http.MethodPost, "192.0.2.2:1", strings.NewReader(form)); got != http.StatusOK {
		t.Errorf("a form from another address: got %d, want 200", got)
	}
	for i := range 31 {
		start(fmt.Sprintf("[2001:db8:0:%d::1]:1", i), 32)
	}
	if got := send(http.MethodPost, "192.0.2.2:1", strings.NewReader(form)); got != http.StatusServiceUnavailable {
		t.Errorf("a form beside 1024: got %d, want 503", got)
	}
	for _, from := range []string{"192.0.2.1:2", "192.0.2.2:1"} {
		if got := send(http.MethodGet, from, nil); got != http.StatusOK {
			t.Errorf("a login by GET from %s beside 1024 forms: got %d, want 200", from, got)
		}
	}
	for _, writer := range open {
		_ = writer.Close()
	}
	group.Wait()
	if got := send(http.MethodPost, "192.0.2.1:2", strings.NewReader(form)); got != http.StatusOK {
		t.Errorf("a form when all have been read: got %d, want 200", got)
	}
}
