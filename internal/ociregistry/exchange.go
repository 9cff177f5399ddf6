package ociregistry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
)

type exchangeKey struct{}

// exchange is a request that the library serves, and its response. It replaces the
// texts of the library's failures, because they contain file paths.
type exchange struct {
	*observe.Record
	principal *principal        // nil without a valid token
	endpoint  string            // name of the library's route; "": none
	vars      map[string]string // in the request's path
	atEnd     []func()          // called when the request has ended
	invalid   error             // why the token is not valid
	reason    string            // of a 401, for the log

	refused atomic.Pointer[oci.Error] // the response, if the library responds with an error
}

// exchangeOf returns the exchange of a context that was passed to the library, or
// nil.
func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}

// String returns the request's id. logrus formats the fields of its entries.
func (e *exchange) String() string { return e.ID }

func (e *exchange) end() {
	for _, release := range e.atEnd {
		release()
	}
}

// errRefused is the error that the library gets for a request that this package
// refuses behind the library.
var errRefused = errors.New("the request is refused")

// refuse makes err the response to a request that the library serves, in place of any
// error response of the library. It returns an error for the library.
func (e *exchange) refuse(err *oci.Error) error {
	e.refused.Store(err)
	return errRefused
}

// statusClientGone is nginx's "client closed request". No client receives it, but it
// is logged.
const statusClientGone = 499

// replaceFailure sends another response in place of some of the library's error
// responses, and then reports true. The library's body is dropped.
func (e *exchange) replaceFailure(status int) bool {
	refused := e.refused.Load()
	switch isJSON := e.Writer.Header().Get("Content-Type") == "application/json"; {
	case status >= http.StatusBadRequest && refused != nil:
		e.respond(refused)
	case status == http.StatusInternalServerError && e.Request.Context().Err() != nil:
		e.replace(statusClientGone, oci.CodeUnknown, "the client has disconnected")
	case status == http.StatusInternalServerError:
		e.replace(status, oci.CodeUnknown, "the registry failed to carry out the request")
	case status == http.StatusRequestedRangeNotSatisfiable && !isJSON:
		e.replace(status, oci.CodeRangeInvalid, "the content has no such range")
	case status == http.StatusMethodNotAllowed && !isJSON:
		e.respond(oci.MethodNotAllowed())
	case status >= http.StatusBadRequest && !isJSON:
		e.replace(status, oci.CodeUnsupported, http.StatusText(status))
	default:
		if status >= http.StatusBadRequest {
			e.Writer.Header().Del("Content-Length")
			e.Writer.Rewrite(e.rewriteErrors)
		}
		return false
	}
	return true
}

func (e *exchange) respond(err *oci.Error) { err.Respond(e.Record) }

func (e *exchange) replace(status int, code, message string) {
	e.respond(&oci.Error{Status: status, Code: code, Message: message})
}

// codesWithDetail are the codes whose detail names what was requested. The detail of
// any other code is the text of a Go error.
var codesWithDetail = []string{
	errcode.ErrorCodeUnauthorized.String(), errcode.ErrorCodeNameUnknown.String(), errcode.ErrorCodeManifestUnknown.String(),
	errcode.ErrorCodeManifestBlobUnknown.String(), errcode.ErrorCodeBlobUnknown.String(), errcode.ErrorCodeDigestInvalid.String(),
	errcode.ErrorCodePaginationNumberInvalid.String(),
}

// clearMessages replace messages of the library that say too little without their
// detail.
var clearMessages = map[string]string{
	errcode.ErrorCodeManifestInvalid.Message():   "the content is not a manifest of the type that its Content-Type names",
	errcode.ErrorCodeBlobUploadInvalid.Message(): "the URL does not belong to this upload: use the newest Location of the upload, or start another",
}

// rewriteErrors returns the library's error body without the texts of Go errors, and
// adds its first error to the request's record.
func (e *exchange) rewriteErrors(body []byte) ([]byte, error) {
	type entry struct {
		Code    string          `json:"code"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail,omitempty"`
	}
	var list struct {
		Errors []entry `json:"errors"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	for i := range list.Errors {
		one := &list.Errors[i]
		if !slices.Contains(codesWithDetail, one.Code) {
			one.Detail = nil
		}
		one.Message = cmp.Or(clearMessages[one.Message], one.Message)
		if i == 0 {
			e.Add(slog.String("code", one.Code), slog.String("message", cmp.Or(e.reason, one.Message)))
		}
	}
	text, err := json.Marshal(list)
	return append(text, '\n'), err
}
