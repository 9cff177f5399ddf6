package ociregistry

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/observe"
)

// user returns one of three users of the same registry.
func user(id int64) *principal {
	return &principal{account: accounts.Account{User: accounts.User{ID: id}, Namespace: fmt.Sprint("1-1-", id/3)}}
}

func (l *limits) request(p *principal) (release func(), status int) {
	return l.statusOf(p, use{requests: 1})
}

// statusOf takes more. status is the refusal's, or 0.
func (l *limits) statusOf(p *principal, more use) (release func(), status int) {
	e := &exchange{principal: p}
	if refused := l.acquire(e, more); refused != nil {
		return nil, refused.Status
	}
	return e.end, 0
}

// wantNothing checks that neither these users nor requests without a token use anything.
func (l *limits) wantNothing(t *testing.T, ids ...int64) {
	t.Helper()
	principals := []*principal{nil}
	for _, id := range ids {
		principals = append(principals, user(id))
	}
	for _, p := range principals {
		for _, one := range l.limitsFor(p) {
			if requests, bytes := l.inUse.InUse(one.key), l.inUse.InUse(bytesKey{one.key}); requests != 0 || bytes != 0 {
				t.Errorf("%v, when all requests have ended: got %d requests and %d bytes in use, want none", one.key, requests, bytes)
			}
		}
	}
}

func TestLimitsOfUsers(t *testing.T) {
	for _, total := range []int64{16, 32, MaxRequests} {
		t.Run(fmt.Sprint(total), func(t *testing.T) { testLimitsOfUsers(t, total) })
	}
}

func testLimitsOfUsers(t *testing.T, total int64) {
	l := limits{maxRequests: total}
	var releases []func()
	enter := func(v *principal, want int) {
		t.Helper()
		release, status := l.request(v)
		if status != want || (release == nil) != (want != 0) {
			t.Fatalf("user %v after %d requests: got %d, want %d", v, len(releases), status, want)
		}
		if release != nil {
			releases = append(releases, release)
		}
	}
	for _, id := range []int64{0, 1, 3, 4} {
		for range total / 4 {
			enter(user(id), 0)
		}
		enter(user(id), http.StatusTooManyRequests)
		if id == 1 {
			enter(user(2), http.StatusTooManyRequests) // its registry has half of all
		}
	}
	enter(user(100), http.StatusServiceUnavailable)
	enter(nil, 0) // requests without a token have a limit of their own
	releases[0]()
	releases = releases[1:]
	enter(user(100), 0)
	for _, release := range releases {
		release()
	}
	l.wantNothing(t, 0, 1, 3, 4)
}

// Clients pull several layers at once, however few files may be open.
func TestLeastShareOfAUser(t *testing.T) {
	l := limits{maxRequests: 4}
	for range 4 {
		if release, status := l.request(user(0)); release == nil {
			t.Errorf("one of 4 requests in all: got %d, want it to be accepted", status)
		}
	}
	if _, status := l.request(user(0)); status != http.StatusTooManyRequests {
		t.Errorf("one more: got %d, want 429", status)
	}
}

// At their limit, requests without a token get 503 until one of them has ended.
func TestLimitOfUnauthenticatedRequests(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	d := &accessController{routes: v2.RouterWithPrefix(""), files: &files{reserve: new(reserve)}}
	d.next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "{}")
	})
	handler := observe.Handler(d, observe.Options{Logger: slog.New(slog.DiscardHandler)})
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", nil))
		return w
	}
	var group sync.WaitGroup
	for range maxUnauthenticated {
		group.Go(func() {
			if got := ask(); got.Code != http.StatusOK {
				t.Errorf("within the limit: got status %d, want 200", got.Code)
			}
		})
		<-inside
	}
	if got := ask(); got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") != "1" {
		t.Errorf("beyond the limit: got status %d, %v; want 503 with Retry-After: 1", got.Code, got.Header())
	}
	close(release)
	group.Wait()
	group.Go(func() { <-inside })
	if got := ask(); got.Code != http.StatusOK {
		t.Errorf("when they have ended: got status %d, want 200", got.Code)
	}
	group.Wait()
}

func TestLimitsOfManifests(t *testing.T) {
	l := limits{maxRequests: MaxRequests}
	var releases []func()
	acquire := func(id, size int64, want int) {
		t.Helper()
		release, status := l.statusOf(user(id), use{manifestBytes: size})
		if status != want || (release == nil) != (want != 0) {
			t.Fatalf("user %d, %d bytes: got %d, want %d", id, size, status, want)
		}
		if release != nil {
			releases = append(releases, release)
		}
	}
	for _, id := range []int64{0, 1, 3, 4} {
		acquire(id, maxManifestBytes/4-maxManifestSize, 0)
		acquire(id, maxManifestSize, 0)
		acquire(id, smallManifestSize+1, http.StatusTooManyRequests)
		if id == 1 {
			acquire(2, smallManifestSize+1, http.StatusTooManyRequests) // its registry has half of all
		}
	}
	acquire(100, smallManifestSize+1, http.StatusServiceUnavailable)
	for range MaxRequests {
		acquire(0, smallManifestSize, 0)
	}
	releases[0]()
	releases = releases[1:]
	acquire(100, smallManifestSize+1, 0)
	for _, release := range releases {
		release()
	}
	l.wantNothing(t, 0, 1, 3, 4)
}

func TestRequestsThatOpenFilesAllow(t *testing.T) {
	for files, want := range map[int]int{0: MaxRequests, 1: 1, 4: 2, 32: 16, 959: 479, 2016: 1008, 4096: MaxRequests} {
		if got := RequestsWith(files); got != want {
			t.Errorf("%d open files: got %d requests, want %d", files, got, want)
		}
	}
}
