//go:build !linux

package main

import (
	"errors"
	"testing"
)

func mountSmall(string, int, int) error { return errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }

func freeInodes(t *testing.T, _ string) int {
	t.Helper()
	t.Fatal("no small file system was mounted")
	return 0
}

func freeSpace(t *testing.T, _ string) int64 {
	t.Helper()
	t.Fatal("no small file system was mounted")
	return 0
}

func mkfifo(string) error { return errors.ErrUnsupported }
