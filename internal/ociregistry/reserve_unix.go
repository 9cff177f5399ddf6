//go:build linux || darwin || freebsd

package ociregistry

import (
	"errors"
	"syscall"
)

// diskSpace returns the free bytes and all the bytes of the file system of a
// directory, as users without privileges may use them.
func diskSpace(directory string) (free, total uint64, ok bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(directory, &s) != nil {
		return 0, 0, false
	}
	block := uint64(s.Bsize)                                         //nolint:gosec,unconvert // G115: of different types on the platforms, never negative
	available := int64(s.Bavail)                                     //nolint:gosec,unconvert // the same; negative on FreeBSD where privileged users took more
	return uint64(max(available, 0)) * block, s.Blocks * block, true //nolint:gosec // G115: not negative
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
