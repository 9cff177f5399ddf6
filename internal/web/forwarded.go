package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
)

// resolveForwarded makes r say where it comes from: RemoteAddr is the client's
// address, and X-Forwarded-Proto is the scheme that the client used, "http" or
// "https", or absent. A trusted proxy's headers are believed, nobody else's. r
// shares its header with net/http's own request, which stays as it is.
func (t *router) resolveForwarded(r *http.Request) {
	isTrusted := false
	if connection, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && contains(t.proxies, connection.Addr()) {
		isTrusted = true
		address := t.client(connection.Addr(), r.Header.Values(forwardedFor))
		r.RemoteAddr = netip.AddrPortFrom(address, connection.Port()).String()
	}
	values := r.Header[forwardedProto]
	if len(values) == 0 {
		return
	}
	r.Header = r.Header.Clone()
	r.Header.Del(forwardedProto)
	if !isTrusted {
		return
	}
	// The outermost proxy's comes first.
	first, _, _ := strings.Cut(values[0], ",")
	if scheme := strings.ToLower(strings.TrimSpace(first)); scheme == "http" || scheme == "https" {
		r.Header.Set(forwardedProto, scheme)
	}
}

// client returns the last address in the values of X-Forwarded-For that is not
// a trusted proxy's. Each proxy appends who it was called by, so all that comes
// before that one is the client's own word. The walk ends at a hop that names no
// address ("unknown"): then it is the proxy's that wrote it.
func (t *router) client(connection netip.Addr, values []string) netip.Addr {
	address := connection
	for _, hop := range slices.Backward(strings.Split(strings.Join(values, ","), ",")) {
		next, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			break
		}
		if address = next; !contains(t.proxies, next) {
			break
		}
	}
	return address
}

// parseHop reads an address of X-Forwarded-For: with or without a port, an IPv6
// address with or without brackets.
func parseHop(text string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if text, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	address, err := netip.ParseAddr(text)
	return address.WithZone(""), err == nil
}

// contains reports whether an address lies in one of the ranges.
func contains(ranges []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(address.Unmap()) })
}
