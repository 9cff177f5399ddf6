//go:build linux || darwin || freebsd

package diskspace

import (
	"errors"
	"syscall"
)

// Of returns the space of the file system of a directory. ok is false if it is
// not known.
func Of(directory string) (space Space, ok bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(directory, &s) != nil {
		return Space{}, false
	}
	block := uint64(s.Bsize)     //nolint:gosec // G115: the type differs between platforms; never negative
	available := int64(s.Bavail) //nolint:gosec // the same; negative on FreeBSD if privileged users use the reserve
	return Space{
		Free:      uint64(max(available, 0)) * block,
		Total:     s.Blocks * block,
		FreeFiles: uint64(s.Ffree), //nolint:unconvert // signed on FreeBSD
		Files:     s.Files,
	}, true
}

// IsFull reports whether err says that the file system, or a quota, is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
