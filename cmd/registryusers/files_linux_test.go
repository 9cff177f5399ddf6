package main

import (
	"fmt"
	"syscall"
	"testing"
)

// mountSmall mounts a file system of a size and a number of inodes (0: many) in
// memory over a directory.
func mountSmall(directory string, size, inodes int) error {
	options := fmt.Sprintf("size=%d", size)
	if inodes != 0 {
		options += fmt.Sprintf(",nr_inodes=%d", inodes)
	}
	return syscall.Mount("tmpfs", directory, "tmpfs", 0, options)
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

func freeInodes(t *testing.T, directory string) int {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(directory, &s); err != nil {
		t.Fatal(err)
	}
	return int(s.Ffree)
}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }
