//go:build !unix

package atomicfile

import "io/fs"

// SyncDir does nothing: this system syncs directories by itself.
func SyncDir(string) error { return nil }

// CopyOwner does nothing: a new file inherits its owner from its directory.
func CopyOwner(string, fs.FileInfo) error { return nil }
