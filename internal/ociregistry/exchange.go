package ociregistry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
)

type exchangeKey struct{}

// exchange is a request that the library serves, and its response. It replaces the
// texts of the library's failures, because they contain file paths.
type exchange struct {
	*observe.Record
	w         http.ResponseWriter // which the library wraps, without sendfile
	principal *principal          // nil without a valid token
	endpoint  string              // name of the library's route; "": none
	diskFull  atomic.Bool         // a full disk is why the request fails, if it fails
	bodyErr   error               // the error that ended the request's body early
	atEnd     []func()            // called when the request has ended

	refused atomic.Pointer[oci.Error] // the response to a request that was refused behind the library
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

// refuse makes err the response to a request that the library serves, whatever error
// response the library sends. It returns an error for the library.
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
	switch isJSON := e.w.Header().Get("Content-Type") == "application/json"; {
	case status >= http.StatusBadRequest && refused != nil:
		e.respond(refused)
	case status >= http.StatusBadRequest && e.bodyErr != nil:
		e.refuseBody()
	case status == http.StatusInternalServerError && e.diskFull.Load():
		e.respond(errDiskFull)
	case status == http.StatusInternalServerError && e.Request.Context().Err() != nil:
		e.replace(statusClientGone, oci.CodeUnknown, "the client has disconnected")
	case status == http.StatusInternalServerError:
		e.replace(status, oci.CodeUnknown, "the registry failed to carry out the request")
	case status == http.StatusRequestedRangeNotSatisfiable && !isJSON:
		e.replace(status, oci.CodeRangeInvalid, "the content has no such range")
	case status >= http.StatusBadRequest && !isJSON:
		e.replace(status, oci.CodeUnsupported, http.StatusText(status))
	default:
		if status >= http.StatusBadRequest {
			e.w.Header().Del("Content-Length")
			e.Writer.Rewrite(rewriteErrors)
		}
		return false
	}
	return true
}

func (e *exchange) respond(err *oci.Error) { err.Respond(e.w, e.Record) }

// refuseBody responds to a request whose body could not be read to its end.
func (e *exchange) refuseBody() {
	e.w.Header().Set("Connection", "close")
	if tooLarge := new(http.MaxBytesError); errors.As(e.bodyErr, &tooLarge) {
		e.replace(http.StatusRequestEntityTooLarge, oci.CodeManifestInvalid, manifestTooLarge)
		return
	}
	if errors.Is(e.bodyErr, os.ErrDeadlineExceeded) {
		e.replace(http.StatusRequestTimeout, oci.CodeSizeInvalid, "the client sent the content too slowly, or paused for too long")
		return
	}
	e.replace(http.StatusBadRequest, oci.CodeSizeInvalid, "the content was cut off before its end")
}

func (e *exchange) replace(status int, code, message string) {
	e.respond(&oci.Error{Status: status, Code: code, Message: message})
}

// errBody is the error that the library gets for a body that could not be read to
// its end.
var errBody = errors.New("the request's body was not read to its end")

// body is a request's body. It records a read error in the exchange.
type body struct {
	io.ReadCloser
	exchange *exchange
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		b.exchange.bodyErr = err
		return n, errBody
	}
	return n, err
}

// errDiskFull is the response to an upload for which there is no space.
var errDiskFull = &oci.Error{
	Status:     http.StatusInsufficientStorage,
	Code:       oci.CodeUnavailable,
	Message:    "the registry has no disk space left for uploads: ask its operator to free some; pulls and deletes still work",
	RetryAfter: time.Minute,
}
