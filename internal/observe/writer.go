package observe

import (
	"io"
	"net/http"
)

// Writer wraps a connection's [http.ResponseWriter]; there is no other wrapper. It
// counts the response's bytes, and supports sendfile and [http.ResponseController].
type Writer struct {
	http.ResponseWriter

	Status int   // of the response; 0 until it begins
	Bytes  int64 // of the body that were sent

	beforeWrite func()
	replace     func(status int) bool
	rewrite     func(p []byte) ([]byte, error)
	dropping    bool // another response was sent, and the handler's is dropped
}

// BeforeWrite sets f to be called before each write to the connection, for example
// to set its deadline.
func (w *Writer) BeforeWrite(f func()) { w.beforeWrite = f }

// Replace sets f to be called with the status before the response begins. If f
// returns true, it has sent another response, and the handler's is dropped.
func (w *Writer) Replace(f func(status int) bool) { w.replace = f }

// Rewrite sets f to be called with each write of the handler; its result is sent
// instead. It is for bodies that the handler writes in one piece.
func (w *Writer) Rewrite(f func(p []byte) ([]byte, error)) { w.rewrite = f }

// WriteHeader implements [http.ResponseWriter].
func (w *Writer) WriteHeader(status int) {
	if w.Status != 0 || w.dropping {
		return
	}
	if replace := w.replace; replace != nil {
		w.replace = nil
		if w.dropping = replace(status); w.dropping {
			return
		}
	}
	w.before()
	if status >= 200 || status == http.StatusSwitchingProtocols { // other statuses below 200 are not final
		w.Status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *Writer) Write(p []byte) (int, error) {
	if w.begin(); w.dropping {
		return len(p), nil
	}
	w.before()
	text := p
	if w.rewrite != nil {
		var err error
		if text, err = w.rewrite(p); err != nil {
			return 0, err
		}
	}
	n, err := w.ResponseWriter.Write(text)
	w.Bytes += int64(n)
	if w.rewrite != nil && err == nil {
		n = len(p)
	}
	return n, err
}

// sendChunk is how many bytes of a file are sent in one write.
const sendChunk = 256 << 10

// ReadFrom implements [io.ReaderFrom], so that net/http can use sendfile for files.
func (w *Writer) ReadFrom(src io.Reader) (n int64, err error) {
	if w.begin(); w.dropping {
		return io.Copy(io.Discard, src)
	}
	limited, ok := src.(*io.LimitedReader) // package net finds a file in a LimitedReader, but not below two
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	for limited.N > 0 {
		w.before()
		step := min(sendChunk, limited.N)
		m, err := io.Copy(w.ResponseWriter, &io.LimitedReader{R: limited.R, N: step})
		n += m
		w.Bytes += m
		limited.N -= m
		if err != nil || m < step {
			return n, err
		}
	}
	return n, nil
}

// Flush implements [http.Flusher].
func (w *Writer) Flush() {
	if w.begin(); w.dropping {
		return
	}
	w.before()
	_ = http.NewResponseController(w.ResponseWriter).Flush() // does not fail on a real connection
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *Writer) begin() {
	if w.Status == 0 && !w.dropping {
		w.WriteHeader(http.StatusOK)
	}
}

func (w *Writer) before() {
	if w.beforeWrite != nil {
		w.beforeWrite()
	}
}
