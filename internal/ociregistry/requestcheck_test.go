package ociregistry_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/observe"
)

const (
	ociImage    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	dockerImage = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList  = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// wantClientError wants an error in the OCI form, without a path of the server
// and without Go's error texts.
func (w *env) wantClientError(what string, got httpResponse, status int, code string) {
	w.t.Helper()
	w.wantStatus(what, got, status, code)
	for _, inner := range []string{w.Dir.Path, "/docker/registry/", "repositories", "Go struct", "Go value", "json:", "http:", "base64", "invalid character", "invalid secret", "mime:", "strconv"} {
		if inner != "" && strings.Contains(got.body, inner) {
			w.t.Errorf("%s: got %v, want no %q in it", what, got, inner)
		}
	}
}

// wantNoErrorLogged wants no line above INFO in the log, once all requests have ended.
func (w *env) wantNoErrorLogged() {
	w.t.Helper()
	w.Close() // waits for the log
	for line := range strings.Lines(w.Log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, `"level":"WARN"`) {
			w.t.Errorf("got the log line %s want none above INFO", line)
		}
	}
}

func TestClientErrorsAre4xx(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	const app = "/v2/1-1-demo/app/"
	for _, last := range []string{"%00", "v1%00", "v1/current/link", "..", "../..", ".", "v1/", "-", "%ff", strings.Repeat("a", 129), strings.Repeat("a", 5000)} {
		got := w.send(http.MethodGet, app+"tags/list?last="+last, "", bearer)
		w.wantClientError("last="+last, got, http.StatusBadRequest, "TAG_INVALID")
	}
	for _, last := range []string{"", "v0", "v1", "zz", strings.Repeat("a", 128)} {
		if got := w.send(http.MethodGet, app+"tags/list?n=5&last="+last, "", bearer); got.status != http.StatusOK {
			t.Errorf("last=%s: got %v, want status 200", last, got)
		}
	}
	md5, sha384 := "md5:d41d8cd98f00b204e9800998ecf8427e", "sha384:"+strings.Repeat("a", 96)
	for _, request := range []struct {
		method, target string
		status         int
		code           string
	}{
		{http.MethodDelete, app + "manifests/none", http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{http.MethodGet, app + "blobs/uploads/" + strings.Repeat("a", 300), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN"},
		{http.MethodPut, app + "manifests/" + md5, http.StatusBadRequest, "DIGEST_INVALID"},
		{http.MethodPut, app + "manifests/" + sha384, http.StatusBadRequest, "DIGEST_INVALID"},
		{http.MethodPost, app + "manifests/v1", http.StatusMethodNotAllowed, "UNSUPPORTED"},
		{http.MethodPut, app + "tags/list", http.StatusMethodNotAllowed, "UNSUPPORTED"},
		{http.MethodPut, app + "blobs/" + sum("x"), http.StatusMethodNotAllowed, "UNSUPPORTED"},
		{http.MethodGet, app + "nothing", http.StatusNotFound, "UNSUPPORTED"},
		{http.MethodGet, app + "referrers/" + sum("x"), http.StatusNotFound, "UNSUPPORTED"},
		{http.MethodPut, app + "manifests/" + strings.Repeat("a", 200), http.StatusNotFound, "UNSUPPORTED"},
	} {
		got := w.send(request.method, request.target, "", bearer)
		w.wantClientError(request.method+" "+request.target, got, request.status, request.code)
	}
	w.wantNoErrorLogged()
}

func TestMalformedUploads(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	for _, test := range []struct {
		header        string
		patch, finish int
		code          string
	}{
		{"Content-Range: abc", 400, 400, "BLOB_UPLOAD_INVALID"},
		{"Content-Range: 0-", 400, 400, "BLOB_UPLOAD_INVALID"},
		{"Content-Range: -", 400, 400, "BLOB_UPLOAD_INVALID"},
		{"Content-Range: -1-3", 400, 400, "BLOB_UPLOAD_INVALID"},
		{"Content-Range: bytes 0-3/4", 400, 400, "BLOB_UPLOAD_INVALID"},
		{"Content-Range: 0-99999999999999999999", 400, 400, "BLOB_UPLOAD_INVALID"},
		{"Content-Range: 3-0", 416, 416, "RANGE_INVALID"},
		{"Content-Range: 4-7", 416, 416, "RANGE_INVALID"},
		{"Content-Range: 0-9", 400, 400, "SIZE_INVALID"},
		{"Content-Range: 0-3", 202, 201, ""},
		{"Content-Type: text/plain", 415, 201, "UNSUPPORTED"},
		{"Content-Type: application/x-www-form-urlencoded", 415, 201, "UNSUPPORTED"},
		{"Content-Type: ;", 415, 201, "UNSUPPORTED"},
		{"Content-Type: application/octet-stream", 202, 201, ""},
		{"Content-Type: Application/Octet-Stream; charset=x", 202, 201, ""},
		{"Content-Type: ", 202, 201, ""},
	} {
		got := w.send(http.MethodPatch, w.begun("1-1-demo/app", bearer), "some", bearer, test.header)
		w.wantClientError("PATCH, "+test.header, got, test.patch, test.code)
		code := test.code
		if test.finish < 300 {
			code = ""
		}
		got = w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum("some")), "some", bearer, test.header)
		w.wantClientError("PUT, "+test.header, got, test.finish, code)
	}
	for _, digest := range []string{"", "x", "sha256:xx", "md5:d41d8cd98f00b204e9800998ecf8427e", "none:abc", "sha384:" + strings.Repeat("a", 96), sum("other")} {
		got := w.send(http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), digest), "some", bearer)
		w.wantClientError("PUT as "+digest, got, http.StatusBadRequest, "DIGEST_INVALID")
	}
	w.wantNoErrorLogged()
}

func TestMalformedManifests(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	image := newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	foreign := func(layer string) string {
		return fmt.Sprintf(`"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":%q,"size":1},"layers":[%s]`, config, layer)
	}
	sha512 := "sha512:" + strings.Repeat("a", 128)
	for _, test := range []struct{ types, fields, code string }{
		{"all", ``, "MANIFEST_INVALID"},
		{"all", `"schemaVersion":1`, "MANIFEST_INVALID"},
		{"all", `"schemaVersion":"2"`, "MANIFEST_INVALID"},
		{"image", foreign(`{"mediaType":"x/y","digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":1}`) + `,"schemaVersion":2`, "DIGEST_INVALID"},
		{"image", foreign(`{"mediaType":"x/y","digest":"sha256:xx","size":1}`) + `,"schemaVersion":2`, "DIGEST_INVALID"},
		{"image", foreign(`{"mediaType":"x/y","digest":"none","size":1}`) + `,"schemaVersion":2`, "DIGEST_INVALID"},
		{"image", foreign(`{"mediaType":"x/y","digest":"`+sum("none")+`","size":1}`) + `,"schemaVersion":2`, "MANIFEST_BLOB_UNKNOWN"},
		{"docker", foreign(`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"`+sum("none")+`","size":1}`) + `,"schemaVersion":2`, "MANIFEST_INVALID"},
		{"docker", foreign(`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"`+sum("none")+`","size":1,"urls":["file:///etc/passwd"]}`) + `,"schemaVersion":2`, "MANIFEST_INVALID"},
		{"image", foreign(`{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"`+sum("none")+`","size":1}`) + `,"schemaVersion":2`, "MANIFEST_BLOB_UNKNOWN"},
		{"oci", foreign(`{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"`+sum("none")+`","size":1,"urls":["https://example.com/#x"]}`) + `,"schemaVersion":2`, "MANIFEST_INVALID"},
		{"index", `"manifests":[{"mediaType":"` + ociImage + `","digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":1}],"schemaVersion":2`, "DIGEST_INVALID"},
		{"index", `"manifests":[{}],"schemaVersion":2`, "DIGEST_INVALID"},
		{"image", foreign(`{"mediaType":"x/y","digest":"`+sha512+`","size":1}`) + `,"schemaVersion":2`, "DIGEST_INVALID"},
		{"image", foreign(`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"`+sha512+`","size":1,"urls":["https://example.com/x"]}`) + `,"schemaVersion":2`, "DIGEST_INVALID"},
		{"index", `"manifests":[{"mediaType":"` + ociImage + `","digest":"` + sha512 + `","size":1}],"schemaVersion":2`, "DIGEST_INVALID"},
		{"oci", foreign("") + `,"schemaVersion":2,"subject":{"mediaType":"` + ociImage + `","digest":"` + sha512 + `","size":1}`, "DIGEST_INVALID"},
		{"oci", foreign("") + `,"schemaVersion":2,"subject":{"mediaType":"` + ociImage + `","digest":"none","size":1}`, "DIGEST_INVALID"},
		{"oci", foreign("") + `,"schemaVersion":2,"subject":{}`, "DIGEST_INVALID"},
		{"oci", foreign("") + `,"schemaVersion":2,"subject":"` + sum("none") + `"`, "MANIFEST_INVALID"},
		{"index", `"manifests":[],"schemaVersion":2,"subject":{"mediaType":"` + ociImage + `","digest":"` + sha512 + `","size":1}`, "DIGEST_INVALID"},
		{"index", `"manifests":[{"mediaType":"` + ociImage + `","digest":"` + sum("none") + `","size":1}],"schemaVersion":2`, "MANIFEST_BLOB_UNKNOWN"},
	} {
		types := map[string][]string{
			"all": {ociImage, ociIndex, dockerImage, dockerList}, "image": {ociImage, dockerImage}, "index": {ociIndex, dockerList},
			"docker": {dockerImage}, "oci": {ociImage},
		}[test.types]
		for _, mediaType := range types {
			body := fmt.Sprintf(`{"mediaType":%q,%s}`, mediaType, test.fields)
			if test.fields == "" {
				body = "{}"
			}
			got := w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/odd", body, bearer, "Content-Type: "+mediaType)
			w.wantClientError("PUT "+body, got, http.StatusBadRequest, test.code)
		}
	}
	for _, body := range []string{"", "null", "[]", "1", `"x"`, "{", `{"schemaVersion":2}`} {
		for _, mediaType := range []string{ociImage, ociIndex, dockerImage, dockerList, "", "x/y", ";;;"} {
			got := w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/odd", body, bearer, "Content-Type: "+mediaType)
			what := fmt.Sprintf("PUT %s as %q", body, mediaType)
			switch {
			case body == `{"schemaVersion":2}` && mediaType == ociIndex:
				w.wantStatus(what, got, http.StatusCreated, "")
			case body == `{"schemaVersion":2}` && mediaType == ociImage:
				w.wantClientError(what, got, http.StatusBadRequest, "DIGEST_INVALID")
			default:
				w.wantClientError(what, got, http.StatusBadRequest, "MANIFEST_INVALID")
			}
		}
	}
	w.wantNoErrorLogged()
}

// Windows' base layers are not in the registry: their urls are elsewhere.
func TestForeignLayersAreAccepted(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	image := newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	for _, mediaType := range []string{ociImage, dockerImage} {
		for _, layer := range foreignLayers {
			manifest := func(urls string) string {
				return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":1},`+
					`"layers":[{"mediaType":%q,"digest":%q,"size":1%s}]}`, mediaType, config, layer, sum("elsewhere"), urls)
			}
			what := layer + " in a " + mediaType
			body := manifest(`,"urls":["https://mcr.microsoft.com/v2/windows/nanoserver/blobs/x"]`)
			got := w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/windows", body, bearer, "Content-Type: "+mediaType)
			w.wantStatus("PUT of a "+what, got, http.StatusCreated, "")
			got = w.send(http.MethodGet, "/v2/1-1-demo/app/manifests/windows", "", bearer)
			if got.status != http.StatusOK || got.body != body {
				t.Errorf("GET of a %s: got %v, want status 200 and %s", what, got, body)
			}
			for _, url := range []string{"file:///etc/passwd", "https://example.com/#x", ":", ""} {
				got = w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/odd", manifest(fmt.Sprintf(`,"urls":[%q]`, url)), bearer, "Content-Type: "+mediaType)
				w.wantClientError("PUT of a "+what+" at "+url, got, http.StatusBadRequest, "MANIFEST_INVALID")
			}
			got = w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/odd", manifest(""), bearer, "Content-Type: "+mediaType)
			if got.status != http.StatusBadRequest {
				t.Errorf("PUT of a %s without urls: got %v, want status 400", what, got)
			}
		}
	}
}

var foreignLayers = []string{
	"application/vnd.docker.image.rootfs.foreign.diff.tar",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	"application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
}

func TestManifestOfMoreThan4MiBIsTooLarge(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	const most = 4 << 20
	frame := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"a":""}}`, ociIndex)
	manifest := func(size int) string {
		return strings.Replace(frame, `""`, `"`+strings.Repeat("a", size-len(frame))+`"`, 1)
	}
	for _, length := range []string{"known", "unknown"} {
		for size, status := range map[int]int{most: http.StatusCreated, most + 1: http.StatusRequestEntityTooLarge, most + 100<<10: http.StatusRequestEntityTooLarge} {
			var body io.Reader = strings.NewReader(manifest(size))
			if length == "unknown" {
				body = struct{ io.Reader }{body}
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL+manifests, body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", strings.TrimPrefix(bearer, "Authorization: "))
			request.Header.Set("Content-Type", ociIndex)
			response, err := w.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			got, what := w.read("PUT", response), fmt.Sprintf("PUT of %d bytes, a length that is %s", size, length)
			if status == http.StatusCreated {
				w.wantStatus(what, got, status, "")
				continue
			}
			w.wantClientError(what, got, status, "MANIFEST_INVALID")
		}
	}
	w.wantNoErrorLogged()
}

func TestManifestIsServedToClientsThatAcceptEverything(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	image := newImage(t, 1)
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	w.push(user, "1-1-demo/app:v1", image)
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	for _, mediaType := range []string{ociImage, ociIndex, dockerImage, dockerList} {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":1},"layers":[]}`, mediaType, config)
		if mediaType == ociIndex || mediaType == dockerList {
			body = fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, mediaType)
		}
		w.wantStatus("PUT", w.send(http.MethodPut, manifests, body, bearer, "Content-Type: "+mediaType), http.StatusCreated, "")
		for _, accept := range [][]string{
			nil, {"Accept: "}, {"Accept: */*"}, {"Accept: application/*"}, {"Accept: */*;q=0.5"}, {"Accept: application/*; q=0.1"},
			{"Accept: text/html, */*;q=0.8"}, {"Accept: text/html", "Accept: */*"}, {"Accept: " + mediaType}, {"Accept: application/json, " + mediaType},
		} {
			for _, target := range []string{manifests, "/v2/1-1-demo/app/manifests/" + sum(body)} {
				got := w.send(http.MethodGet, target, "", append(accept, bearer)...)
				if got.status != http.StatusOK || got.body != body || got.header.Get("Content-Type") != mediaType {
					t.Errorf("GET %s of a %s with %q: got %v, %q; want status 200 and it", target, mediaType, accept, got, got.header.Get("Content-Type"))
				}
			}
		}
		if mediaType != ociImage { // the library serves indexes for any Accept
			continue
		}
		for _, accept := range []string{dockerImage, "text/html", "*/*;q=0", "image/*"} {
			got := w.send(http.MethodGet, manifests, "", "Accept: "+accept, bearer)
			w.wantStatus("GET of a "+mediaType+" with Accept: "+accept, got, http.StatusNotFound, "MANIFEST_UNKNOWN")
		}
	}
}

func TestUploadIsCancelledWithTheTokenThatBeganIt(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	bearer := w.bearer(user, scope("1-1-demo/app", "pull,push"))
	upload := w.begun("1-1-demo/app", bearer)
	for _, actions := range []string{"pull", "delete", "push"} {
		got := w.send(http.MethodDelete, upload, "", w.bearer(user, scope("1-1-demo/app", actions)))
		w.wantChallenge("DELETE with a token for "+actions, got, fmt.Sprintf("Bearer realm=%q,service=%q,scope=%q,error=%q",
			w.URL+"/token", service, "repository:1-1-demo/app:pull,push", "insufficient_scope"))
	}
	w.wantStatus("DELETE", w.send(http.MethodDelete, upload, "", bearer), http.StatusNoContent, "")
	got := w.send(http.MethodPut, withDigest(upload, sum("")), "", bearer)
	w.wantStatus("PUT of what was cancelled", got, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	got = w.send(http.MethodDelete, "/v2/1-1-demo/app/blobs/"+sum(""), "", bearer)
	w.wantStatus("DELETE of a blob", got, http.StatusUnauthorized, "UNAUTHORIZED")
}

// A client may know only the first Location, after a chunk whose response
// it never received.
func TestUploadIsCancelledFromAnyOfItsLocations(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all), scope("1-1-demo/other", all))
	for _, test := range []struct {
		name string
		send func(upload string) (newest string)
	}{
		{"after a chunk", func(upload string) string {
			got := w.send(http.MethodPatch, upload, "some", bearer)
			w.wantStatus("PATCH", got, http.StatusAccepted, "")
			return got.header.Get("Location")
		}},
		{"after half of a chunk", func(upload string) string {
			got := w.halfSent(http.MethodPatch, upload, true, bearer)
			w.wantStatus("PATCH", got, http.StatusBadRequest, "SIZE_INVALID")
			return w.send(http.MethodGet, upload, "", bearer).header.Get("Location")
		}},
	} {
		first := w.begun("1-1-demo/app", bearer)
		newest := test.send(first)
		if newest == first {
			t.Fatalf("%s: the upload still has the first Location", test.name)
		}
		address, _, _ := strings.Cut(first, "?")
		other := w.begun("1-1-demo/app", bearer)
		_, othersState, _ := strings.Cut(other, "?")
		for _, wrong := range []string{
			address, address + "?_state=", address + "?_state=x", address + "?" + othersState, first[:len(first)-8],
			strings.Replace(first, "1-1-demo/app", "1-1-demo/other", 1),
		} {
			got := w.send(http.MethodDelete, wrong, "", bearer)
			w.wantClientError(test.name+", DELETE "+wrong, got, http.StatusNotFound, "BLOB_UPLOAD_INVALID")
		}
		w.wantStatus(test.name+", PATCH at the first Location", w.send(http.MethodPatch, first, "more", bearer), http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID")
		w.wantStatus(test.name+", DELETE", w.send(http.MethodDelete, first, "", bearer), http.StatusNoContent, "")
		w.wantStatus(test.name+", GET after it", w.send(http.MethodGet, newest, "", bearer), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		w.wantStatus(test.name+", GET of the other", w.send(http.MethodGet, other, "", bearer), http.StatusNoContent, "")
	}
}

// halfSent sends a request with half of its body to a server of the registry
// whose reads time out soon, and returns the response.
func (w *env) halfSent(method, target string, closes bool, headers ...string) httpResponse {
	w.t.Helper()
	server := httptest.NewServer(observe.Handler(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		if !closes {
			_ = http.NewResponseController(a).SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
		w.registry.ServeHTTP(a, r)
	}), observe.Options{Logger: w.Logger}))
	defer server.Close()
	conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n%s\r\n\r\nhalf of it", method, target, strings.Join(headers, "\r\n"))
	if closes {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			w.t.Fatal(err)
		}
	}
	text, err := io.ReadAll(conn) // until the server closes it
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), &http.Request{Method: method})
	if err != nil || !response.Close {
		w.t.Fatalf("%s %s: got %q, %v; want a response with Connection: close", method, target, text, err)
	}
	return w.read(method+" "+target, response)
}

func TestBodyThatStopsComing(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	for _, closes := range []bool{false, true} {
		status := http.StatusRequestTimeout
		if closes {
			status = http.StatusBadRequest
		}
		for _, request := range []struct{ method, target string }{
			{http.MethodPatch, w.begun("1-1-demo/app", bearer)},
			{http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum("half of it and more"))},
			{http.MethodPut, manifests},
		} {
			got := w.halfSent(request.method, request.target, closes, bearer)
			what := fmt.Sprintf("%s %.40s, closed by the client: %t", request.method, request.target, closes)
			w.wantClientError(what, got, status, "SIZE_INVALID")
		}
	}
	w.wantNoErrorLogged()
}

// A manifest may name a blob that does not exist beside one that cannot be read:
// the library would send both, and the path of the second.
func TestFailureBesideAClientErrorIsNotSent(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	image := newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	link := w.file("repositories", "1-1-demo/app", "_layers", "sha256", config.Hex, "link")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(link, 0o700); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":1},"layers":[{"mediaType":"x/y","digest":%q,"size":1}]}`,
		ociImage, sum("none"), config)
	got := w.send(http.MethodPut, manifests, body, w.bearer(user, scope("1-1-demo/app", all)), "Content-Type: "+ociImage)
	w.wantClientError("PUT", got, http.StatusInternalServerError, "UNKNOWN")
	w.Close() // waits for the log
	if text := w.Log.String(); !strings.Contains(text, `"level":"ERROR"`) || !strings.Contains(text, "is a directory") {
		t.Errorf("got the log\n%s\nwant the cause in it, as an error", text)
	}
}

// A manifest beyond 4 MiB gets 413 (OCI distribution specification,
// "Pushing Manifests"), whether or not its length is known.
func TestManifestThatIsTooLarge(t *testing.T) {
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	for name, size := range map[string]int64{"just": 4<<20 + 1, "much": 20 << 20} {
		for _, length := range []int64{size, -1} {
			body := io.LimitReader(strings.NewReader(strings.Repeat(" ", int(size))), size)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.URL+manifests, body)
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = length
			_, value, _ := strings.Cut(bearer, ": ")
			request.Header.Set("Authorization", value)
			request.Header.Set("Content-Type", ociImage)
			response, err := w.Client().Transport.RoundTrip(request)
			if err != nil {
				t.Fatalf("%s too large, length %d: %v", name, length, err)
			}
			got := w.read("PUT", response)
			w.wantClientError(fmt.Sprintf("%s too large, length %d", name, length), got, http.StatusRequestEntityTooLarge, "MANIFEST_INVALID")
		}
	}
	got := w.send(http.MethodPut, manifests, strings.Repeat(" ", 4<<20), bearer, "Content-Type: "+ociImage)
	w.wantClientError("4 MiB of spaces", got, http.StatusBadRequest, "MANIFEST_INVALID")
	w.wantNoErrorLogged()
}
