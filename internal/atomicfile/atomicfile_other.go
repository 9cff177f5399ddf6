//go:build !unix

package atomicfile

import "io/fs"

// SyncDir does nothing: this system syncs names by itself.
func SyncDir(string) error { return nil }

// CopyOwner does nothing: a new file has the owner that its directory gives it.
func CopyOwner(string, fs.FileInfo) error { return nil }
