package ociregistry_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// directories returns the paths of the directories of repositories and blobs.
func (w *env) directories() (all []string) {
	w.t.Helper()
	root := w.file()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		if err == nil && entry.IsDir() && name != "." && name != "repositories" && name != "blobs" {
			all = append(all, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// deep is a repository with a hundred directories.
var deep = "1-1-demo" + strings.Repeat("/a", 100)

// A cancelled upload leaves no directories except those in use.
func TestCancelledUploadLeavesNoDirectories(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope(deep, all), scope("1-1-demo/a", all))
	kept := w.begun("1-1-demo/a", bearer)
	before := w.directories()
	location := w.begun(deep, bearer)
	if got := w.directories(); len(got) < len(before)+100 {
		t.Fatalf("with an upload: got %d directories, want a hundred more than %d", len(got), len(before))
	}
	w.wantStatus("cancel", w.send(http.MethodDelete, location, "", bearer), http.StatusNoContent, "")
	if got := w.directories(); !slices.Equal(got, before) {
		t.Errorf("got the directories %q, want %q", got, before)
	}
	w.wantStatus("cancel", w.send(http.MethodDelete, kept, "", bearer), http.StatusNoContent, "")
	if got := w.directories(); len(got) != 0 {
		t.Errorf("got the directories %q, want none", got)
	}
}

// Uploads that begin while others are cancelled never lose their directories.
func TestUploadsBesideCancelledOnes(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/a/b/c", all))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 25 {
				got, err := w.trySend(http.MethodPost, "/v2/1-1-demo/a/b/c/blobs/uploads/", "", bearer)
				if err != nil || got.status != http.StatusAccepted {
					t.Errorf("begin: got %v, %v; want 202", got, err)
					return
				}
				got, err = w.trySend(http.MethodDelete, got.header.Get("Location"), "", bearer)
				if err != nil || got.status != http.StatusNoContent {
					t.Errorf("cancel: got %v, %v; want 204", got, err)
				}
			}
		})
	}
	group.Wait()
}

// Abandoned uploads leave no directories when they are removed at the start.
func TestAbandonedUploadLeavesNoDirectories(t *testing.T) {
	w := newEnv(t)
	w.begun(deep, w.bearer(w.pusher(w.one), scope(deep, all)))
	w.Stop()
	started := w.glob("_uploads", "startedat")
	if len(started) != 1 {
		t.Fatalf("got the uploads %q, want one", started)
	}
	overwrite(t, started[0], time.Now().Add(-48*time.Hour).UTC().Format(time.RFC3339))
	w.age(48 * time.Hour)
	w.collectNow()
	if got := w.directories(); len(got) != 0 {
		t.Errorf("got the directories %q, want none", got)
	}
	w.Open()
}

// glob returns the files of a name below directories of another name.
func (w *env) glob(directory, name string) (all []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.file(), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == name && filepath.Base(filepath.Dir(filepath.Dir(path))) == directory {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// Collected blobs leave no directories; a symbolic link of the operator stays.
func TestGarbageCollectLeavesNoDirectories(t *testing.T) {
	w := newEnv(t)
	user, image := w.pusher(w.one), newImage(t, 2)
	_, options := w.as(user)
	w.push(user, "1-1-demo/deep/in/app:v1", image)
	if err := remote.Delete(w.ref("1-1-demo/deep/in/app@"+digestOf(t, image).String()), options...); err != nil {
		t.Fatal(err)
	}
	elsewhere, link := t.TempDir(), w.file("repositories", "1-1-moved")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Skipf("symbolic links: %v", err)
	}
	w.age(48 * time.Hour)
	w.Stop()
	if g := w.collectNow(); g.Blobs != 4 {
		t.Errorf("got %+v, want 4 blobs removed", g)
	}
	const app = "repositories/1-1-demo/deep/in/app" // its deleted tags leave a directory
	for _, name := range w.directories() {
		if !strings.HasPrefix(name+"/", app+"/") && !strings.HasPrefix(app, name+"/") {
			t.Errorf("got the directory %s, want none but the repository's", name)
		}
	}
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("the symbolic link of the operator: %v", err)
	}
	w.Open()
}
