package ociregistry

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/schema2"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/registryusers/registryusers/internal/oci"
)

// foreignLayers are the media types of layers that clients download from elsewhere:
// the base layers of Windows images. All of them are accepted in every image
// manifest; the library supports three, each in one type of manifest.
var foreignLayers = []string{
	schema2.MediaTypeForeignLayer,
	"application/vnd.docker.image.rootfs.foreign.diff.tar",
	v1.MediaTypeImageLayerNonDistributable,     //nolint:staticcheck // deprecated, but images still have them
	v1.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck // as above
	v1.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // as above
}

// manifestFields are the fields of a manifest that the library does not check.
type manifestFields struct {
	specs.Versioned
	Subject *v1.Descriptor `json:"subject"` // the library does not read it
}

// checkManifest returns what is wrong with a manifest that the library accepts, or
// takes for a failure of its own, or nil.
func checkManifest(manifest distribution.Manifest, payload []byte) *oci.Error {
	var fields manifestFields
	if json.Unmarshal(payload, &fields) != nil { // the library has parsed it
		return manifestInvalid("the manifest's schemaVersion must be a number, and its subject a descriptor")
	}
	if fields.SchemaVersion != 2 {
		return manifestInvalid("the manifest's schemaVersion must be 2")
	}
	named := manifest.References()
	if fields.Subject != nil {
		named = append(named, *fields.Subject)
	}
	for _, desc := range named {
		if desc.Digest.Validate() != nil || desc.Digest.Algorithm() != digest.SHA256 {
			return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeDigestInvalid, Message: "the manifest has an invalid digest: a digest must be sha256: and 64 hexadecimal digits"}
		}
	}
	for _, desc := range manifest.References() {
		_, isDocker := manifest.(*schema2.DeserializedManifest)
		if isDocker && desc.MediaType == schema2.MediaTypeForeignLayer && len(desc.URLs) == 0 {
			return manifestInvalid("the manifest has a foreign layer without urls")
		}
		isOCILayer := !isDocker && (desc.MediaType == v1.MediaTypeImageLayer || desc.MediaType == v1.MediaTypeImageLayerGzip)
		if !isOCILayer && !slices.Contains(foreignLayers, desc.MediaType) {
			continue
		}
		for _, text := range desc.URLs {
			u, err := url.Parse(text)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" {
				return manifestInvalid("the urls of a layer must be http or https, without a fragment")
			}
		}
	}
	return nil
}

func manifestInvalid(message string) *oci.Error {
	return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeManifestInvalid, Message: message}
}

// checkReferences returns an error if an image manifest refers to a blob that
// the repository does not have. Foreign layers with urls are not checked.
func checkReferences(ctx context.Context, blobs distribution.BlobStatter, manifest distribution.Manifest) error {
	var missing distribution.ErrManifestVerification
	for _, desc := range manifest.References() {
		if len(desc.URLs) > 0 && slices.Contains(foreignLayers, desc.MediaType) {
			continue
		}
		switch _, err := blobs.Stat(ctx, desc.Digest); err {
		case nil:
		case distribution.ErrBlobUnknown: //nolint:errorlint // the library returns it as it is
			missing = append(missing, distribution.ErrManifestBlobUnknown{Digest: desc.Digest})
		default:
			return err
		}
	}
	if len(missing) > 0 {
		return missing
	}
	return nil
}

// onlyClientErrors returns the error of a manifest's Put, or, if part of it is a
// failure of the storage, only that part: the library would otherwise send the
// failure's text to the client.
func onlyClientErrors(err error) error {
	list, ok := err.(distribution.ErrManifestVerification) //nolint:errorlint // the library returns and expects it as it is
	if !ok {
		return err
	}
	for _, one := range list {
		switch one.(type) { //nolint:errorlint // as above
		case distribution.ErrManifestBlobUnknown, distribution.ErrManifestNameInvalid, distribution.ErrManifestUnverified:
		default:
			return one
		}
	}
	return err
}
