package web_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/connections"
	"github.com/registryusers/registryusers/internal/web"
)

// sendfileListener counts the bytes that its connections are given to send in a
// form for which package net lets the kernel send a file.
type sendfileListener struct {
	net.Listener
	sent atomic.Int64
}

func (l *sendfileListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sendfileConn{conn.(*net.TCPConn), l}, nil
}

type sendfileConn struct {
	*net.TCPConn
	listener *sendfileListener
}

// ReadFrom implements [io.ReaderFrom] as a TCP connection does: the kernel sends
// a file, or the start of one, and everything else is copied.
func (c *sendfileConn) ReadFrom(src io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(src)
	if limited, ok := src.(*io.LimitedReader); ok {
		src = limited.R
	}
	if _, ok := src.(syscall.Conn); ok { // as package net checks
		c.listener.sent.Add(n)
	}
	return n, err
}

// A file goes to the connection without a copy in the server's memory: many
// pulls of large blobs take none.
func TestFilesAreSentByTheKernel(t *testing.T) {
	const sniffed = 512 // net/http may copy the first bytes, for the Content-Type
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 1)
	registry := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { done <- struct{}{} }()
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if r.URL.Path == "/v2/served" {
			http.ServeContent(w, r, "", time.Time{}, f)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content))) // without it the response is chunked, and copied
		_, _ = io.Copy(w, f)                                         // the client sees a failure
	})
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &sendfileListener{Listener: inner}
	logger := slog.New(slog.DiscardHandler)
	server := web.New(web.Handlers{Registry: registry}, web.Options{Logger: logger})
	limited := connections.Limit(listener, server, connections.Limits{Total: 10, PerAddress: 10}, logger)
	served := make(chan error, 1)
	go func() { served <- server.Serve(limited) }()
	defer func() {
		if err := errors.Join(server.Close(), <-served); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	for _, test := range []struct {
		path, ranges string
		want         []byte
	}{
		{"/v2/served", "", content},
		{"/v2/served", "bytes=1000-999999", content[1000:1000000]},
		{"/v2/copied", "", content},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+inner.Addr().String()+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.ranges != "" {
			request.Header.Set("Range", test.ranges)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if closeErr := response.Body.Close(); err != nil || closeErr != nil || !bytes.Equal(got, test.want) {
			t.Errorf("%s %s: got %d bytes, %v; want the %d of the file", test.path, test.ranges, len(got), err, len(test.want))
		}
		<-done // so that everything is counted
		if sent, want := listener.sent.Swap(0), int64(len(test.want)-sniffed); sent < want {
			t.Errorf("%s %s: the kernel sent %d bytes, want %d or more", test.path, test.ranges, sent, want)
		}
	}
}
