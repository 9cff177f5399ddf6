package httpserver

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// The deadlines of a connection belong to its requests: every request sets both
// when it begins, so that none is left from the request before.
//
// A body that no handler reads is drained by net/http before the response
// leaves. It has [unreadTimeout] to come; only a handler's own reads give it more.

// limitTo ends the reading of a request's body at bodyEnd, and all else at end.
func limitTo(bodyEnd, end time.Time, w http.ResponseWriter, r *http.Request) {
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetWriteDeadline(end) // fails on no real connection
	if r.ContentLength == 0 {
		_ = deadlines.SetReadDeadline(end)
		return
	}
	_ = deadlines.SetReadDeadline(time.Now().Add(unreadTimeout))
	r.Body = &deadlineBody{r.Body, func(err error) {
		if err == nil {
			_ = deadlines.SetReadDeadline(bodyEnd)
		} else if errors.Is(err, io.EOF) {
			_ = deadlines.SetReadDeadline(end)
		}
	}}
}

// steady gives each read and each write of a request [stallTimeout], and all of
// them together [imageTimeout].
func steady(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
	deadlines := http.NewResponseController(w)
	end := time.Now().Add(imageTimeout)
	steady := &steadyWriter{w, deadlines, end}
	steady.extend()
	if r.ContentLength == 0 {
		_ = deadlines.SetReadDeadline(time.Time{})
		return steady, r
	}
	_ = deadlines.SetReadDeadline(time.Now().Add(unreadTimeout))
	r.Body = &deadlineBody{r.Body, func(err error) {
		switch {
		case err == nil:
			_ = deadlines.SetReadDeadline(earlier(time.Now().Add(stallTimeout), end))
		case errors.Is(err, io.EOF): // the client need not send more
			_ = deadlines.SetReadDeadline(time.Time{})
		}
	}}
	return steady, r
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// deadlineBody calls extend before each read, with nil, and with its error after it.
type deadlineBody struct {
	io.ReadCloser
	extend func(error)
}

func (b *deadlineBody) Read(p []byte) (int, error) {
	b.extend(nil)
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.extend(err)
	}
	return n, err
}

// steadyWriter gives each write its own time, until end.
type steadyWriter struct {
	http.ResponseWriter
	deadlines *http.ResponseController
	end       time.Time
}

func (w *steadyWriter) extend() {
	_ = w.deadlines.SetWriteDeadline(earlier(time.Now().Add(stallTimeout), w.end)) // fails on no real connection
}

func (w *steadyWriter) WriteHeader(status int) {
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

func (w *steadyWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p)
}

// sendChunk is how many bytes of a file are sent in one step, which must end
// within [stallTimeout].
const sendChunk = 256 << 10

// ReadFrom implements [io.ReaderFrom], which net/http has the kernel do for
// files (sendfile).
func (w *steadyWriter) ReadFrom(src io.Reader) (n int64, err error) {
	limited, ok := src.(*io.LimitedReader) // net looks for a file below one of these, and no deeper
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	for limited.N > 0 {
		w.extend()
		step := min(sendChunk, limited.N)
		m, err := io.Copy(w.ResponseWriter, &io.LimitedReader{R: limited.R, N: step})
		n += m
		limited.N -= m
		if err != nil || m < step {
			return n, err
		}
	}
	return n, nil
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *steadyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
