package observe

import (
	"io"
	"net/http"
)

// Writer is the one wrapper around a connection's [http.ResponseWriter]. It
// counts the response, and keeps what net/http does without a copy (sendfile) and
// [http.ResponseController].
type Writer struct {
	http.ResponseWriter

	Status int   // of the response; 0 until it begins
	Bytes  int64 // of its body, sent

	beforeWrite func()
	replace     func(status int) bool
	rewrite     func(p []byte) ([]byte, error)
	dropping    bool // a response was sent in the handler's place
}

// BeforeWrite has f called before each step of the response: it may take as long
// as f's deadline lets it.
func (w *Writer) BeforeWrite(f func()) { w.beforeWrite = f }

// Replace has f called with the status before the response begins. If f returns
// true it has sent another response, and what the handler writes is dropped.
func (w *Writer) Replace(f func(status int) bool) { w.replace = f }

// Rewrite has what the handler writes of a body, in one piece, replaced by what f
// returns.
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
	if status >= 200 || status == http.StatusSwitchingProtocols { // not a response of its own
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

// sendChunk is how many bytes of a file are sent in one step.
const sendChunk = 256 << 10

// ReadFrom implements [io.ReaderFrom], which net/http has the kernel do for files
// (sendfile).
func (w *Writer) ReadFrom(src io.Reader) (n int64, err error) {
	if w.begin(); w.dropping {
		return io.Copy(io.Discard, src)
	}
	limited, ok := src.(*io.LimitedReader) // net looks for a file below one of these, and no deeper
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
	_ = http.NewResponseController(w.ResponseWriter).Flush() // fails on no real connection
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
