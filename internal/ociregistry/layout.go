package ociregistry

import (
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// The library's layout below the image directory, as far as this package reads it:
//
//	blobs/sha256/HH/HEX/data                               content
//	repositories/NAME/_layers/sha256/HEX/link              a blob of the repository
//	repositories/NAME/_manifests/revisions/sha256/HEX/link a manifest of the repository
//	repositories/NAME/_manifests/tags/TAG/current/link     the manifest of the tag
//	repositories/NAME/_uploads/ID/{startedat,data}         an upload in progress
//
// and this package adds:
//
//	blobs/sha256/HH/HEX/size                               size of the content, see size.go
//	sizes-complete                                         each blob has its size file, see verify.go
//
// A link is a file that contains a digest. Storage drivers use these paths with
// slashes, relative to the image directory.
const (
	blobsRoot        = "/docker/registry/v2/blobs"
	repositoriesRoot = "/docker/registry/v2/repositories"
	sizesComplete    = "/docker/registry/v2/sizes-complete"
)

// directoryMode is the mode of the library's directories. They are below the image
// directory, which only its owner can read.
const directoryMode = 0o777

// minAge is the minimum age of files that are removed without a request: abandoned
// uploads, and garbage. A push may take that long from its first blob to its manifest.
const minAge = 24 * time.Hour

// dataPath returns the path of a blob's content.
func dataPath(d digest.Digest) string {
	return path.Join(blobsRoot, d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

// dataDigest returns the digest of the blob whose content is at the path. ok is
// false for any other path.
func dataDigest(p string) (d digest.Digest, ok bool) {
	rest, ok := strings.CutPrefix(p, blobsRoot+"/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 || parts[3] != "data" {
		return "", false
	}
	return pathDigest(parts[0], parts[2])
}

// layerLinkPath returns the path of the link that adds a blob to a repository.
func layerLinkPath(repository string, d digest.Digest) string {
	return path.Join(repositoriesRoot, repository, "_layers", d.Algorithm().String(), d.Encoded(), "link")
}

// linkTarget returns the digest that a link contains. ok is false if that is not a
// sha256 digest, or not the one in the link's path.
func linkTarget(p string, content []byte) (target digest.Digest, ok bool) {
	target, err := digest.Parse(string(content))
	if err != nil || target.Algorithm() != digest.SHA256 {
		return "", false
	}
	directory := path.Dir(p)
	if path.Base(path.Dir(directory)) == string(digest.SHA256) {
		return target, target.Encoded() == path.Base(directory)
	}
	return target, true // a tag's current link, or one with another algorithm in its path
}

func pathDigest(algorithm, encoded string) (d digest.Digest, ok bool) {
	d = digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded)
	return d, d.Validate() == nil
}
