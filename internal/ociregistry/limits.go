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

// filesOfRequest is how many files a request opens at most: an upload, and the state that
// is written beside it. A pull opens one.
const filesOfRequest = 2

// RequestsWith returns how many requests may be in progress if they may have so many
// files open; 0 is no limit.
func RequestsWith(openFiles int) int {
	if openFiles == 0 {
		return MaxRequests
	}
	return min(MaxRequests, max(1, openFiles/filesOfRequest))
}

const (
	// minUserRequests is the least share of a user: clients pull several layers at once.
	minUserRequests = 4
	// maxUnauthenticated is how many requests without a valid token may be in progress.
	// They have no share in the others, and open no file.
	maxUnauthenticated = 128
)

// The library keeps several copies of a manifest in memory until the client has
// sent or received it. So the bytes of large manifests are limited, too.
const (
	// maxManifestSize is the library's limit.
	maxManifestSize = 4 << 20
	// smallManifestSize is the largest size of a manifest that is not counted.
	// Almost all manifests are smaller.
	smallManifestSize = 32 << 10
	// maxManifestBytes is for all users.
	maxManifestBytes = 32 << 20
	// tagListSize is the size that a request for a list of tags counts as: the
	// library reads all tags of the repository, however few are requested.
	tagListSize = 2 << 20
)

var (
	errManifestTooLarge = &oci.Error{Status: http.StatusRequestEntityTooLarge, Code: oci.CodeManifestInvalid, Message: "a manifest must be at most 4 MiB"}
	errOverloaded       = oci.Unavailable("too many requests are in progress: try again", nil)
	errTooMany          = &oci.Error{Status: http.StatusTooManyRequests, Code: oci.CodeTooManyRequests, Message: "this user or this registry has too many requests in progress: try again when some have ended", RetryAfter: time.Second}
)

// use is what requests in progress use.
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

// limits counts the requests in progress, and the bytes of their manifests.
type limits struct {
	maxRequests int64 // of all users
	inUse       semaphore.Keyed
}

// limit is the most that requests with the same key may use.
type limit struct {
	key  any
	most use
}

// limitsFor returns the limits of a request, the widest last; p is nil without a valid token. A
// registry has half of what all users have, to leave room for the others, and a user a
// quarter.
func (l *limits) limitsFor(p *principal) []limit {
	if p == nil {
		return []limit{{"unauthenticated", use{requests: maxUnauthenticated}}}
	}
	return []limit{
		{p.account.ID, use{max(minUserRequests, l.maxRequests/4), maxManifestBytes / 4}},
		{"registry " + p.account.Namespace, use{max(minUserRequests, l.maxRequests/2), maxManifestBytes / 2}},
		{"all users", use{l.maxRequests, maxManifestBytes}},
	}
}

// bytesKey is the key of the manifest bytes of a [limit]. Requests have the limit's own.
type bytesKey struct{ limit any }

// acquire counts what a request uses until its exchange ends. If a limit is reached, it
// returns the error to refuse the request with: 503 for the widest limit, or 429.
func (l *limits) acquire(e *exchange, more use) *oci.Error {
	if more.manifestBytes <= smallManifestSize {
		more.manifestBytes = 0
	}
	var shares []semaphore.Claim
	for _, one := range l.limitsFor(e.principal) {
		shares = append(shares, semaphore.Claim{Key: one.key, Amount: more.requests, Limit: one.most.requests},
			semaphore.Claim{Key: bytesKey{one.key}, Amount: more.manifestBytes, Limit: one.most.manifestBytes})
	}
	release, full := l.inUse.TryAcquire(shares...)
	switch {
	case release != nil:
		e.atEnd = append(e.atEnd, release)
		return nil
	case full < len(shares)-2:
		return errTooMany
	}
	return errOverloaded
}
