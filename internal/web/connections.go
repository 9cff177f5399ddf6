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
	"sync"
	"time"
)

const (
	defaultConnections = 4096
	reservedFiles      = 64 // for the database, the log and the listeners
)

// MaxConnections returns how many connections the process can hold: each may
// have a file open besides, an image that is sent or received. openFiles is the
// limit of open files, 0 if there is none.
func MaxConnections(openFiles uint64) int {
	if openFiles == 0 || openFiles >= 2*defaultConnections+reservedFiles {
		return defaultConnections
	}
	if openFiles <= 2*reservedFiles { // too few to reserve that many
		return max(1, int(openFiles/4))
	}
	return int(openFiles-reservedFiles) / 2
}

// ConnectionLimits are how many connections a listener has at a time.
type ConnectionLimits struct {
	Total      int // 1 or more
	PerAddress int // 1 or more, for an IPv4 address or an IPv6 /64

	// Exempt are whose connections are counted in Total alone: proxies, through
	// which all clients come.
	Exempt []netip.Prefix
}

// LimitConnections returns a listener that bounds how many connections of the
// server are open. A new connection takes the place of the one that has been
// idle for longest, of its own address if that has too many; where none is idle,
// the new one is closed. It sets server.ConnState.
func LimitConnections(listener net.Listener, server *http.Server, limits ConnectionLimits, logger *slog.Logger) net.Listener {
	c := &connections{
		Listener:  listener,
		limits:    limits,
		logger:    logger,
		byNetwork: make(map[netip.Prefix]int),
		idle:      list.New(),
	}
	server.ConnState = c.note
	return c
}

type connections struct {
	net.Listener
	limits ConnectionLimits
	logger *slog.Logger

	mu        sync.Mutex
	total     int
	byNetwork map[netip.Prefix]int
	idle      *list.List // of *connection; the front one has been idle for longest
	refused   int        // since the last log line
	logged    time.Time
}

// connection is an accepted connection.
type connection struct {
	net.Conn
	listener *connections
	remote   netip.Addr
	network  netip.Prefix // which it is counted for

	// Guarded by the listener's mu.
	idle   *list.Element // nil: it is not idle
	closed bool
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
		c := &connection{Conn: accepted, listener: l}
		c.remote, c.network = origin(accepted.RemoteAddr())
		replaced, ok := l.admit(c)
		if replaced != nil {
			_ = replaced.Conn.Close() // it was idle
		}
		if ok {
			return c, nil
		}
		_ = accepted.Close()
	}
}

// admit counts c, if there is room for it. It returns the idle connection that
// has to be closed for it.
func (l *connections) admit(c *connection) (replaced *connection, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.byNetwork[c.network] >= l.limits.PerAddress && !contains(l.limits.Exempt, c.remote):
		replaced = l.longestIdle(func(other *connection) bool { return other.network == c.network })
	case l.total >= l.limits.Total:
		replaced = l.longestIdle(func(*connection) bool { return true })
	default:
		l.add(c)
		return nil, true
	}
	if replaced == nil {
		l.logRefused()
		return nil, false
	}
	l.remove(replaced)
	l.add(c)
	return replaced, true
}

// note is the server's ConnState: it keeps the list of idle connections.
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
	switch {
	case c.closed:
	case state == http.StateIdle && c.idle == nil:
		c.idle = l.idle.PushBack(c)
	case state != http.StateIdle && c.idle != nil:
		l.idle.Remove(c.idle)
		c.idle = nil
	}
}

func (l *connections) longestIdle(suits func(*connection) bool) *connection {
	for e := l.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*connection); suits(c) {
			return c
		}
	}
	return nil
}

func (l *connections) add(c *connection) {
	l.total++
	l.byNetwork[c.network]++
}

func (l *connections) remove(c *connection) {
	if c.closed {
		return
	}
	c.closed = true
	l.total--
	if l.byNetwork[c.network]--; l.byNetwork[c.network] == 0 {
		delete(l.byNetwork, c.network)
	}
	if c.idle != nil {
		l.idle.Remove(c.idle)
		c.idle = nil
	}
}

// refusedLogInterval is the shortest time between two log lines about refused connections.
const refusedLogInterval = time.Minute

func (l *connections) logRefused() {
	l.refused++
	if now := time.Now(); now.Sub(l.logged) >= refusedLogInterval {
		l.logger.Warn("connections were refused: too many are open", "refused", l.refused, "open", l.total,
			"max_connections", l.limits.Total, "max_connections_per_address", l.limits.PerAddress)
		l.refused, l.logged = 0, now
	}
}

// origin returns the address that a connection comes from and what it is
// counted for: an IPv4 address, or the IPv6 /64 that one site has to itself.
func origin(address net.Addr) (netip.Addr, netip.Prefix) {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, netip.Prefix{}
	}
	remote := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := remote.BitLen()
	if remote.Is6() {
		bits = 64
	}
	network, _ := remote.Prefix(bits) // fails for no address alone: then all of these count as one
	return remote, network
}
