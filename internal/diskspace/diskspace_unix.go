//go:build linux || darwin || freebsd

package diskspace

import (
	"errors"
	"syscall"
)

// Of returns the free bytes and all the bytes of the file system of a
// directory, as users without privileges may use them.
func Of(directory string) (free, total uint64, ok bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(directory, &s) != nil {
		return 0, 0, false
	}
	block := uint64(s.Bsize)     //nolint:gosec // G115: of different types on the platforms, never negative
	available := int64(s.Bavail) //nolint:gosec // the same; negative on FreeBSD where privileged users took more
	return uint64(max(available, 0)) * block, s.Blocks * block, true
}

// IsFull reports whether err says that the file system, or a quota, is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
