//go:build !(linux || darwin || freebsd)

package ociregistry

import (
	"errors"
	"syscall"
)

// diskSpace is not known on this platform.
func diskSpace(string) (free, total uint64, ok bool) { return 0, 0, false }

// The errors of Windows for a full disk; elsewhere no system call fails with them.
const (
	errorHandleDiskFull = syscall.Errno(39)
	errorDiskFull       = syscall.Errno(112)
)

func isDiskFull(err error) bool {
	return errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull)
}
