package registryusers_test

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each module has its own go.mod to keep up to date, so checks with heavy
// dependencies share one.
func TestTheRepositoryHasThreeModules(t *testing.T) {
	var got []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && (strings.HasPrefix(entry.Name(), ".") || path == "data"):
			return fs.SkipDir
		case entry.Name() == "go.mod":
			got = append(got, filepath.ToSlash(filepath.Dir(path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"bench", ".", "internal/verify"}; !slices.Equal(got, want) {
		t.Errorf("modules: got %q, want %q", got, want)
	}
}
