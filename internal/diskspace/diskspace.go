// Package diskspace says how much room a file system has, and whether an error
// came of a full one.
package diskspace

// Space is the room of a file system, as users without privileges may use it.
type Space struct {
	Free, Total uint64 // bytes

	// FreeFiles and Files are inodes. Files is 0 where their number is not fixed.
	FreeFiles, Files uint64
}
