package oci

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The codes of [Error]: the OCI distribution specification's ("Error Codes"),
// and beside them the distribution project's UNAVAILABLE, UNKNOWN and RANGE_INVALID.
const (
	CodeBlobUploadInvalid = "BLOB_UPLOAD_INVALID"
	CodeBlobUploadUnknown = "BLOB_UPLOAD_UNKNOWN"
	CodeDenied            = "DENIED"
	CodeDigestInvalid     = "DIGEST_INVALID"
	CodeManifestInvalid   = "MANIFEST_INVALID"
	CodeRangeInvalid      = "RANGE_INVALID"
	CodeSizeInvalid       = "SIZE_INVALID"
	CodeTagInvalid        = "TAG_INVALID"
	CodeTooManyRequests   = "TOOMANYREQUESTS"
	CodeUnauthorized      = "UNAUTHORIZED"
	CodeUnavailable       = "UNAVAILABLE"
	CodeUnknown           = "UNKNOWN"
	CodeUnsupported       = "UNSUPPORTED"
)

// Error is an error response of the registry or of its token service.
type Error struct {
	Status     int
	Code       string
	Message    string        // clients show it to their user
	RetryAfter time.Duration // when another try may succeed; 0: the response does not say
	Cause      error         // for the log, not for the client
}

// Unavailable returns the response to a request that cannot be served now: a 503
// with a Retry-After of a second.
func Unavailable(message string, cause error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: message, RetryAfter: time.Second, Cause: cause}
}

// IsBusy reports whether the error says that too many requests are in progress.
func (e *Error) IsBusy() bool { return e.Status == http.StatusServiceUnavailable && e.Cause == nil }

// Write writes the error as the OCI distribution specification has it, in place
// of a response whose headers may have been set already.
func (e *Error) Write(w http.ResponseWriter) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	header := w.Header()
	header.Del("Content-Length")
	header.Set("Content-Type", "application/json")
	if e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string][]entry{"errors": {{e.Code, e.Message}}}) // the client may have gone
}
