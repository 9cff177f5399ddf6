// Package network says which networks an address belongs to, for limits that a
// host must not escape by changing its address.
package network

import (
	"net"
	"net/netip"
)

// Bits are the lengths of the IPv6 networks that are counted, the narrowest
// first: a host has a /64 to itself, and its owner often a /56 or a /48.
var Bits = [...]int{64, 56, 48}

// Of returns the networks of an address, the narrowest first: an IPv4 address has
// itself alone, an IPv6 address one for each of [Bits]. The zero Addr has one,
// the zero Prefix.
func Of(address netip.Addr) []netip.Prefix {
	address = address.Unmap().WithZone("")
	if !address.Is6() {
		prefix, _ := address.Prefix(address.BitLen()) // fails for the zero Addr alone
		return []netip.Prefix{prefix}
	}
	networks := make([]netip.Prefix, len(Bits))
	for i, bits := range Bits {
		networks[i], _ = address.Prefix(bits) // fails only for too many bits
	}
	return networks
}

// Names returns the networks of an address in text, with or without a port, as
// [Of] does. A text of an unknown form is its own network.
func Names(from string) []string {
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
