package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// servePeer serves a peer, prints its address, and ends when standard input
// does: with the process that started it, however that ends.
func servePeer(name string) error {
	p, err := findPeer(name)
	if err != nil {
		return err
	}
	h, err := p.handler()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = s.Close()
	}()
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// startPeer starts this program again, to serve a peer.
func startPeer(ctx context.Context, name string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, self, "serve", name) //nolint:gosec // it is this program
	command.Stderr = os.Stderr
	if _, err := command.StdinPipe(); err != nil { // it stays open as long as this process lives
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s, err := start(command)
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("it did not say where it listens: %w", err)
	}
	s.address = strings.TrimSpace(line)
	return s, nil
}

const (
	prismPackage = "@stoplight/prism-cli@5.16.0"
	prismTime    = 3 * time.Minute // to come up; npx may have to get it first
)

// startPrism starts Prism, the npm package, to mock the document.
func startPrism(ctx context.Context) (*process, error) {
	line := []string{"npx", "--yes", prismPackage}
	if _, err := exec.LookPath(line[0]); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it takes no time
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port // free a moment ago
	listener.Close()
	line = append(line, "mock", "--host", "127.0.0.1", "--port", strconv.Itoa(port), "--verboseLevel", "silent", "../api/cloud_api.yaml")
	command := exec.CommandContext(ctx, line[0], line[1:]...)
	command.Stderr = os.Stderr
	s, err := start(command)
	if err != nil {
		return nil, err
	}
	s.address = listener.Addr().String()
	err = s.await(prismTime, func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// checkServer makes sure that a server does what is measured.
func (p peer) checkServer(ctx context.Context, address string) error {
	for kind, want := range p.statuses {
		r := newRequest(kind).WithContext(ctx)
		r.URL.Scheme, r.URL.Host, r.RequestURI = "http", address, ""
		response, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			err = checkResponse(kind, want, response.StatusCode, response.Body)
			response.Body.Close()
		}
		if err != nil {
			return fmt.Errorf("%s request: %w", kindNames[kind], err)
		}
	}
	return nil
}

// A traffic is what a server bears, with all connections busy.
type traffic struct {
	rate  float64 // answers in a second
	ratio float64 // of the rate, to the first that was measured beside it
	p99   float64 // ms
}

// loopback measures the peers as servers, in turns, and puts what they bear
// into the rows of the same place. It returns a word for each that is left out.
func loopback(ctx context.Context, rows []row, rounds int, length time.Duration, prism bool) (notes []string, err error) {
	var servers []*process
	var measured []int
	for i, p := range peers {
		if p.handler == nil && !prism {
			continue
		}
		var s *process
		if p.handler == nil {
			s, err = startPrism(ctx)
		} else {
			s, err = startPeer(ctx, p.name)
		}
		if err == nil {
			defer s.stop()
			err = p.checkServer(ctx, s.address)
		}
		if err != nil && p.handler == nil && ctx.Err() == nil { // an npm package may fail in many ways
			notes = append(notes, "Prism was not measured: "+err.Error()+".")
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		servers, measured = append(servers, s), append(measured, i)
	}
	loads := make([]func(time.Duration) (float64, float64, error), len(servers))
	for i, s := range servers {
		w := newWire(s.address, path, key, "", validBody)
		loads[i] = func(length time.Duration) (float64, float64, error) { return load(ctx, s.address, w, length) }
	}
	traffics, err := compareLoads(loads, rounds, length)
	for i, t := range traffics {
		rows[measured[i]].loopback = t
	}
	return notes, err
}

// compareLoads measures servers beside each other: medians over the rounds.
func compareLoads(loads []func(time.Duration) (rate, p99 float64, err error), rounds int, length time.Duration) ([]traffic, error) {
	rates, p99s := make([][]float64, len(loads)), make([][]float64, len(loads))
	for round := range rounds + 1 {
		for at := range loads {
			i := (at + round) % len(loads) // each follows another one now and then
			if round == 0 {                // to warm up
				if _, _, err := loads[i](length / 4); err != nil {
					return nil, err
				}
				continue
			}
			rate, p99, err := loads[i](length)
			if err != nil {
				return nil, err
			}
			rates[i], p99s[i] = append(rates[i], rate), append(p99s[i], p99)
		}
	}
	traffics := make([]traffic, len(loads))
	for i := range loads {
		traffics[i] = traffic{median(rates[i]), median(ratios(rates[i], rates[0])), median(p99s[i])}
	}
	return traffics, nil
}
