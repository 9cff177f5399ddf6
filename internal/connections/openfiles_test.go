package connections_test

import (
	"testing"

	"github.com/registryusers/registryusers/internal/connections"
)

func TestOpenFilesAreDivided(t *testing.T) {
	for _, test := range []struct {
		files      uint64
		most, left int
	}{
		{0, 4096, 0},
		{1, 1, 1},
		{16, 4, 4},
		{128, 32, 32},
		{256, 96, 96},
		{1024, 480, 480},
		{4096, 2016, 2016},
		{8256, 4096, 4096},
		{1 << 20, 4096, 1044416},
	} {
		most := connections.Max(test.files)
		if left := connections.FilesLeft(test.files, most); most != test.most || left != test.left {
			t.Errorf("%d open files: got %d connections and %d files for requests, want %d and %d", test.files, most, left, test.most, test.left)
		}
	}
	for open, want := range map[int]int{1: 959, 900: 60, 960: 1, 5000: 1} {
		if got := connections.FilesLeft(1024, open); got != want {
			t.Errorf("1024 open files and %d connections: got %d files left, want %d", open, got, want)
		}
	}
}
