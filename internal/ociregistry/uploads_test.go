package ociregistry

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writeUpload creates an upload that was begun and last written to at the times.
func writeUpload(t *testing.T, root, repository, id, startedAt string, written time.Time) (directory string) {
	t.Helper()
	directory = (&imageDirectory{root: root}).below(repositoriesRoot + "/" + repository + "/_uploads/" + id)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"startedat": startedAt, "data": "some"} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(directory, "data"), directory} {
		if err := os.Chtimes(path, time.Time{}, written); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Abandoned uploads are removed at the start, and then each hour.
func TestAbandonedUploadsAreRemovedWhileServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		now := time.Now()
		at := func(ago time.Duration) string { return now.Add(-ago).UTC().Format(time.RFC3339) }
		const day = 24 * time.Hour
		abandoned := writeUpload(t, root, "1-1-demo/app", "abandoned", at(25*time.Hour), now.Add(-25*time.Hour))
		slow := writeUpload(t, root, "1-1-demo/app", "slow", at(25*time.Hour), now.Add(-23*time.Hour-30*time.Minute))
		young := writeUpload(t, root, "1-1-demo/app/team", "young", at(22*time.Hour+30*time.Minute), now.Add(-25*time.Hour))
		damaged := writeUpload(t, root, "1-1-demo/app", "damaged", "", now.Add(-25*time.Hour))
		later := writeUpload(t, root, "1-1-demo/app", "later", "", now.Add(-day+time.Minute))
		manifest := (&imageDirectory{root: root}).below(repositoriesRoot + "/1-1-demo/app/_manifests/revisions/sha256/x/_uploads/y")
		if err := os.MkdirAll(manifest, 0o700); err != nil {
			t.Fatal(err)
		}
		want := func(when string, removed, kept []string) {
			t.Helper()
			synctest.Wait()
			for _, path := range removed {
				if exists(path) {
					t.Errorf("%s: the upload %s is there, want it removed", when, filepath.Base(path))
				}
			}
			for _, path := range append(kept, manifest) {
				if !exists(path) {
					t.Errorf("%s: the upload %s was removed, want it kept", when, filepath.Base(path))
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			purgeUploads(ctx, &imageDirectory{root: root}, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		want("at the start", []string{abandoned, damaged}, []string{slow, young, later})
		time.Sleep(59 * time.Minute) // of the bubble's clock
		want("before an hour", nil, []string{slow, young, later})
		time.Sleep(time.Minute)
		want("after an hour", []string{slow, later}, []string{young})
		time.Sleep(time.Hour)
		want("after two hours", []string{young}, nil)
		cancel()
		<-ended
		if text := log.String(); strings.Count(text, "removed abandoned uploads") != 3 || strings.Contains(text, "ERROR") {
			t.Errorf("got the log\n%s\nwant three removals and no error", text)
		}
	})
}

// An unreadable repository does not affect the others.
func TestUnreadableRepositoryDoesNotKeepOtherUploads(t *testing.T) {
	root, now := t.TempDir(), time.Now()
	old := now.Add(-25 * time.Hour)
	first := writeUpload(t, root, "1-1-a/app", "first", "", old)
	last := writeUpload(t, root, "1-1-z/app", "last", "", old)
	broken := (&imageDirectory{root: root}).below(repositoriesRoot + "/1-1-m/app/_uploads")
	if err := os.MkdirAll(filepath.Dir(broken), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil { // a file in place of a directory
		t.Fatal(err)
	}
	n, err := removeUploads(t.Context(), &imageDirectory{root: root}, now)
	if n != 2 || err == nil || exists(first) || exists(last) {
		t.Errorf("got %d removed, %v; want both, and an error", n, err)
	}
	if _, err := removeUploads(t.Context(), &imageDirectory{root: filepath.Join(root, "none")}, now); err != nil {
		t.Errorf("without images: got %v, want no error (%v)", err, fs.ErrNotExist)
	}
}
