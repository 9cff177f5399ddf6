package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/registryusers/registryusers/internal/atomicfile"
)

func wantFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || string(data) != content {
		t.Errorf("%s holds %q, %v; want %q", path, data, err, content)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode() != mode {
		t.Errorf("%s has the mode %v; want %v", path, info.Mode(), mode)
	}
}

// wantNames checks that a directory holds these names and no temporary file.
func wantNames(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(names) {
		t.Fatalf("%s holds %v, %v; want %q", dir, entries, err, names)
	}
	for i := range names {
		if entries[i].Name() != names[i] {
			t.Errorf("%s holds %v; want %q", dir, entries, names)
		}
	}
}

func put(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte("old"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := atomicfile.Write(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "one", 0o600)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other") // the same file
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "two", 0o640)
	wantFile(t, other, "one", 0o640)
	wantNames(t, dir, "file", "other")
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := atomicfile.Create(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Create(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of a file that exists: %v; want %v", err, fs.ErrExist)
	}
	wantFile(t, path, "one", 0o600)
	broken := errors.New("broken")
	err := atomicfile.CreateFrom(filepath.Join(dir, "other"), 0o600, func(f *os.File) error {
		_, _ = f.WriteString("half")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("CreateFrom: %v; want %v", err, broken)
	}
	wantNames(t, dir, "file")
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b")
	for range 2 {
		if err := atomicfile.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			t.Errorf("%s: %v, %v; want a directory", path, info, err)
		}
	}
	t.Chdir(dir)
	if err := atomicfile.MkdirAll("c/d/", 0o700); err != nil {
		t.Error(err)
	}
	wantNames(t, dir, "a", "c")
	put(t, filepath.Join(dir, "file"), 0o600)
	if err := atomicfile.MkdirAll(filepath.Join(dir, "file", "x"), 0o700); err == nil {
		t.Error("a directory was created below a file")
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	put(t, path, 0o600)
	if err := atomicfile.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)
	if err := atomicfile.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove again: %v; want %v", err, fs.ErrNotExist)
	}
}

func TestOneOfManyCreates(t *testing.T) {
	dir := t.TempDir()
	var created atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			err := atomicfile.Create(filepath.Join(dir, "file"), []byte(strconv.Itoa(i)), 0o600)
			if err == nil {
				created.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create: %v; want %v", err, fs.ErrExist)
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 {
		t.Errorf("%d Creates succeeded; want 1", created.Load())
	}
	wantNames(t, dir, "file")
}

func TestLinksAreFollowed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege on Windows")
	}
	for what, exists := range map[string]bool{"to a file": true, "to nowhere": false} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			for _, sub := range []string{"real/deep", "links"} {
				if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			target := filepath.Join(dir, "real", "file")
			mode := fs.FileMode(0o600)
			if exists {
				mode = 0o640
				put(t, target, mode)
			}
			for link, to := range map[string]string{
				"links/dir":   filepath.Join(dir, "real", "deep"),
				"links/two":   "dir/../file", // relative to real/deep, not to links
				"links/first": "two",
			} {
				if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			link := filepath.Join(dir, "links", "first")
			if err := atomicfile.Check(link, 10); err != nil {
				t.Error(err)
			}
			if err := atomicfile.Write(link, []byte("new"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantFile(t, target, "new", mode)
			if to, err := os.Readlink(link); err != nil || to != "two" {
				t.Errorf("the link leads to %q, %v; want it as it was", to, err)
			}
			wantNames(t, filepath.Dir(target), "deep", "file")
			wantNames(t, filepath.Dir(link), "dir", "first", "two")
			if err := atomicfile.Create(link, nil, 0o600); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create of a link: %v; want %v", err, fs.ErrExist)
			}
		})
	}
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(loop, nil, 0o600); err == nil {
		t.Error("a link to itself was written")
	}
}

func TestUnwritablePaths(t *testing.T) {
	dir := t.TempDir()
	for what, path := range map[string]string{
		"no directory": filepath.Join(dir, "missing", "file"),
		"a directory":  dir,
	} {
		for name, err := range map[string]error{
			"Check":  atomicfile.Check(path, 10),
			"Write":  atomicfile.Write(path, nil, 0o600),
			"Create": atomicfile.Create(path, nil, 0o600),
		} {
			if err == nil {
				t.Errorf("%s: %s succeeded", what, name)
			}
		}
	}
	wantNames(t, dir)
}
