//go:build !windows

package token

import (
	"errors"
	"os"
)

// syncDir makes the names in a directory survive power loss.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
