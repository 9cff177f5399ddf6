package ociregistry

import (
	"io"
	"net/http"
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
	start    time.Time
	status   int
	size     int64
	diskFull atomic.Bool // why the request fails, if it does
	replaced bool        // the library's answer, whose body does not count
	atEnd    []func()    // what to release when the request has ended
}

func (w *recorder) end() {
	for _, release := range w.atEnd {
		release()
	}
}

func (w *recorder) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status != http.StatusInternalServerError {
		w.status = status
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.replaced = true
	w.Header().Del("Content-Length")
	if w.diskFull.Load() {
		w.status = refuseFull(w.ResponseWriter)
		return
	}
	w.status = status
	token.WriteError(w.ResponseWriter, status, "UNKNOWN", "the registry failed to carry out the request")
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.replaced {
		return len(p), nil
	}
	if w.status == 0 {
		w.status = http.StatusOK
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
