// Package connections limits how many connections a server has open, and how the open
// files of the process are divided between connections and requests for images.
package connections

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
	"github.com/registryusers/registryusers/internal/semaphore"
)

// Limits limit how many connections of a listener are open.
type Limits struct {
	Total int // 1 or more

	// PerAddress is the limit for an IPv4 address or an IPv6 /64: 1 or more. The
	// limit for an IPv6 /56 is a third of Total, and for a /48 half of it, but
	// neither is less than PerAddress.
	PerAddress int

	// Exempt are addresses whose connections count only for Total: proxies, which
	// connect for all clients.
	Exempt []netip.Prefix
}

// inNetwork returns the limit for the i-th network that [network.Of] returns.
func (l Limits) inNetwork(i int) int64 {
	shares := [...]int{0, l.Total / 3, l.Total / 2}
	return int64(max(l.PerAddress, shares[i]))
}

// silentTime is how long a connection may be without its first request before it can
// be closed to make room.
const silentTime = 5 * time.Second

// Limit returns l with limits of how many connections of the server are open. If a
// limit is reached, a new connection replaces an old one: one that has sent no request
// for 5 seconds, or else the one that has been idle for longest. If the limit of its
// network is reached, it replaces only a connection of that network. If there is none
// to replace, the new one is closed. Limit sets server.ConnState.
func Limit(l net.Listener, server *http.Server, limits Limits, logger *slog.Logger) net.Listener {
	limited := &listener{Listener: l, limits: limits, logger: logger, now: time.Now, silent: list.New(), idle: list.New()}
	server.ConnState = limited.connState
	return limited
}

type listener struct {
	net.Listener
	limits Limits
	logger *slog.Logger
	now    func() time.Time

	open    semaphore.Keyed // by the keys of the connections' shares
	mu      sync.Mutex
	silent  *list.List // of *connection, without a first request; the front one is the oldest
	idle    *list.List // of *connection; the front one has been idle for longest
	refused int        // since the last log line
	logged  time.Time
}

// connection is an accepted connection.
type connection struct {
	net.Conn
	listener *listener
	accepted time.Time
	shares   []semaphore.Claim // of its networks, the narrowest first, and of all

	// Guarded by the listener's mu.
	waits   *list.Element // in silent or idle; nil: a request is in progress
	release func()        // nil: the connection is closed
}

// everything is the key of all connections.
const everything = "all connections"

func newConnection(l *listener, accepted net.Conn) *connection {
	var remote netip.Addr
	if tcp, ok := accepted.RemoteAddr().(*net.TCPAddr); ok {
		remote = tcp.AddrPort().Addr()
	}
	c := &connection{Conn: accepted, listener: l, accepted: l.now()}
	if !network.Contains(l.limits.Exempt, remote) {
		for i, prefix := range network.Of(remote) {
			c.shares = append(c.shares, semaphore.Claim{Key: prefix, Amount: 1, Limit: l.limits.inNetwork(i)})
		}
	}
	c.shares = append(c.shares, semaphore.Claim{Key: everything, Amount: 1, Limit: int64(l.limits.Total)})
	return c
}

// ReadFrom implements [io.ReaderFrom], with sendfile for files.
func (c *connection) ReadFrom(src io.Reader) (int64, error) { return io.Copy(c.Conn, src) }

// CloseWrite lets net/http close its side first, so that a client that is still
// sending can read the response.
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
func (l *listener) Accept() (net.Conn, error) {
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

// admit counts c and reports true, unless a limit is reached and there is no
// connection to replace. If c replaces one, admit returns that one, to be closed: it
// has a share of the narrowest full network, and so of all wider ones.
func (l *listener) admit(c *connection) (replaced *connection, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	release, full := l.open.TryAcquire(c.shares...)
	if release == nil {
		if replaced = l.replaceable(c.shares[full].Key); replaced == nil {
			l.logRefused()
			return nil, false
		}
		l.remove(replaced)
		release, _ = l.open.TryAcquire(c.shares...)
	}
	c.release = release
	c.waits = l.silent.PushBack(c)
	return replaced, true
}

// replaceable returns the first connection to close that has a share of the key, or nil.
func (l *listener) replaceable(key any) *connection {
	matches := func(c *connection) bool {
		return slices.ContainsFunc(c.shares, func(s semaphore.Claim) bool { return s.Key == key })
	}
	for e := l.silent.Front(); e != nil; e = e.Next() {
		c := e.Value.(*connection)
		if l.now().Sub(c.accepted) < silentTime {
			break
		}
		if matches(c) {
			return c
		}
	}
	for e := l.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*connection); matches(c) {
			return c
		}
	}
	return nil
}

// connState is the server's ConnState. It updates the lists of connections without a
// request.
func (l *listener) connState(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, ok := conn.(*connection)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.release == nil || state == http.StateNew { // a new connection is already in silent
		return
	}
	l.unlist(c)
	if state == http.StateIdle {
		c.waits = l.idle.PushBack(c)
	}
}

// remove ends the counting of c.
func (l *listener) remove(c *connection) {
	if c.release == nil {
		return
	}
	c.release()
	c.release = nil
	l.unlist(c)
}

// unlist removes c from its list.
func (l *listener) unlist(c *connection) {
	if c.waits != nil { // Remove does nothing in the list that c is not in
		l.silent.Remove(c.waits)
		l.idle.Remove(c.waits)
		c.waits = nil
	}
}

// refusedLogInterval is the shortest time between two log lines about refused connections.
const refusedLogInterval = time.Minute

func (l *listener) logRefused() {
	l.refused++
	if now := l.now(); now.Sub(l.logged) >= refusedLogInterval {
		l.logger.Warn("connections were refused: too many are open", "refused", l.refused, "open", l.open.InUse(everything),
			"max_connections", l.limits.Total, "max_connections_per_address", l.limits.PerAddress)
		l.refused, l.logged = 0, now
	}
}
