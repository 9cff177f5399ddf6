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
	// The fields have other types on other platforms; free is negative on FreeBSD
	// where privileged users took more than others may.
	block := uint64(s.Bsize)               //nolint:gosec // G115: never negative
	free = uint64(max(int64(s.Bavail), 0)) //nolint:gosec // G115: not negative
	return free * block, s.Blocks * block, true
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
