package web_test

import (
	"testing"

	"github.com/registryusers/registryusers/internal/web"
)

func TestOpenFilesAreDivided(t *testing.T) {
	for _, test := range []struct {
		files                 uint64
		connections, requests int
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
		connections := web.MaxConnections(test.files)
		if requests := web.MaxImageRequests(test.files, connections); connections != test.connections || requests != test.requests {
			t.Errorf("%d open files: got %d connections and %d requests, want %d and %d", test.files, connections, requests, test.connections, test.requests)
		}
	}
	for connections, want := range map[int]int{1: 479, 900: 30, 960: 1, 5000: 1} {
		if got := web.MaxImageRequests(1024, connections); got != want {
			t.Errorf("1024 open files and %d connections: got %d requests, want %d", connections, got, want)
		}
	}
}
