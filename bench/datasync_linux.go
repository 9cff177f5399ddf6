package main

import (
	"os"
	"syscall"
)

// datasync makes the data written to a file durable.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
