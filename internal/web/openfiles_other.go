//go:build !unix

package web

// OpenFiles returns how many files the process may have open at a time, or 0 if
// that is not known.
func OpenFiles() uint64 { return 0 }
