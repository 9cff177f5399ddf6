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

// servePeer serves a peer and prints its address. It returns when standard input
// ends, which also happens when the process that started it ends.
func servePeer(name string) error {
	p, err := findPeer(name)
	if err != nil {
		return err
	}
	h, err := p.handler()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not block
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

// startPeer starts this program as a server of a peer.
func startPeer(ctx context.Context, name string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, self, "serve", name) //nolint:gosec // it is this program
	command.Stderr = os.Stderr
	if _, err := command.StdinPipe(); err != nil { // it ends with this process
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
		return nil, fmt.Errorf("it did not print its address: %w", err)
	}
	s.address = strings.TrimSpace(line)
	return s, nil
}

const (
	prismPackage = "@stoplight/prism-cli@5.16.0"
	prismTime    = 3 * time.Minute // to start; npx may have to download it
)

// startPrism starts Prism, the npm package, to mock the document.
func startPrism(ctx context.Context) (*process, error) {
	line := []string{"npx", "--yes", prismPackage}
	if _, err := exec.LookPath(line[0]); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not block
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port // Prism gets a port that was just free
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

// checkServer checks that a server responds as the measurement expects.
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

// A traffic is the throughput and latency of a server with all connections busy.
type traffic struct {
	rate  float64 // responses per second
	ratio float64 // of the rate to the rate of the first server
	p99   float64 // ms
}

// loopback measures the peers as servers, in turns, and stores the results in the
// peers' rows. It returns a note for each peer that it left out.
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
		if err != nil && p.handler == nil && ctx.Err() == nil { // Prism is optional
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

// compareLoads measures servers in turns and returns the medians of the rounds.
func compareLoads(loads []func(time.Duration) (rate, p99 float64, err error), rounds int, length time.Duration) ([]traffic, error) {
	rates, p99s := make([][]float64, len(loads)), make([][]float64, len(loads))
	for round := range rounds + 1 {
		for at := range loads {
			i := (at + round) % len(loads) // the order changes, so that no server always follows the same one
			if round == 0 {                // warm up
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
