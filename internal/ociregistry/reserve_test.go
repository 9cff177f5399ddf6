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
		if got := (&reserve{size: test.setting}).of(test.total); got != test.want {
			t.Errorf("the setting %d on %d bytes: got %d, want %d", test.setting, test.total, got, test.want)
		}
	}
}
