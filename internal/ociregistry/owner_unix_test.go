//go:build unix

package ociregistry_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A server that runs as the directory's owner can open what a command of root has locked.
func TestLockBelongsToTheDirectorysOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	root := t.TempDir()
	if err := os.Chown(root, 65534, 65533); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(t, root); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 65534 || stat.Gid != 65533 || info.Mode().Perm() != 0o600 {
		t.Errorf("the lock: got the owner %d:%d and %v, want 65534:65533 and mode 0600", stat.Uid, stat.Gid, info.Mode())
	}
}
