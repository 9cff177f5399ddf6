// Package network returns the networks that an address belongs to, for limits that
// a host must not evade by changing its address.
package network

import (
	"net"
	"net/netip"
	"slices"
)

// Bits are the prefix lengths of the counted IPv6 networks, the narrowest first: a
// host has a /64 to itself, and its owner often has a /56 or a /48.
var Bits = [...]int{64, 56, 48}

// Of returns the networks of an address, the narrowest first: for an IPv4 address
// only its /32, for an IPv6 address one for each of [Bits]. For the zero Addr it
// returns the zero Prefix.
func Of(address netip.Addr) []netip.Prefix {
	address = address.Unmap().WithZone("")
	if !address.Is6() {
		prefix, _ := address.Prefix(address.BitLen()) // fails only for the zero Addr
		return []netip.Prefix{prefix}
	}
	networks := make([]netip.Prefix, len(Bits))
	for i, bits := range Bits {
		networks[i], _ = address.Prefix(bits) // fails only for too many bits
	}
	return networks
}

// Contains reports whether an address is in one of the ranges.
func Contains(ranges []netip.Prefix, address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(address) })
}

// KeysOf is [Of] for an address as text, with or without a port. Text that is not an
// address is its own network.
func KeysOf(from string) []string {
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		host = from
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return []string{host}
	}
	var names []string
	for _, prefix := range Of(address) {
		names = append(names, prefix.String())
	}
	return names
}
