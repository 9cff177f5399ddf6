//go:build !linux

package datadir

import "errors"

func bindMount(string) error { return errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }
