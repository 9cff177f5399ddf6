package ociregistry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/manifestlist"
	"github.com/distribution/distribution/v3/manifest/ocischema"
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

// checkReferences returns an error if an image manifest refers to a blob, or a list to a
// manifest, that the repository does not have. Foreign layers with urls are not checked.
func (m *manifests) checkReferences(ctx context.Context, manifest distribution.Manifest) error {
	blobs := m.repository.Repository.Blobs(ctx)
	isImage := true
	switch manifest.(type) {
	case *manifestlist.DeserializedManifestList, *ocischema.DeserializedImageIndex:
		isImage = false
	}
	var missing distribution.ErrManifestVerification
	for _, desc := range manifest.References() {
		exists := true
		var err error
		if !isImage {
			exists, err = m.Exists(ctx, desc.Digest)
		} else if len(desc.URLs) == 0 || !slices.Contains(foreignLayers, desc.MediaType) {
			_, err = blobs.Stat(ctx, desc.Digest)
		}
		if !exists || errors.Is(err, distribution.ErrBlobUnknown) {
			missing = append(missing, distribution.ErrManifestBlobUnknown{Digest: desc.Digest})
		} else if err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return missing
	}
	return nil
}
