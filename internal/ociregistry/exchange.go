package ociregistry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/oci"
)

type exchangeKey struct{}

// exchange is a request that the library serves, and its response. What fails in
// the library is answered in words of our own, as the library's text holds the
// paths of files.
type exchange struct {
	*observe.Record
	route    string      // of the library, which the request takes; "": none
	diskFull atomic.Bool // why the request fails, if it does
	bodyErr  error       // what ended the request's body before its end
	atEnd    []func()    // what to release when the request has ended
}

// exchangeOf returns the exchange of a context that the library got, or nil.
func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}

func (e *exchange) end() {
	for _, release := range e.atEnd {
		release()
	}
}

// refuse sends an error, and notes it for the log.
func (e *exchange) refuse(err *oci.Error) {
	e.Add(slog.String("message", err.Message))
	if err.IsBusy() {
		e.Busy()
	} else if err.Cause != nil {
		e.Fail(err.Cause)
	}
	err.Write(&e.Writer)
}

// statusClientGone is nginx's "client closed request": nobody receives it, but
// it is in the log.
const statusClientGone = 499

// replaceFailure sends a response in place of one of the library's, whose body is
// dropped then.
func (e *exchange) replaceFailure(status int) bool {
	switch isJSON := e.Writer.Header().Get("Content-Type") == "application/json"; {
	case status >= http.StatusBadRequest && e.bodyErr != nil:
		e.refuseBody()
	case status == http.StatusInternalServerError && e.diskFull.Load():
		e.refuse(errDiskFull)
	case status == http.StatusInternalServerError && e.Request.Context().Err() != nil:
		e.replace(statusClientGone, oci.CodeUnknown, "the client has gone")
	case status == http.StatusInternalServerError:
		e.replace(status, oci.CodeUnknown, "the registry failed to carry out the request")
	case status == http.StatusRequestedRangeNotSatisfiable && !isJSON:
		e.replace(status, oci.CodeRangeInvalid, "the content has no such range")
	case status >= http.StatusBadRequest && !isJSON:
		e.replace(status, oci.CodeUnsupported, http.StatusText(status))
	default:
		if status >= http.StatusBadRequest {
			e.Writer.Header().Del("Content-Length")
			e.Writer.Rewrite(rewriteErrors)
		}
		return false
	}
	return true
}

// refuseBody answers a request whose body did not come to its end.
func (e *exchange) refuseBody() {
	e.Writer.Header().Set("Connection", "close")
	if tooLarge := new(http.MaxBytesError); errors.As(e.bodyErr, &tooLarge) {
		e.replace(http.StatusRequestEntityTooLarge, oci.CodeManifestInvalid, manifestTooLarge)
		return
	}
	if errors.Is(e.bodyErr, os.ErrDeadlineExceeded) {
		e.replace(http.StatusRequestTimeout, oci.CodeSizeInvalid, "the content stopped coming for too long, or took too long in all")
		return
	}
	e.replace(http.StatusBadRequest, oci.CodeSizeInvalid, "the content was cut off before its end")
}

func (e *exchange) replace(status int, code, message string) {
	e.refuse(&oci.Error{Status: status, Code: code, Message: message})
}

// errBody is what the library is told of a body that did not come to its end.
var errBody = errors.New("the request's body was not read to its end")

// body is a request's body; its exchange notes how reading it failed.
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
	Message:    "the registry has no space left for uploads; pulls and deletes go on; ask its operator to free some",
	RetryAfter: time.Minute,
}
