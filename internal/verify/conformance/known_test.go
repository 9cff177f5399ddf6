package conformance

// refusedPosts lists the tests whose outcome differs from the library's: pushes in
// one POST by a sha512 digest. The library does not support pushes in one POST and
// ignores the digest. The server refuses the digest, because it supports only
// sha256.
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

// foreignLayers is the prefix of the names of the tests that pass on the server and
// fail on the library, which refuses layers with URLs of hosts that its
// configuration does not allow.
const foreignLayers = "non-distributable-layers/"

// knownFailures lists the tests that fail, for two reasons. The registry library
// (distribution v3.1.2) has no referrers API, and its response to a push with a
// subject does not have the OCI-Subject header. Digests other than sha256 are not
// supported (without the refusal, the library fails most of these tests in another
// way).
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
