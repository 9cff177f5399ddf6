//go:build unix

package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// syncs records the syncs while change runs, in order: for a file its
// content, for the directory the content that the file at path has at that time. The
// sync with the index failing fails.
func syncs(t *testing.T, path string, failing int, change func() error) ([]string, error) {
	t.Helper()
	var calls []string
	sync = func(f *os.File) error {
		if f.Name() == filepath.Dir(path) {
			content, err := os.ReadFile(path)
			calls = append(calls, fmt.Sprintf("directory with %q, %t", content, err == nil))
		} else {
			content, err := os.ReadFile(f.Name())
			info, statErr := f.Stat()
			if err := errors.Join(err, statErr); err != nil {
				t.Fatal(err)
			}
			calls = append(calls, fmt.Sprintf("file with %q, %v", content, info.Mode()))
		}
		if len(calls)-1 == failing {
			return errSync
		}
		return f.Sync()
	}
	defer func() { sync = (*os.File).Sync }()
	err := change()
	return calls, err
}

var errSync = errors.New("the disk is broken")

// A power loss loses neither the content nor the name.
func TestFileAndDirectoryAreSynced(t *testing.T) {
	for what, test := range map[string]struct {
		old    string
		change func(path string) error
	}{
		"Write":  {"old", func(path string) error { return Write(path, []byte("new"), 0o640) }},
		"Create": {"", func(path string) error { return Create(path, []byte("new"), 0o640) }},
	} {
		t.Run(what, func(t *testing.T) {
			want := []string{`file with "new", -rw-r-----`, `directory with "new", true`}
			for failing := range len(want) + 1 {
				path := filepath.Join(t.TempDir(), "file")
				if test.old != "" {
					if err := os.WriteFile(path, []byte(test.old), 0o640); err != nil {
						t.Fatal(err)
					}
				}
				got, err := syncs(t, path, failing, func() error { return test.change(path) })
				if want := want[:min(failing+1, len(want))]; !slices.Equal(got, want) {
					t.Errorf("got the syncs %q, want %q", got, want)
				}
				if fails := failing < len(want); errors.Is(err, errSync) != fails || !fails && err != nil {
					t.Errorf("sync %d fails: got the error %v", failing, err)
				}
				if failing > 0 {
					continue
				}
				if content, _ := os.ReadFile(path); string(content) != test.old {
					t.Errorf("the file was not synced, and has the content %q, want %q", content, test.old)
				}
				if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > min(1, len(test.old)) {
					t.Errorf("the file was not synced: left behind: %v, %v", entries, err)
				}
			}
		})
	}
}

func TestRemovalIsSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := syncs(t, path, -1, func() error { return Remove(path) })
	if want := []string{`directory with "", false`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got the syncs %q, %v; want %q", got, err, want)
	}
}

// Each directory that is created has its name synced, and no other.
func TestNewDirectoriesAreSynced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b")
	for _, want := range [][]string{{filepath.Join(dir, "a"), dir}, nil} {
		var got []string
		sync = func(f *os.File) error {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("a sync before the directory is there: %v", err)
			}
			got = append(got, f.Name())
			return f.Sync()
		}
		err := MkdirAll(path, 0o700)
		sync = (*os.File).Sync
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got the syncs %q, %v; want %q", got, err, want)
		}
	}
}
