package web

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/registryusers/registryusers/internal/network"
	"github.com/registryusers/registryusers/internal/observe"
)

// resolveForwarded sets r.RemoteAddr to the client's address, and records whether the
// client uses https. It uses only the headers of trusted proxies.
func (t *router) resolveForwarded(record *observe.Record, r *http.Request) {
	record.HTTPS = r.TLS != nil
	connection, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !network.Contains(t.proxies, connection.Addr()) {
		return
	}
	addresses, schemes := elements(r.Header["X-Forwarded-For"]), elements(r.Header["X-Forwarded-Proto"])
	address, hop := t.client(connection.Addr(), addresses)
	r.RemoteAddr = netip.AddrPortFrom(address, connection.Port()).String()
	if len(schemes) == 0 {
		return
	}
	// If the proxies append to both headers, the element at the client's hop is the
	// scheme that the client used. In any other list, only the last element is
	// certain to come from a trusted proxy: the client may have sent the others.
	scheme := schemes[len(schemes)-1]
	if len(schemes) == len(addresses) {
		scheme = schemes[hop]
	}
	record.HTTPS = record.HTTPS || strings.EqualFold(scheme, "https")
}

// elements returns the elements of a header's list, without empty ones (RFC 9110,
// section 5.6.1).
func elements(values []string) (list []string) {
	for text := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if text = strings.TrimSpace(text); text != "" {
			list = append(list, text)
		}
	}
	return list
}

// client returns the last address in the list of X-Forwarded-For that is not a
// trusted proxy's, and its index, hop. Each proxy appends the address of its caller,
// so the client may have made up everything before that hop. If client meets an
// element that is not an address ("unknown"), it returns the address of the proxy
// that appended it, and the element's index.
func (t *router) client(connection netip.Addr, list []string) (address netip.Addr, hop int) {
	address = connection
	for hop = len(list) - 1; hop >= 0; hop-- {
		next, ok := parseHop(list[hop])
		if !ok {
			return address, hop
		}
		if address = next; !network.Contains(t.proxies, next) {
			return address, hop
		}
	}
	return address, 0
}

// parseHop parses an address of X-Forwarded-For: with or without a port, and an IPv6
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
