package oci_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"

	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
)

func TestErrorRespond(t *testing.T) {
	for _, tt := range []struct {
		err     oci.Error
		headers http.Header
		body    string
	}{
		{
			oci.Error{Status: 403, Code: oci.CodeDenied, Message: `no "x" & <y>`},
			http.Header{"Content-Type": {"application/json"}},
			`{"errors":[{"code":"DENIED","message":"no \"x\" \u0026 \u003cy\u003e"}]}` + "\n",
		},
		{
			oci.Error{Status: 429, Code: oci.CodeTooManyRequests, Message: "wait", RetryAfter: 1500 * time.Millisecond},
			http.Header{"Content-Type": {"application/json"}, "Retry-After": {"2"}},
			`{"errors":[{"code":"TOOMANYREQUESTS","message":"wait"}]}` + "\n",
		},
		{
			*oci.Unavailable("not now", errors.New("open /var/lib: denied")),
			http.Header{"Content-Type": {"application/json"}, "Retry-After": {"1"}},
			`{"errors":[{"code":"UNAVAILABLE","message":"not now"}]}` + "\n",
		},
	} {
		recorder := httptest.NewRecorder()
		recorder.Header().Set("Content-Length", "3")
		recorder.Header().Set("Content-Type", "text/plain")
		record := new(observe.Record)
		record.Writer.ResponseWriter = recorder
		tt.err.Respond(record)
		if recorder.Code != tt.err.Status || !reflect.DeepEqual(recorder.Header(), tt.headers) || recorder.Body.String() != tt.body {
			t.Errorf("%+v: got %d, %v, %s, want %v, %s", tt.err, recorder.Code, recorder.Header(), recorder.Body, tt.headers, tt.body)
		}
	}
}

// Clients meet both the library's errors and ours: a code must be one word for both.
func TestCodesAreTheLibrarys(t *testing.T) {
	known := map[string]bool{}
	for _, group := range []string{"errcode", "registry.api.v2"} {
		for _, descriptor := range errcode.GetErrorCodeGroup(group) {
			known[descriptor.Value] = true
		}
	}
	_ = v2.RouteNameBase // links the package, which registers its codes
	for _, code := range []string{
		oci.CodeBlobUploadInvalid, oci.CodeBlobUploadUnknown, oci.CodeDenied, oci.CodeDigestInvalid, oci.CodeManifestInvalid, oci.CodeRangeInvalid, oci.CodeSizeInvalid,
		oci.CodeTagInvalid, oci.CodeTooManyRequests, oci.CodeUnauthorized, oci.CodeUnavailable, oci.CodeUnknown, oci.CodeUnsupported,
	} {
		if !known[code] {
			t.Errorf("the code %s: not one of the library's, %v", code, known)
		}
	}
}
