package web

import (
	"container/list"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/registryusers/registryusers/internal/network"
)

// ConnectionLimits are how many connections a listener has at a time.
type ConnectionLimits struct {
	Total      int // 1 or more
	PerAddress int // 1 or more, for an IPv4 address or an IPv6 /64; for a /56 a third of Total, for a /48 half, but not less

	// Exempt are whose connections are counted in Total alone: proxies, through
	// which all clients come.
	Exempt []netip.Prefix
}

// inNetwork returns the limit of the i-th of the networks that [network.Of] returns.
func (l ConnectionLimits) inNetwork(i int) int {
	if i == 0 {
		return l.PerAddress
	}
	return max(l.PerAddress, l.Total/([...]int{4, 3, 2})[i])
}

// silentTime is how long the first request of a connection may take before the
// connection can be closed to make room.
const silentTime = 5 * time.Second

// LimitConnections returns a listener that bounds how many connections of the
// server are open. A new connection takes the place of one that has sent no
// request for [silentTime], or else of the one that has been idle for longest; of
// its own network if that has too many. Where there is none, the new one is
// closed. It sets server.ConnState.
func LimitConnections(listener net.Listener, server *http.Server, limits ConnectionLimits, logger *slog.Logger) net.Listener {
	c := &connections{
		Listener:  listener,
		limits:    limits,
		logger:    logger,
		now:       time.Now,
		byNetwork: make(map[netip.Prefix]int),
		silent:    list.New(),
		idle:      list.New(),
	}
	server.ConnState = c.note
	return c
}

type connections struct {
	net.Listener
	limits ConnectionLimits
	logger *slog.Logger
	now    func() time.Time

	mu        sync.Mutex
	total     int
	byNetwork map[netip.Prefix]int
	silent    *list.List // of *connection, without a request yet; the front one is the oldest
	idle      *list.List // of *connection; the front one has been idle for longest
	refused   int        // since the last log line
	logged    time.Time
}

// connection is an accepted connection.
type connection struct {
	net.Conn
	listener *connections
	accepted time.Time
	networks []netip.Prefix // which it is counted for, the narrowest first
	isExempt bool

	// Guarded by the listener's mu.
	waits  *list.Element // in silent or idle; nil: a request is in progress
	closed bool
}

func newConnection(l *connections, accepted net.Conn) *connection {
	var remote netip.Addr
	if tcp, ok := accepted.RemoteAddr().(*net.TCPAddr); ok {
		remote = tcp.AddrPort().Addr()
	}
	return &connection{
		Conn:     accepted,
		listener: l,
		accepted: l.now(),
		networks: network.Of(remote),
		isExempt: contains(l.limits.Exempt, remote.WithZone("")),
	}
}

// ReadFrom implements [io.ReaderFrom]: the kernel sends a file (sendfile).
func (c *connection) ReadFrom(src io.Reader) (int64, error) { return io.Copy(c.Conn, src) }

// CloseWrite lets net/http end its side first, so that a client which still
// sends can read the response.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.listener.mu.Lock()
	c.listener.remove(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// Accept implements [net.Listener].
func (l *connections) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := newConnection(l, accepted)
		replaced, ok := l.admit(c)
		if replaced != nil {
			_ = replaced.Conn.Close() // no request is in progress
		}
		if ok {
			return c, nil
		}
		_ = accepted.Close()
	}
}

// admit counts c, if there is room for it. It returns the connection that has to
// be closed for it.
func (l *connections) admit(c *connection) (replaced *connection, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	shares := l.full(c)
	if shares == nil {
		l.add(c)
		return nil, true
	}
	replaced = l.replaceable(shares)
	if replaced == nil {
		l.logRefused()
		return nil, false
	}
	l.remove(replaced)
	l.add(c)
	return replaced, true
}

// full returns nil if there is room for c, or else which connections share with c
// what has no room: its narrowest full network, or the whole server.
func (l *connections) full(c *connection) (shares func(other *connection) bool) {
	if !c.isExempt {
		for i, prefix := range c.networks {
			if l.byNetwork[prefix] >= l.limits.inNetwork(i) {
				return func(other *connection) bool { return slices.Contains(other.networks, prefix) }
			}
		}
	}
	if l.total >= l.limits.Total {
		return func(*connection) bool { return true }
	}
	return nil
}

// replaceable returns the connection that is closed first of those that suit, or nil.
func (l *connections) replaceable(suits func(*connection) bool) *connection {
	for e := l.silent.Front(); e != nil; e = e.Next() {
		c := e.Value.(*connection)
		if l.now().Sub(c.accepted) < silentTime {
			break
		}
		if suits(c) {
			return c
		}
	}
	for e := l.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*connection); suits(c) {
			return c
		}
	}
	return nil
}

// note is the server's ConnState: it keeps the lists of connections without a request.
func (l *connections) note(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, ok := conn.(*connection)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed || state == http.StateNew { // a new one is in silent since it was accepted
		return
	}
	l.unlist(c)
	if state == http.StateIdle {
		c.waits = l.idle.PushBack(c)
	}
}

func (l *connections) add(c *connection) {
	l.total++
	for _, prefix := range c.networks {
		l.byNetwork[prefix]++
	}
	c.waits = l.silent.PushBack(c)
}

func (l *connections) remove(c *connection) {
	if c.closed {
		return
	}
	c.closed = true
	l.total--
	for _, prefix := range c.networks {
		if l.byNetwork[prefix]--; l.byNetwork[prefix] == 0 {
			delete(l.byNetwork, prefix)
		}
	}
	l.unlist(c)
}

// unlist takes c from the list it is in.
func (l *connections) unlist(c *connection) {
	if c.waits != nil { // it is in one of them; the other ignores it
		l.silent.Remove(c.waits)
		l.idle.Remove(c.waits)
		c.waits = nil
	}
}

// refusedLogInterval is the shortest time between two log lines about refused connections.
const refusedLogInterval = time.Minute

func (l *connections) logRefused() {
	l.refused++
	if now := l.now(); now.Sub(l.logged) >= refusedLogInterval {
		l.logger.Warn("connections were refused: too many are open", "refused", l.refused, "open", l.total,
			"max_connections", l.limits.Total, "max_connections_per_address", l.limits.PerAddress)
		l.refused, l.logged = 0, now
	}
}
