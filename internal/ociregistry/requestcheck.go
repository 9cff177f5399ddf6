package ociregistry

import (
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/opencontainers/go-digest"

	"github.com/registryusers/registryusers/internal/oci"
)

var (
	uploadID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	validTag = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
	// contentRange is the form in the OCI distribution specification ("Pushing a
	// blob in chunks"), with numbers that fit into 64 bits.
	contentRange = regexp.MustCompile(`^[0-9]{1,18}-[0-9]{1,18}$`)
)

// checkRequest returns the error of an invalid request, or nil. vars are the variables
// in its path. The library responds to many client errors with 500, and some of them
// reach the file system; they are refused here, before they reach the library.
func checkRequest(r *http.Request, endpoint string, vars map[string]string) *oci.Error {
	switch endpoint {
	case v2.RouteNameManifest:
		if r.Method == http.MethodPut && r.ContentLength > maxManifestSize {
			return errManifestTooLarge
		}
	case v2.RouteNameTags:
		if last := r.Form.Get("last"); last != "" && !validTag.MatchString(last) {
			return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeTagInvalid, Message: "last must be a tag"}
		}
	case v2.RouteNameBlobUploadChunk:
		if !uploadID.MatchString(vars["uuid"]) {
			return &oci.Error{Status: http.StatusNotFound, Code: oci.CodeBlobUploadUnknown, Message: "there is no such upload: start another"}
		}
		if text := r.Header.Get("Content-Range"); text != "" && uploads(r.Method) && !contentRange.MatchString(text) {
			return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeBlobUploadInvalid, Message: "Content-Range must be START-END, such as 0-1023"}
		}
		if r.Method == http.MethodPatch && !isOctetStream(r.Header.Get("Content-Type")) {
			return &oci.Error{Status: http.StatusUnsupportedMediaType, Code: oci.CodeUnsupported, Message: "the Content-Type of a chunk must be application/octet-stream"}
		}
	}
	if uploads(r.Method) && namesOtherDigest(r, vars["reference"]) {
		return &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeDigestInvalid, Message: "only sha256 digests are supported"}
	}
	return nil
}

// uploads reports whether requests with the method upload content.
func uploads(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

func isOctetStream(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return contentType == "" || err == nil && mediaType == octetStream
}

const octetStream = "application/octet-stream"

// namesOtherDigest reports whether a request names the uploaded content by a digest
// of another algorithm than sha256. The library would store the content under its
// sha256 digest, and not find it by the name.
func namesOtherDigest(r *http.Request, reference string) bool {
	for _, text := range slices.Concat([]string{reference}, r.Form["digest"], r.Form["mount"]) {
		if algorithm, _, isDigest := strings.Cut(text, ":"); isDigest && algorithm != string(digest.SHA256) {
			return true
		}
	}
	return false
}
