// Package diskspace returns how much space a file system has, and reports whether
// an error was caused by a full one.
package diskspace

// Space is the space of a file system that users without privileges can use.
type Space struct {
	Free, Total uint64 // bytes

	// FreeFiles and Files count inodes. Files is 0 if their number is not fixed.
	FreeFiles, Files uint64
}
