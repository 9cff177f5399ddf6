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

	mu   sync.Mutex
	used map[any]use // by [limit.key]
}

type use struct {
	requests  int
	manifests int64 // bytes
}

// limit is the most that those with the same key may use.
type limit struct {
	key     any
	most    use
	refusal *oci.Error // beyond it
}

var (
	errOverloaded = oci.Unavailable("too many requests are in progress: try again", nil)
	errTooMany    = &oci.Error{Status: http.StatusTooManyRequests, Code: oci.CodeTooManyRequests, Message: "this user or this registry has too many requests in progress: try again when some have ended", RetryAfter: time.Second}
)

// of returns the limits of a request; p is nil without a valid token.
func (l *limits) of(p *principal) []limit {
	if p == nil {
		return []limit{{"unauthenticated", use{requests: maxStrangerRequests}, errOverloaded}}
	}
	return []limit{
		{p.account.ID, use{l.requests.user, maxUserManifestBytes}, errTooMany},
		{"registry " + p.account.Namespace, use{l.requests.registry, maxRegistryManifestBytes}, errTooMany},
		{"all users", use{l.requests.total, maxManifestBytes}, errOverloaded},
	}
}

// take counts what a request uses until release is called. If a limit is reached, it
// returns the error to refuse the request with.
func (l *limits) take(p *principal, more use) (release func(), refused *oci.Error) {
	if more.manifests <= smallManifestSize {
		more.manifests = 0
	}
	all := l.of(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range all {
		used := l.used[one.key]
		if used.requests+more.requests > one.most.requests || used.manifests+more.manifests > one.most.manifests {
			return nil, one.refusal
		}
	}
	l.add(all, more)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.add(all, use{-more.requests, -more.manifests})
	}, nil
}

// add adds to what is used. mu must be locked.
func (l *limits) add(all []limit, more use) {
	if l.used == nil {
		l.used = make(map[any]use)
	}
	for _, one := range all {
		sum := use{l.used[one.key].requests + more.requests, l.used[one.key].manifests + more.manifests}
		l.used[one.key] = sum
		if sum == (use{}) {
			delete(l.used, one.key)
		}
	}
}
