package ociregistry

import (
	"net/http"
	"sync"
	"time"

	"github.com/registryusers/registryusers/internal/oci"
)

// MaxRequests is how many requests of users may be in progress at a time, if
// [Options.Requests] does not say fewer. A request that waits for a slow client
// takes memory and an open file, and one user must not take them all.
const MaxRequests = 1024

// maxStrangerRequests is for all requests without a valid token, which have no
// share in the others and open no file; beyond it the response is 503.
const maxStrangerRequests = 128

// requestLimits are how many requests may be in progress at a time.
type requestLimits struct {
	total    int // of all users; beyond it the response is 503
	registry int // of the users of one registry, who must leave room for the others; beyond it the response is 429
	user     int // beyond it the response is 429
}

// minUserRequests is the least share of a user: clients pull several layers at once.
const minUserRequests = 4

func newRequestLimits(total int) requestLimits {
	return requestLimits{total: total, registry: max(minUserRequests, total/2), user: max(minUserRequests, total/4)}
}

// The library holds a manifest whole, several times over, until the client has
// sent or received it. So the bytes of large ones are limited, too.
const (
	// smallManifestSize is how large a manifest may be without being counted:
	// almost all are smaller.
	smallManifestSize = 32 << 10
	// maxUserManifestBytes is for one user; beyond it the answer is 429.
	maxUserManifestBytes = 8 << 20
	// maxRegistryManifestBytes is for the users of one registry together; beyond
	// it the answer is 429.
	maxRegistryManifestBytes = maxManifestBytes / 2
	// maxManifestBytes is for all users together; beyond it the answer is 503.
	maxManifestBytes = 32 << 20
	// tagListSize is what a list of tags counts as: the library holds all tags of
	// the repository, however few are asked for.
	tagListSize = 2 << 20
)

// limits counts the requests in progress, and the bytes of their manifests.
type limits struct {
	requests requestLimits

	mu         sync.Mutex
	users      map[int64]use  // by id; without those who have none
	registries map[string]use // of users, by namespace; likewise
	total      use            // of users
	strangers  int
}

type use struct {
	requests  int
	manifests int64 // bytes
}

// enter counts a request in, of a stranger if v is nil; leave must be called at
// its end. Beyond a limit it is refused with the status, and leave is nil.
func (l *limits) enter(v *principal) (leave func(), status int) {
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
	case l.users[v.account.ID].requests >= l.requests.user,
		l.registries[v.account.Namespace].requests >= l.requests.registry:
		return nil, http.StatusTooManyRequests
	case l.total.requests >= l.requests.total:
		return nil, http.StatusServiceUnavailable
	}
	l.add(v, use{requests: 1})
	return func() { l.leave(v) }, 0
}

func (l *limits) leave(v *principal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v == nil {
		l.strangers--
		return
	}
	l.add(v, use{requests: -1})
}

// hold counts the bytes of a manifest in; release must be called at the end of
// the request. Beyond a limit it is refused with the status, and release is nil.
func (l *limits) hold(v *principal, size int64) (release func(), status int) {
	if size <= smallManifestSize {
		return func() {}, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.users[v.account.ID].manifests+size > maxUserManifestBytes,
		l.registries[v.account.Namespace].manifests+size > maxRegistryManifestBytes:
		return nil, http.StatusTooManyRequests
	case l.total.manifests+size > maxManifestBytes:
		return nil, http.StatusServiceUnavailable
	}
	l.add(v, use{manifests: size})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.add(v, use{manifests: -size})
	}, 0
}

// add adds what a user uses; call it with the lock.
func (l *limits) add(v *principal, more use) {
	if l.users == nil {
		l.users, l.registries = make(map[int64]use), make(map[string]use)
	}
	addTo(l.users, v.account.ID, more)
	addTo(l.registries, v.account.Namespace, more)
	l.total = l.total.plus(more)
}

func addTo[K comparable](uses map[K]use, key K, more use) {
	sum := uses[key].plus(more)
	uses[key] = sum
	if sum == (use{}) {
		delete(uses, key)
	}
}

func (u use) plus(more use) use {
	return use{u.requests + more.requests, u.manifests + more.manifests}
}

// busy returns the error of a status of the limits.
func busy(status int) *oci.Error {
	if status == http.StatusTooManyRequests {
		return &oci.Error{Status: status, Code: oci.CodeTooManyRequests, Message: "this user, or this registry, has too many requests in progress; try again when some have ended", RetryAfter: time.Second}
	}
	return oci.Unavailable("too many requests are in progress; try again", nil)
}
