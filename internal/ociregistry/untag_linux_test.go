package ociregistry_test

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A tag that cannot be removed stops the removal of its manifest: the client
// gets 500 without a path, and may try again.
func TestManifestWhoseTagCannotBeRemoved(t *testing.T) {
	w := newEnv(t)
	user, image := w.pusher(w.one), newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	mounted := w.file("repositories", "1-1-demo", "app", "_manifests", "tags", "v1", "index")
	if err := syscall.Mount("tmpfs", mounted, "tmpfs", 0, "size=4096"); err != nil { // it cannot be removed now
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must be able to mount a tmpfs: %v", err)
		}
		t.Skipf("a tmpfs cannot be mounted: %v", err)
	}
	isMounted := true
	unmount := func() {
		if isMounted {
			isMounted = false
			if err := syscall.Unmount(mounted, 0); err != nil {
				t.Error(err)
			}
		}
	}
	defer unmount()
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	for _, target := range []string{"v1", digestOf(t, image).String()} {
		// A removal that fails may have removed the current link.
		w.push(user, "1-1-demo/app:v1", image)
		got := w.send(http.MethodDelete, "/v2/1-1-demo/app/manifests/"+target, "", bearer)
		w.wantStatus("DELETE of "+target, got, http.StatusInternalServerError, "UNKNOWN")
		if strings.Contains(got.body, w.Dir.Path) || strings.Contains(got.body, "_manifests") {
			t.Errorf("DELETE of %s: got the body %s, want no path in it", target, got.body)
		}
	}
	unmount()
	w.push(user, "1-1-demo/app:v1", image)
	w.wantStatus("again", w.send(http.MethodDelete, "/v2/1-1-demo/app/manifests/"+digestOf(t, image).String(), "", bearer), http.StatusAccepted, "")
	for _, target := range []string{"manifests/v1", "manifests/" + digestOf(t, image).String()} {
		if got := w.send(http.MethodGet, "/v2/1-1-demo/app/"+target, "", bearer); got.status != http.StatusNotFound {
			t.Errorf("GET %s: got %v, want 404", target, got)
		}
	}
}
