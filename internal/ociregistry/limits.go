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

// The library keeps several copies of a manifest in memory until the client has
// sent or received it. So the bytes of large manifests are limited, too.
const (
	// smallManifestSize is the largest size of a manifest that is not counted.
	// Almost all manifests are smaller.
	smallManifestSize = 32 << 10
	// maxUserManifestBytes is for one user; beyond it the status is 429.
	maxUserManifestBytes = 8 << 20
	// maxRegistryManifestBytes is for all users of one registry; beyond it the
	// status is 429.
	maxRegistryManifestBytes = maxManifestBytes / 2
	// maxManifestBytes is for all users; beyond it the status is 503.
	maxManifestBytes = 32 << 20
	// tagListSize is the size that a request for a list of tags counts as: the
	// library reads all tags of the repository, however few are requested.
	tagListSize = 2 << 20
)

// limits counts the requests in progress, and the bytes of their manifests.
type limits struct {
	requests requestLimits

	mu         sync.Mutex
	users      map[int64]use  // by user id; only of users with requests
	registries map[string]use // by namespace; only of registries with requests
	total      use            // of all users
	strangers  int            // requests without a valid token
}

type use struct {
	requests  int
	manifests int64 // bytes
}

// enter counts a request; p is nil without a valid token. leave must be called at
// the end of the request. If a limit is reached, leave is nil, and status is the
// status to refuse the request with.
func (l *limits) enter(p *principal) (leave func(), status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		if l.strangers >= maxStrangerRequests {
			return nil, http.StatusServiceUnavailable
		}
		l.strangers++
		return func() { l.leave(nil) }, 0
	}
	switch {
	case l.users[p.account.ID].requests >= l.requests.user,
		l.registries[p.account.Namespace].requests >= l.requests.registry:
		return nil, http.StatusTooManyRequests
	case l.total.requests >= l.requests.total:
		return nil, http.StatusServiceUnavailable
	}
	l.add(p, use{requests: 1})
	return func() { l.leave(p) }, 0
}

func (l *limits) leave(p *principal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		l.strangers--
		return
	}
	l.add(p, use{requests: -1})
}

// hold counts the bytes of a manifest. release must be called at the end of the
// request. If a limit is reached, release is nil, and status is the status to refuse
// the request with.
func (l *limits) hold(p *principal, size int64) (release func(), status int) {
	if size <= smallManifestSize {
		return func() {}, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.users[p.account.ID].manifests+size > maxUserManifestBytes,
		l.registries[p.account.Namespace].manifests+size > maxRegistryManifestBytes:
		return nil, http.StatusTooManyRequests
	case l.total.manifests+size > maxManifestBytes:
		return nil, http.StatusServiceUnavailable
	}
	l.add(p, use{manifests: size})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.add(p, use{manifests: -size})
	}, 0
}

// add adds to the counts of a user. mu must be locked.
func (l *limits) add(p *principal, more use) {
	if l.users == nil {
		l.users, l.registries = make(map[int64]use), make(map[string]use)
	}
	addTo(l.users, p.account.ID, more)
	addTo(l.registries, p.account.Namespace, more)
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

// busy returns the error for a status that enter or hold returned.
func busy(status int) *oci.Error {
	if status == http.StatusTooManyRequests {
		return &oci.Error{Status: status, Code: oci.CodeTooManyRequests, Message: "this user or this registry has too many requests in progress: try again when some have ended", RetryAfter: time.Second}
	}
	return oci.Unavailable("too many requests are in progress: try again", nil)
}
