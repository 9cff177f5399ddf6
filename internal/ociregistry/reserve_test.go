package ociregistry

import "testing"

func TestDefaultReserve(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, test := range []struct {
		setting     int64
		total, want uint64
	}{
		{DefaultReserve, 1 * gib, 256 * mib},
		{DefaultReserve, 10 * gib, 256 * mib},
		{DefaultReserve, 100 * gib, 2 * gib},
		{0, 100 * gib, 0},
		{5 * mib, 100 * gib, 5 * mib},
	} {
		if got := (&reserve{size: test.setting}).bytes(test.total); got != test.want {
			t.Errorf("the setting %d on %d bytes: got %d, want %d", test.setting, test.total, got, test.want)
		}
	}
}

func TestInodeReserve(t *testing.T) {
	for total, want := range map[uint64]uint64{0: 0, 100: 1024, 50_000: 1024, 1_000_000: 20_000} {
		if got := reservedInodes(total); got != want {
			t.Errorf("of %d inodes: got %d, want %d", total, got, want)
		}
	}
}
