package conformance

// refusedPosts are the tests whose outcome is not the library's: pushes in one
// POST, by a sha512 digest. The library does not support pushes in one POST, and
// ignores the digest; the server refuses the digest, as sha256 alone is supported.
var refusedPosts = []string{
	"sha512 blobs/bad digest post only/blob-post-only",
	"sha512 blobs/empty/blob-post-only",
	"sha512 blobs/emptyJSON/blob-post-only",
	"sha512 blobs/mount anonymous/blob-post-only",
	"sha512 blobs/mount/blob-post-only",
	"sha512 blobs/post only/blob-post-only",
	"sha512 blobs/range requests/blob-post-only",
	"sha512/push/blob-post-only",
}

// foreignLayers begins the names of the tests that pass here and fail in the
// library alone, which refuses layers with urls until it is given the hosts.
const foreignLayers = "non-distributable-layers/"

// knownFailures are the tests that fail. They are of two kinds: the registry
// library (distribution v3.1.2) has no referrers API, and says so in no answer to
// a push with a subject; and digests other than sha256 are not supported (the
// library fails most of these tests in another way, without the refusal).
var knownFailures = []string{
	"artifacts-with-subject/push/manifest-by-digest",
	"artifacts-with-subject/push/manifest-by-tag",
	"artifacts-with-subject/referrers",
	"empty/referrers",
	"index-with-subject/push/manifest-by-digest",
	"index-with-subject/push/manifest-by-tag",
	"index-with-subject/referrers",
	"missing-subject/push/manifest-by-digest",
	"missing-subject/push/manifest-by-tag",
	"missing-subject/referrers",
	"sha512 blobs/chunked multi and put chunk/blob-patch-chunked",
	"sha512 blobs/chunked multi/blob-patch-chunked",
	"sha512 blobs/chunked out-of-order and put chunk/blob-patch-chunked",
	"sha512 blobs/chunked out-of-order/blob-patch-chunked",
	"sha512 blobs/chunked single/blob-patch-chunked",
	"sha512 blobs/empty/blob-get",
	"sha512 blobs/empty/blob-head",
	"sha512 blobs/empty/blob-patch-chunked",
	"sha512 blobs/empty/blob-patch-stream",
	"sha512 blobs/empty/blob-post-only",
	"sha512 blobs/empty/blob-post-put",
	"sha512 blobs/emptyJSON/blob-get",
	"sha512 blobs/emptyJSON/blob-head",
	"sha512 blobs/emptyJSON/blob-patch-chunked",
	"sha512 blobs/emptyJSON/blob-patch-stream",
	"sha512 blobs/emptyJSON/blob-post-only",
	"sha512 blobs/emptyJSON/blob-post-put",
	"sha512 blobs/mount anonymous/blob-mount-anonymous",
	"sha512 blobs/mount anonymous/blob-patch-chunked",
	"sha512 blobs/mount anonymous/blob-patch-stream",
	"sha512 blobs/mount anonymous/blob-post-only",
	"sha512 blobs/mount anonymous/blob-post-put",
	"sha512 blobs/mount missing/blob-mount",
	"sha512 blobs/mount/blob-mount",
	"sha512 blobs/mount/blob-patch-chunked",
	"sha512 blobs/mount/blob-patch-stream",
	"sha512 blobs/mount/blob-post-only",
	"sha512 blobs/mount/blob-post-put",
	"sha512 blobs/post only/blob-post-only",
	"sha512 blobs/post+put/blob-post-put",
	"sha512 blobs/range requests/blob-patch-chunked",
	"sha512 blobs/range requests/blob-patch-stream",
	"sha512 blobs/range requests/blob-post-only",
	"sha512 blobs/range requests/blob-post-put",
	"sha512 blobs/stream/blob-patch-stream",
	"sha512/head/blob-head",
	"sha512/head/manifest-head-by-digest",
	"sha512/pull/blob-get",
	"sha512/pull/manifest-by-digest",
	"sha512/push/blob-patch-chunked",
	"sha512/push/blob-patch-stream",
	"sha512/push/blob-post-only",
	"sha512/push/blob-post-put",
	"sha512/push/manifest-by-digest",
}
