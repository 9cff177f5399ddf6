package datadir

import "syscall"

func bindMount(path string) error { return syscall.Mount(path, path, "", syscall.MS_BIND, "") }

func unmount(path string) error { return syscall.Unmount(path, 0) }
