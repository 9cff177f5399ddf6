package main

import (
	"fmt"
	"syscall"
	"testing"
)

// mountSmall mounts a file system of a size in memory over a directory.
func mountSmall(directory string, size int) error {
	return syscall.Mount("tmpfs", directory, "tmpfs", 0, fmt.Sprintf("size=%d", size))
}

func unmount(directory string) error { return syscall.Unmount(directory, 0) }

func freeSpace(t *testing.T, directory string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(directory, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail * uint64(s.Bsize))
}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }
