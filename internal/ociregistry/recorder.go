package ociregistry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers/internal/token"
)

type recorderKey struct{}

// recorder notes what was answered. What fails in the library is answered in
// words of our own, as the library's text holds the paths of files.
type recorder struct {
	http.ResponseWriter
	request  *http.Request
	route    string // of the library, which the request takes; "": none
	start    time.Time
	status   int
	size     int64
	diskFull atomic.Bool // why the request fails, if it does
	bodyErr  error       // what ended the request's body before its end
	replaced bool        // the library's answer, whose body does not count
	rewrites bool        // the library's error body, which comes in one piece
	reason   string      // for the log: why it is replaced
	atEnd    []func()    // what to release when the request has ended
}

func (w *recorder) end() {
	for _, release := range w.atEnd {
		release()
	}
}

// statusClientGone is nginx's "client closed request": nobody receives it, but
// it is in the log.
const statusClientGone = 499

func (w *recorder) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.replaced = true
	switch isJSON := w.Header().Get("Content-Type") == "application/json"; {
	case status >= http.StatusBadRequest && w.bodyErr != nil:
		w.refuseBody()
	case status == http.StatusInternalServerError && w.diskFull.Load():
		w.Header().Del("Content-Length")
		w.status = refuseFull(w.ResponseWriter)
	case status == http.StatusInternalServerError && w.request.Context().Err() != nil:
		w.replace(statusClientGone, "UNKNOWN", "the client has gone")
	case status == http.StatusInternalServerError:
		w.replace(status, "UNKNOWN", "the registry failed to carry out the request")
	case status == http.StatusRequestedRangeNotSatisfiable && !isJSON:
		w.replace(status, "RANGE_INVALID", "the content has no such range")
	case status >= http.StatusBadRequest && !isJSON:
		w.replace(status, "UNSUPPORTED", http.StatusText(status))
	default:
		w.replaced = false
		w.status = status
		if w.rewrites = status >= http.StatusBadRequest; w.rewrites {
			w.Header().Del("Content-Length")
		}
		w.ResponseWriter.WriteHeader(status)
	}
}

// refuseBody answers a request whose body did not come to its end.
func (w *recorder) refuseBody() {
	w.Header().Set("Connection", "close")
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(w.bodyErr, &tooLarge):
		w.replace(http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("the manifest is larger than %d bytes, the most that is allowed", tooLarge.Limit))
		return
	case errors.Is(w.bodyErr, os.ErrDeadlineExceeded):
		w.replace(http.StatusRequestTimeout, "SIZE_INVALID", "the content stopped coming for too long, or took too long in all")
		return
	}
	w.replace(http.StatusBadRequest, "SIZE_INVALID", "the content was cut off before its end")
}

// replace sends a response in place of the library's, whose body is dropped.
func (w *recorder) replace(status int, code, message string) {
	w.status, w.reason = status, message
	w.Header().Del("Content-Length")
	token.WriteError(w.ResponseWriter, status, code, message)
}

// errBody is what the library is told of a body that did not come to its end.
var errBody = errors.New("the request's body was not read to its end")

// body is a request's body; its recorder notes how reading it failed.
type body struct {
	io.ReadCloser
	recorder *recorder
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		b.recorder.bodyErr = err
		return n, errBody
	}
	return n, err
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.replaced {
		return len(p), nil
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.rewrites {
		text, err := rewriteErrors(p)
		if err != nil {
			return 0, err
		}
		n, err := w.ResponseWriter.Write(append(text, '\n'))
		w.size += int64(n)
		return len(p), err
	}
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}

// ReadFrom implements [io.ReaderFrom]: a file goes to the connection without a
// copy, where what is below can do it.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	if w.replaced {
		return io.Copy(io.Discard, r)
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, r)
	w.size += n
	return n, err
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// refuseFull answers that there is no space for an upload.
func refuseFull(w http.ResponseWriter) (status int) {
	w.Header().Set("Retry-After", "60")
	token.WriteError(w, http.StatusInsufficientStorage, "UNAVAILABLE",
		"the registry has no space left for uploads; pulls and deletes go on; ask its operator to free some")
	return http.StatusInsufficientStorage
}
