package ociregistry

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/manifest/manifestlist"
	"github.com/distribution/distribution/v3/manifest/schema2"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifestTypes are the media types of manifests that the library supports.
var manifestTypes = strings.Join([]string{
	v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, schema2.MediaTypeManifest, manifestlist.MediaTypeManifestList,
}, ", ")

// acceptsAll reports whether a client accepts any type of manifest: its Accept
// header is missing or has */* or application/* (RFC 9110, section 12.5.1).
func acceptsAll(header http.Header) bool {
	values := strings.Join(header["Accept"], ",")
	if strings.TrimSpace(values) == "" {
		return true
	}
	for value := range strings.SplitSeq(values, ",") {
		mediaType, parameters, err := mime.ParseMediaType(value)
		if err != nil || mediaType != "*/*" && mediaType != "application/*" {
			continue
		}
		if q, err := strconv.ParseFloat(parameters["q"], 64); err != nil || q > 0 {
			return true
		}
	}
	return false
}

// acceptEverything adds all types of manifests to the request's Accept header if the client
// accepts any type: the library returns only types that the header names.
func acceptEverything(r *http.Request) {
	if acceptsAll(r.Header) {
		r.Header = r.Header.Clone()
		r.Header.Add("Accept", manifestTypes)
	}
}
