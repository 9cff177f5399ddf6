package ociregistry

import (
	"net/http"
	"time"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"

	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/semaphore"
)

// MaxRequests is how many requests of users may be in progress at a time, if
// [Options.Requests] does not say fewer. A request that waits for a slow client
// takes memory and an open file, and one user must not take them all.
const MaxRequests = 1024

// maxUnauthenticated is for all requests without a valid token, which have no
// share in the others and open no file; beyond it the response is 503.
const maxUnauthenticated = 128

// requestLimits are how many requests may be in progress at a time.
type requestLimits struct {
	total    int64 // of all users; beyond it the response is 503
	registry int64 // of the users of one registry, who must leave room for the others; beyond it the response is 429
	user     int64 // beyond it the response is 429
}

// minUserRequests is the least share of a user: clients pull several layers at once.
const minUserRequests = 4

func newRequestLimits(total int64) requestLimits {
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

// maxManifestSize is the library's limit, in bytes.
const maxManifestSize = 4 << 20

var errManifestTooLarge = &oci.Error{Status: http.StatusRequestEntityTooLarge, Code: oci.CodeManifestInvalid, Message: "a manifest must be at most 4 MiB"}

// limits counts the requests of users in progress, and the bytes of their manifests.
type limits struct {
	requests requestLimits
	inUse    semaphore.Keyed
}

// use is what a request uses.
type use struct {
	requests      int64
	manifestBytes int64
}

// useOf returns what a request uses while it is served. The library keeps a manifest in
// memory while it is pushed.
func useOf(e *exchange, r *http.Request) use {
	switch {
	case e.principal == nil:
	case e.endpoint == v2.RouteNameManifest && r.Method == http.MethodPut && r.ContentLength < 0: // of unknown size
		return use{1, maxManifestSize}
	case e.endpoint == v2.RouteNameManifest && r.Method == http.MethodPut:
		return use{1, min(r.ContentLength, maxManifestSize)}
	case e.endpoint == v2.RouteNameTags:
		return use{1, tagListSize}
	}
	return use{requests: 1}
}

// limit is the most that requests with the same key may use.
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
		return []limit{{"unauthenticated", use{requests: maxUnauthenticated}, errOverloaded}}
	}
	return []limit{
		{p.account.ID, use{l.requests.user, maxUserManifestBytes}, errTooMany},
		{"registry " + p.account.Namespace, use{l.requests.registry, maxRegistryManifestBytes}, errTooMany},
		{"all users", use{l.requests.total, maxManifestBytes}, errOverloaded},
	}
}

// bytesKey is the key of the manifest bytes of a [limit]. Requests have the limit's own.
type bytesKey struct{ limit any }

// take counts what a request uses until its exchange ends. If a limit is reached, it
// returns the error to refuse the request with.
func (l *limits) take(e *exchange, more use) *oci.Error {
	if more.manifestBytes <= smallManifestSize {
		more.manifestBytes = 0
	}
	all := l.of(e.principal)
	shares := make([]semaphore.Share, 0, 2*len(all))
	for _, one := range all {
		shares = append(shares, semaphore.Share{Key: one.key, N: more.requests, Most: one.most.requests},
			semaphore.Share{Key: bytesKey{one.key}, N: more.manifestBytes, Most: one.most.manifestBytes})
	}
	release, full := l.inUse.TryAcquire(shares...)
	if release == nil {
		return all[full/2].refusal
	}
	e.atEnd = append(e.atEnd, release)
	return nil
}
