package ociregistry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// The log has one line for each request, and an error only where there is
// one to fix. (Each test checks at its end that no line contains a secret.)
func TestClientErrorsAreNotServerErrors(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	_, options := w.as(user)
	if _, err := remote.Image(w.ref("2-1-demo/app:v1"), options...); err == nil {
		t.Error("pull of another registry's: got no error")
	}
	for _, request := range []struct {
		method, target, body string
		status               int
	}{
		{http.MethodGet, "/v2/1-1-demo/app/manifests/none", "", http.StatusNotFound},
		{http.MethodGet, "/v2/1-1-demo/app/blobs/" + sum("none"), "", http.StatusNotFound},
		{http.MethodPut, manifests, "garbage", http.StatusBadRequest},
		{http.MethodPut, withDigest(w.begun("1-1-demo/app", bearer), sum("other")), "some", http.StatusBadRequest},
		{http.MethodPut, w.begun("1-1-demo/app", bearer), "some", http.StatusBadRequest},
		{http.MethodPatch, "/v2/1-1-demo/app/blobs/uploads/made-up", "some", http.StatusNotFound},
		{http.MethodGet, "/v2/1-1-demo/app/blobs/uploads/made-up", "", http.StatusNotFound},
		{"FROB", manifests, "", http.StatusMethodNotAllowed},
	} {
		got := w.send(request.method, request.target, request.body, bearer)
		if got.status != request.status {
			t.Errorf("%s %s: got %v, want status %d", request.method, request.target, got, request.status)
		}
	}
	w.Close() // waits for the log
	for line := range strings.Lines(w.Log.String()) {
		var entry struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		switch {
		case entry.Level == "DEBUG", entry.Level == "INFO" && entry.Msg == "request":
		default:
			t.Errorf("after mistakes of clients: got the log line %s want only one for each request", line)
		}
	}
}

func TestLogHasUserAndReason(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	w.send(http.MethodGet, "/v2/2-1-demo/app/manifests/v1", "", w.bearer(user))
	w.send(http.MethodPut, manifests, `{"schemaVersion":1}`, w.bearer(user, scope("1-1-demo/app", all)), "Content-Type: application/vnd.oci.image.index.v1+json")
	w.send(http.MethodGet, manifests, "", w.bearer(user, scope("1-1-demo/app", all)))
	w.send("FROB", manifests, "", w.bearer(user, scope("1-1-demo/app", all)))
	w.send(http.MethodDelete, manifests, "", w.bearer(user, scope("1-1-demo/app", "pull")))
	w.Close() // waits for the log
	for want, reason := range map[string]string{
		`"method":"GET","status":403,`:    `"code":"DENIED","message":"user 1-1-demo+`,
		`"method":"PUT","status":400,`:    `"code":"MANIFEST_INVALID","message":"the manifest's schemaVersion must be 2"`, // refused behind the library
		`"method":"GET","status":404,`:    `"code":"MANIFEST_UNKNOWN","message":"manifest unknown"`,                       // the library's error
		`"method":"other","status":405,`:  `"code":"UNSUPPORTED","message":"this path does not have this method; the header Allow lists its methods"`,
		`"method":"DELETE","status":401,`: `"code":"UNAUTHORIZED","message":"the token or the user's rights do not allow the request"`,
	} {
		line := w.logLine(want)
		for _, part := range []string{fmt.Sprintf(`"user_id":%d`, user.ID), `"client_address":"127.0.0.1:`, reason} {
			if !strings.Contains(line, part) {
				t.Errorf("the line of a refused request: got %s want %q in it", line, part)
			}
		}
	}
}

// logLine returns the line of the log that contains text.
func (w *env) logLine(text string) string {
	w.t.Helper()
	for line := range strings.Lines(w.Log.String()) {
		if strings.Contains(line, text) {
			return line
		}
	}
	w.t.Errorf("got the log\n%s\nwant a line with %q in it", w.Log, text)
	return ""
}
