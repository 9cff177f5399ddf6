package ociregistry_test

import (
	"crypto/sha512"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestOnlySHA256DigestsAreAccepted(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	image := newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	bearer := w.bearer(user, scope("1-1-demo/app", all), scope("1-1-demo/other", all))
	manifest := w.send(http.MethodGet, manifests, "", bearer, "Accept: application/vnd.docker.distribution.manifest.v2+json")
	const content = "something"
	other := func(text string) string { return fmt.Sprintf("sha512:%x", sha512.Sum512([]byte(text))) }
	uploads := "/v2/1-1-demo/app/blobs/uploads/"
	before := w.blobs()
	for _, request := range []struct{ method, target, body string }{
		{http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), other(content)), content},
		{http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum(content)) + "&digest=" + url.QueryEscape(other(content)), content},
		{http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), "md5:0123456789abcdef0123456789abcdef"), content},
		{http.MethodPost, uploads + "?digest=" + url.QueryEscape(other(content)), content},
		{http.MethodPost, uploads + "?mount=" + url.QueryEscape(other(content)) + "&from=1-1-demo/other", ""},
		{http.MethodPut, "/v2/1-1-demo/app/manifests/" + other(manifest.body), manifest.body},
	} {
		got := w.send(request.method, request.target, request.body, bearer, "Content-Type: "+manifest.header.Get("Content-Type"))
		path, _, _ := strings.Cut(request.target, "_state")
		w.wantStatus(request.method+" "+path, got, http.StatusBadRequest, "DIGEST_INVALID", "sha256")
	}
	if after := w.blobs(); len(after) != len(before) {
		t.Errorf("got %d blobs, want the %d that were there", len(after), len(before))
	}
	for _, path := range []string{"/v2/1-1-demo/app/blobs/" + other(content), "/v2/1-1-demo/app/manifests/" + other(manifest.body)} {
		if got := w.send(http.MethodGet, path, "", bearer); got.status != http.StatusNotFound {
			t.Errorf("GET %s: got %v, want 404", path, got)
		}
	}
	// An unauthenticated caller gets only a challenge.
	got := w.send(http.MethodPost, uploads+"?digest="+url.QueryEscape(other(content)), "")
	w.wantStatus("unauthenticated", got, http.StatusUnauthorized, "UNAUTHORIZED")
	w.wantPulled(user, "1-1-demo/app:v1", image)
}
