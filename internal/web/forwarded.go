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
	hop, hops := 0, 0
	isTrusted := false
	if connection, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && contains(t.proxies, connection.Addr()) {
		isTrusted = true
		list := elements(r.Header[forwardedFor])
		var address netip.Addr
		address, hop = t.client(connection.Addr(), list)
		hops = len(list)
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
	schemes := elements(values)
	if len(schemes) == 0 {
		return
	}
	// A proxy that appends to both headers says at the client's hop which scheme
	// the client used. Of any other list only the last element is certain to be a
	// trusted proxy's: the client may have sent what comes before.
	scheme := schemes[len(schemes)-1]
	if len(schemes) == hops {
		scheme = schemes[hop]
	}
	if scheme = strings.ToLower(scheme); scheme == "http" || scheme == "https" {
		r.Header.Set(forwardedProto, scheme)
	}
}

// elements returns the elements of a header's list. Empty ones do not count
// (RFC 9110, section 5.6.1).
func elements(values []string) (list []string) {
	for text := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if text = strings.TrimSpace(text); text != "" {
			list = append(list, text)
		}
	}
	return list
}

// client returns the last address in the list of X-Forwarded-For that is not a
// trusted proxy's, and at which hop the walk ended. Each proxy appends who it was
// called by, so all that comes before that hop is the client's own word. The walk
// ends at a hop that names no address ("unknown"): then the address is that of the
// proxy that wrote it.
func (t *router) client(connection netip.Addr, list []string) (address netip.Addr, hop int) {
	address = connection
	for hop = len(list) - 1; hop >= 0; hop-- {
		next, ok := parseHop(list[hop])
		if !ok {
			return address, hop
		}
		if address = next; !contains(t.proxies, next) {
			return address, hop
		}
	}
	return address, 0
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
