package oci

import (
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/observe"
)

// The codes of [Error]: those of the OCI distribution specification ("Error
// Codes"), and the distribution project's UNAVAILABLE, UNKNOWN and RANGE_INVALID.
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
	Message    string        // clients show it to their users
	RetryAfter time.Duration // when a retry may succeed; 0: the response has no Retry-After
	Cause      error         // for the log; it is not sent
}

// Unavailable returns the response to a request that cannot be served now: 503 with
// a Retry-After of one second.
func Unavailable(message string, cause error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: message, RetryAfter: time.Second, Cause: cause}
}

// MethodNotAllowed returns the response to a request whose path does not have its
// method. The caller sets the header Allow.
func MethodNotAllowed() *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Code: CodeUnsupported, Message: apierror.MethodNotAllowed.Message}
}

// Respond sends the error in the form of the OCI distribution specification, and
// adds it to the request's record, in the record's response. Headers of another response may have been set
// before: Respond replaces their Content-Type and Content-Length. A 503 without a
// cause says that too many requests are in progress.
func (e *Error) Respond(record *observe.Record) {
	record.Add(slog.String("code", e.Code), slog.String("message", e.Message))
	if e.Cause != nil {
		record.SetCause(e.Cause)
	} else if e.Status == http.StatusServiceUnavailable {
		record.Refused()
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w := &record.Writer
	header := w.Header()
	header.Del("Content-Length")
	header.Set("Content-Type", "application/json")
	if e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string][]entry{"errors": {{e.Code, e.Message}}}) // fails only if the client has disconnected
}
