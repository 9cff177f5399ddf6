package ociregistry_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
)

// A blob gets the same response as from the library alone, over the same directory.
func TestBlobsAreServedAsTheLibraryDoes(t *testing.T) {
	const content = "0123456789 the content of a blob"
	digest := sum(content)
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), digest), content, bearer)
	w.wantStatus("push", got, http.StatusCreated, "")
	library := httptest.NewServer(handlers.NewApp(t.Context(), &configuration.Configuration{Storage: configuration.Storage{
		"filesystem":  configuration.Parameters{"rootdirectory": w.Dir.Images()},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}}))
	defer library.Close()
	path := "/v2/1-1-demo/app/blobs/" + digest
	for _, request := range []struct {
		method  string
		headers []string
		status  int
		body    string
	}{
		{http.MethodGet, nil, http.StatusOK, content},
		{http.MethodHead, nil, http.StatusOK, ""},
		{http.MethodGet, []string{"Range: bytes=0-9"}, http.StatusPartialContent, content[:10]},
		{http.MethodGet, []string{"Range: bytes=10-"}, http.StatusPartialContent, content[10:]},
		{http.MethodGet, []string{"Range: bytes=-4"}, http.StatusPartialContent, "blob"},
		{http.MethodHead, []string{"Range: bytes=0-9"}, http.StatusPartialContent, ""},
		{http.MethodGet, []string{"Range: bytes=100-"}, http.StatusRequestedRangeNotSatisfiable, `{"errors":[{"code":"RANGE_INVALID","message":"the content has no such range"}]}` + "\n"},
		{http.MethodGet, []string{`If-None-Match: "` + digest + `"`}, http.StatusNotModified, ""},
		{http.MethodGet, []string{`If-None-Match: "other"`}, http.StatusOK, content},
	} {
		got := w.send(request.method, path, "", append(request.headers, bearer)...)
		if got.status != request.status || got.body != request.body {
			t.Errorf("%s %v: got %v, want status %d and %q", request.method, request.headers, got, request.status, request.body)
		}
		wanted := w.send(request.method, library.URL+path, "", request.headers...)
		for _, name := range []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "ETag", "Docker-Content-Digest", "Cache-Control", "Docker-Distribution-API-Version"} {
			if request.status >= http.StatusBadRequest && (name == "Content-Type" || name == "Content-Length") {
				continue // the library's error response is text
			}
			if got, want := got.header.Values(name), wanted.header.Values(name); len(got) != len(want) || strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("%s %v: got %s %q from the file, %q from the library", request.method, request.headers, name, got, want)
			}
		}
	}
	if n := strings.Count(w.Log.String(), `"response_bytes":`); n < 9 {
		t.Errorf("got bytes in %d log lines, want them in each", n)
	}
}

// A blob is not found in another repository, even of the same registry.
func TestBlobsBelongToOneRepository(t *testing.T) {
	const content = "the content of a blob"
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all), scope("1-1-demo/other", all))
	got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)), content, bearer)
	w.wantStatus("push", got, http.StatusCreated, "")
	got = w.send(http.MethodGet, "/v2/1-1-demo/other/blobs/"+sum(content), "", bearer)
	w.wantStatus("GET from another repository", got, http.StatusNotFound, "BLOB_UNKNOWN")
	hex := strings.TrimPrefix(sum(content), "sha256:")
	if err := os.RemoveAll(filepath.Dir(w.file("blobs", "sha256", hex[:2], hex, "data"))); err != nil {
		t.Fatal(err)
	}
	got = w.send(http.MethodGet, "/v2/1-1-demo/app/blobs/"+sum(content), "", bearer)
	w.wantStatus("GET of what was removed", got, http.StatusNotFound, "BLOB_UNKNOWN")
}

// Below the reserve, uploads are refused; everything else continues.
func TestUploadsBelowTheReserveAreRefused(t *testing.T) {
	w := newEnv(t)
	user, image := w.pusher(w.one), newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	location := w.begun("1-1-demo/app", bearer)
	w.AppOptions.Reserve = 1 << 62
	w.Stop()
	w.Open()
	manifest := w.send(http.MethodGet, manifests, "", bearer)
	for _, request := range []struct{ method, target string }{
		{http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/"},
		{http.MethodPatch, location},
		{http.MethodPut, withDigest(location, sum("some"))},
		{http.MethodPut, "/v2/1-1-demo/app/manifests/v2"},
	} {
		got := w.send(request.method, request.target, "some", bearer)
		w.wantStatus(request.method, got, http.StatusInsufficientStorage, "UNAVAILABLE", "no disk space")
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s: got no Retry-After, want one", request.method)
		}
	}
	if got := w.send(http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/", ""); got.status != http.StatusUnauthorized {
		t.Errorf("unauthenticated: got %v, want status 401", got)
	}
	w.wantPulled(user, "1-1-demo/app:v1", image)
	got := w.send(http.MethodDelete, "/v2/1-1-demo/app/manifests/"+digestOf(t, image).String(), "", bearer)
	w.wantStatus("DELETE", got, http.StatusAccepted, "")
	if n := strings.Count(w.Log.String(), "uploads are refused"); n != 1 {
		t.Errorf("got %d lines that uploads are refused in the log, want one", n)
	}
	if line := w.logLine("uploads are refused"); !strings.Contains(line, `"free_bytes":`) || !strings.Contains(line, `"reserve_bytes":4611686018427387904`) {
		t.Errorf("got the line %swant free_bytes and reserve_bytes in it", line)
	}
	w.AppOptions.Reserve = 0
	w.Stop()
	w.Open()
	got = w.send(http.MethodPut, withDigest(location, sum("some")), "some", bearer)
	w.wantStatus("the upload continues", got, http.StatusCreated, "")
	if manifest.status != http.StatusOK {
		t.Errorf("GET of a manifest: got %v, want status 200", manifest)
	}
}

// The library keeps complete manifests in memory: a user may have a few large ones in
// progress, and any number of small ones.
func TestLargeManifestsInProgressAreLimited(t *testing.T) {
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	w.push(other, "2-1-demo/app:v1", newImage(t, 1))
	got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum("{}")), "{}", bearer)
	w.wantStatus("push a config", got, http.StatusCreated, "")
	body := func(padding int) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[],"annotations":{"a":%q}}`,
			mediaType, sum("{}"), strings.Repeat("a", padding))
	}
	large := body(4_000_000)
	for tag, text := range map[string]string{"large": large, "small": body(10)} {
		got := w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/"+tag, text, bearer, "Content-Type: "+mediaType)
		w.wantStatus("push a "+tag+" manifest", got, http.StatusCreated, "")
	}
	get := func(tag, bearer string) httpResponse {
		return w.send(http.MethodGet, "/v2/1-1-demo/app/manifests/"+tag, "", bearer, "Accept: "+mediaType)
	}
	if got := get("large", bearer); got.status != http.StatusOK || got.body != large {
		t.Errorf("GET of the large manifest: got status %d and %d bytes, want 200 and %d", got.status, len(got.body), len(large))
	}

	type push struct {
		net.Conn
		in *bufio.Reader
	}
	var pushes []push
	for range 2 { // begun, with the body not yet sent
		conn, err := net.Dial("tcp", w.host())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT /v2/1-1-demo/app/manifests/v1 HTTP/1.1\r\nHost: %s\r\n%s\r\nExpect: 100-continue\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
			w.host(), bearer, mediaType, len(large))
		in := bufio.NewReader(conn)
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("got %q, %v; want 100 Continue", line, err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		pushes = append(pushes, push{conn, in})
	}
	for what, got := range map[string]httpResponse{
		"a pull": get("large", bearer),
		"a push": w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/v2", large, bearer, "Content-Type: "+mediaType),
	} {
		w.wantStatus(what+" of a third", got, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		if got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: got the Retry-After %q, want 1", what, got.header.Get("Retry-After"))
		}
	}
	if got := get("small", bearer); got.status != http.StatusOK {
		t.Errorf("a small one: got %v, want status 200", got)
	}
	if got := get("none", bearer); got.status != http.StatusNotFound {
		t.Errorf("one that is not there: got %v, want status 404", got)
	}
	for _, push := range pushes {
		if _, err := io.WriteString(push, large); err != nil {
			t.Fatal(err)
		}
		if response, err := http.ReadResponse(push.in, nil); err != nil || response.StatusCode != http.StatusCreated {
			t.Errorf("the push continues: got %v, %v; want status 201", response, err)
		}
	}
	if got := get("large", bearer); got.status != http.StatusOK {
		t.Errorf("when they have ended: got %v, want status 200", got)
	}
}
