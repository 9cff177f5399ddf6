package httpserver

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// How many requests outside of /v2/ may be in progress at a time: strangers can
// send them, and each takes memory for its header and its body, over HTTP/2 with
// hardly a byte sent. Beyond it the response is 503. The registry has limits of its own.
const (
	maxRequests           = 1024
	maxRequestsPerNetwork = 256 // of an IPv4 address or an IPv6 /64
)

// requests counts the requests in progress. A nil one counts nothing.
type requests struct {
	mu        sync.Mutex
	total     int
	byNetwork map[netip.Prefix]int
}

// enter counts a request in; leave must be called at its end. Beyond a limit,
// leave is nil.
func (c *requests) enter(r *http.Request) (leave func()) {
	if c == nil {
		return func() {}
	}
	var network netip.Prefix
	if address, err := net.ResolveTCPAddr("tcp", r.RemoteAddr); err == nil { // it is numeric: nothing is looked up
		_, network = origin(address)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= maxRequests || c.byNetwork[network] >= maxRequestsPerNetwork {
		return nil
	}
	c.total++
	c.byNetwork[network]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.total--
		if c.byNetwork[network]--; c.byNetwork[network] == 0 {
			delete(c.byNetwork, network)
		}
	}
}

func refuseBusy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "too many requests are in progress: try again", http.StatusServiceUnavailable)
}
