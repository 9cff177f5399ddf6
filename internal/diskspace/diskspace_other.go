//go:build !(linux || darwin || freebsd)

package diskspace

import (
	"errors"
	"syscall"
)

// Of returns false: the space is not known on this platform.
func Of(string) (Space, bool) { return Space{}, false }

// The errors of Windows for a full disk. No other system returns them.
const (
	errorHandleDiskFull = syscall.Errno(39)
	errorDiskFull       = syscall.Errno(112)
)

// IsFull reports whether err says that the file system, or a quota, is full.
func IsFull(err error) bool {
	return errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull)
}
