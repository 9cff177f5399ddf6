package apierror

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestALargeBufferIsNotKept(t *testing.T) {
	made := 0
	buffers = sync.Pool{New: func() any { made++; return new([]byte) }}
	t.Cleanup(func() { buffers = sync.Pool{New: func() any { return new([]byte) }} })
	for range 2 {
		Write(httptest.NewRecorder(), http.StatusBadRequest, Body{Message: strings.Repeat("a", 64<<10)})
	}
	if made != 2 {
		t.Errorf("buffers for two large bodies: got %d, want 2, as none is kept", made)
	}
}
