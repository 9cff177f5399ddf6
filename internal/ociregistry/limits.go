package ociregistry

import (
	"net/http"
	"sync"

	"github.com/registryusers/registryusers/internal/token"
)

// How many requests may be in progress at a time. A request that waits for a
// slow client takes memory and an open file, and one user or many strangers
// must not take them all.
const (
	// maxUserRequests is for one user; beyond it the answer is 429.
	maxUserRequests = 256
	// maxRequests is for all users together; beyond it the answer is 503.
	maxRequests = 1024
	// maxStrangerRequests is for all requests without a valid token, which have
	// no share in the others; beyond it the answer is 503.
	maxStrangerRequests = 128
)

// limits counts the requests in progress.
type limits struct {
	mu        sync.Mutex
	users     map[int64]int // by id; without those who have none
	total     int           // of users
	strangers int
}

// enter counts a request in, of a stranger if v is nil; leave must be called at
// its end. Beyond a limit it is refused with the status, and leave is nil.
func (l *limits) enter(v *visitor) (leave func(), status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v == nil {
		if l.strangers >= maxStrangerRequests {
			return nil, http.StatusServiceUnavailable
		}
		l.strangers++
		return func() { l.leave(nil) }, 0
	}
	switch {
	case l.users[v.account.ID] >= maxUserRequests:
		return nil, http.StatusTooManyRequests
	case l.total >= maxRequests:
		return nil, http.StatusServiceUnavailable
	}
	if l.users == nil {
		l.users = make(map[int64]int)
	}
	l.users[v.account.ID]++
	l.total++
	return func() { l.leave(v) }, 0
}

func (l *limits) leave(v *visitor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v == nil {
		l.strangers--
		return
	}
	l.total--
	if l.users[v.account.ID]--; l.users[v.account.ID] == 0 {
		delete(l.users, v.account.ID)
	}
}

// refuseBusy answers a request beyond a limit.
func refuseBusy(w http.ResponseWriter, status int) (reason string) {
	code, reason := "UNAVAILABLE", "too many requests are in progress; try again"
	if status == http.StatusTooManyRequests {
		code, reason = "TOOMANYREQUESTS", "this user has too many requests in progress; try again when some have ended"
	}
	w.Header().Set("Retry-After", "1")
	token.WriteError(w, status, code, reason)
	return reason
}
