package ociregistry_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// fileWriter is a response writer that is given a file, or the start of one.
type fileWriter struct {
	*httptest.ResponseRecorder
	files int
}

// ReadFrom implements [io.ReaderFrom].
func (w *fileWriter) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok {
		src = limited.R
	}
	if _, ok := src.(*os.File); ok {
		w.files++
	}
	return io.Copy(w.ResponseRecorder, src)
}

// The response writer gets a blob's file itself, which the kernel can send.
func TestResponseWriterGetsTheFile(t *testing.T) {
	const content = "the content of a blob"
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
	w.wantStatus("push", got, http.StatusCreated, "")
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/1-1-demo/app/blobs/"+sum(content), nil)
	name, value, _ := strings.Cut(bearer, ": ")
	request.Header.Set(name, value)
	response := &fileWriter{ResponseRecorder: httptest.NewRecorder()}
	w.Config.Handler.ServeHTTP(response, request)
	if response.Code != http.StatusOK || response.Body.String() != content || response.files != 1 {
		t.Errorf("got status %d, %q, and a file %d times; want status 200, the content, and a file once", response.Code, response.Body, response.files)
	}
}
