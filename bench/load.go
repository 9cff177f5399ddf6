package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// connections is the number of concurrent callers of a server. Each keeps one
// connection.
const connections = 64

// wire is the bytes of a create. Each connection has a copy.
type wire struct {
	bytes []byte
	names []int // offsets of the name, if each request has a new one
}

// freshName is the placeholder that nextName overwrites with a name of the same
// length.
const freshName = "n00000000000"

var names atomic.Uint64 // number of names used

// newWire returns the request that creates a user. Every request gets a new name
// where the header or the body has freshName.
func newWire(address, path, key, header, body string) wire {
	text := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: apikey %s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, address, key, header, len(body), body)
	w := wire{bytes: []byte(text)}
	for at := strings.Index(text, freshName); at >= 0; {
		w.names = append(w.names, at)
		next := strings.Index(text[at+1:], freshName)
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return w
}

// nextName sets a new name in the request. The names are not in alphabetical order.
func (w wire) nextName() {
	if len(w.names) == 0 {
		return
	}
	const all = 100_000_000_000   // number of names
	const stride = 38_196_601_127 // coprime to all
	n := names.Add(1) * stride % all
	var digits [len(freshName) - 1]byte
	for i := range digits {
		digits[len(digits)-1-i] = byte('0' + n%10)
		n /= 10
	}
	for _, at := range w.names {
		copy(w.bytes[at+1:], digits[:])
	}
}

// A caller sends creates over one connection. It uses only net and bufio, so that it
// takes little processor time from the server.
type caller struct {
	net.Conn
	reader *bufio.Reader
	wire   wire
}

func dial(ctx context.Context, address string, w wire) (*caller, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w.bytes = bytes.Clone(w.bytes)
	return &caller{conn, bufio.NewReaderSize(conn, 16<<10), w}, nil
}

// create sends one request and waits for its 201.
func (c *caller) create() error {
	c.wire.nextName()
	if _, err := c.Write(c.wire.bytes); err != nil {
		return err
	}
	status, err := readResponse(c.reader)
	if err == nil && status != 201 {
		err = fmt.Errorf("status %d, want 201", status)
	}
	return err
}

// readResponse reads one response from a persistent connection and returns its status.
func readResponse(r *bufio.Reader) (status int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("no status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	length := -1 // -1: chunked
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		name, value, more := bytes.Cut(line, []byte(":"))
		if !more {
			break
		}
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if length >= 0 {
		_, err = r.Discard(length)
		return status, err
	}
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return 0, err
		}
		if _, err := r.Discard(int(size) + len("\r\n")); err != nil || size == 0 {
			return status, err
		}
	}
}

// load sends creates over all connections for length. It returns the responses per
// second and the 99th percentile of the time of a create in milliseconds.
func load(ctx context.Context, address string, w wire, length time.Duration) (rate, p99 float64, err error) {
	callers := make([]*caller, connections)
	for i := range callers {
		if callers[i], err = dial(ctx, address, w); err != nil {
			return 0, 0, err
		}
		defer callers[i].Close()
	}
	took := make([][]float64, connections)
	errs := make([]error, connections)
	var done sync.WaitGroup
	start := time.Now()
	end := start.Add(length)
	for i, c := range callers {
		_ = c.SetDeadline(end.Add(10 * time.Second))
		done.Go(func() {
			for sent := time.Now(); sent.Before(end) && ctx.Err() == nil; {
				if errs[i] = c.create(); errs[i] != nil {
					return
				}
				answered := time.Now()
				took[i] = append(took[i], answered.Sub(sent).Seconds()*1e3)
				sent = answered
			}
		})
	}
	done.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return 0, 0, err
	}
	var all []float64
	for _, of := range took {
		all = append(all, of...)
	}
	return float64(len(all)) / elapsed.Seconds(), percentile99(all), nil
}
