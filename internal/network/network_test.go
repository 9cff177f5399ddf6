package network_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/registryusers/registryusers/internal/network"
)

func TestNames(t *testing.T) {
	for from, want := range map[string][]string{
		"192.0.2.1":                   {"192.0.2.1/32"},
		"192.0.2.1:80":                {"192.0.2.1/32"},
		"[::ffff:192.0.2.1]:80":       {"192.0.2.1/32"},
		"2001:db8:1:2:3::4":           {"2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48"},
		"[2001:db8:1:2ff:3::4]:1":     {"2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"},
		"[fe80::1%eth0]:80":           {"fe80::/64", "fe80::/56", "fe80::/48"},
		"fe80::1%eth1":                {"fe80::/64", "fe80::/56", "fe80::/48"},
		"":                            {""},
		"@":                           {"@"},
		"host:80":                     {"host"},
		"/run/socket":                 {"/run/socket"},
		"999.0.2.1:80":                {"999.0.2.1"},
		"2001:db8:1:2:3:4:5:6:7:8:99": {"2001:db8:1:2:3:4:5:6:7:8:99"},
	} {
		if got := network.KeysOf(from); !slices.Equal(got, want) {
			t.Errorf("Names(%q) = %q; want %q", from, got, want)
		}
	}
}

func TestTheZeroAddressHasOneNetwork(t *testing.T) {
	if got := network.Of(netip.Addr{}); !slices.Equal(got, []netip.Prefix{{}}) {
		t.Errorf("Of(netip.Addr{}) = %v; want the zero Prefix alone", got)
	}
}
