package connections_test

import (
	"testing"

	"github.com/registryusers/registryusers/internal/connections"
)

func TestOpenFilesAreDivided(t *testing.T) {
	for _, test := range []struct {
		files          uint64
		most, requests int
	}{
		{0, 4096, 0},
		{1, 1, 1},
		{16, 4, 2},
		{128, 32, 16},
		{256, 96, 48},
		{1024, 480, 240},
		{4096, 2016, 1008},
		{8256, 4096, 2048},
		{1 << 20, 4096, 522208},
	} {
		most := connections.Max(test.files)
		if requests := connections.MaxImageRequests(test.files, most); most != test.most || requests != test.requests {
			t.Errorf("%d open files: got %d connections and %d requests, want %d and %d", test.files, most, requests, test.most, test.requests)
		}
	}
	for open, want := range map[int]int{1: 479, 900: 30, 960: 1, 5000: 1} {
		if got := connections.MaxImageRequests(1024, open); got != want {
			t.Errorf("1024 open files and %d connections: got %d requests, want %d", open, got, want)
		}
	}
}
