package ociregistry_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/token"
)

func TestTokenHasLeeway(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	w.Clock.Advance(-59 * time.Second) // a server whose clock is slow
	w.wantReads(bearer, http.StatusOK, "")
	w.Clock.Advance(59*time.Second + token.Lifetime + 58*time.Second)
	w.wantReads(bearer, http.StatusOK, "")
	w.Clock.Advance(3 * time.Second)
	w.wantReads(bearer, http.StatusUnauthorized, "UNAUTHORIZED")
}

// An upload continues with the token it began with, however long it takes: a client
// does not log in again in the middle of a layer. No other request does.
func TestUploadOutlastsItsToken(t *testing.T) {
	w := newEnv(t)
	user := w.newUser(w.one, accounts.NewUser{Name: "user", Duration: 9})
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	reading := w.bearer(user, scope("1-1-demo/app", "pull"))
	upload, other := w.begun("1-1-demo/app", bearer), w.begun("1-1-demo/app", bearer)
	w.Clock.Advance(token.Lifetime + 23*time.Hour)
	got := w.send(http.MethodPatch, upload, "s", bearer)
	w.wantStatus("PATCH on the first day", got, http.StatusAccepted, "")
	upload = got.header.Get("Location")
	w.Clock.Advance(7 * 24 * time.Hour)
	w.wantStatus("PATCH with a token for pull", w.send(http.MethodPatch, upload, "so", reading), http.StatusUnauthorized, "UNAUTHORIZED")
	got = w.send(http.MethodPatch, upload, "o", bearer)
	w.wantStatus("PATCH a week later", got, http.StatusAccepted, "")
	upload = got.header.Get("Location")
	w.wantStatus("GET", w.send(http.MethodGet, upload, "", bearer), http.StatusNoContent, "")
	w.wantStatus("PUT", w.send(http.MethodPut, withDigest(upload, sum("some")), "me", bearer), http.StatusCreated, "")
	for _, request := range []struct{ method, target string }{
		{http.MethodGet, "/v2/"},
		{http.MethodGet, "/v2/1-1-demo/app/blobs/" + sum("some")},
		{http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/"},
		{http.MethodPost, other},
		{http.MethodPut, manifests},
		{http.MethodDelete, "/v2/1-1-demo/app/blobs/" + sum("some")},
	} {
		got := w.send(request.method, request.target, "", bearer)
		w.wantStatus(request.method+" "+request.target, got, http.StatusUnauthorized, "UNAUTHORIZED")
	}
	w.wantStatus("DELETE", w.send(http.MethodDelete, other, "", bearer), http.StatusNoContent, "")
	w.wantStatus("PATCH of what has ended", w.send(http.MethodPatch, other, "x", bearer), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	w.Clock.Advance(48 * time.Hour) // its account has expired
	upload = w.begun("1-1-demo/app", w.bearer(w.pusher(w.one), scope("1-1-demo/app", all)))
	for _, method := range []string{http.MethodPatch, http.MethodPut, http.MethodDelete} {
		got := w.send(method, withDigest(upload, sum("some")), "some", bearer)
		w.wantStatus(method+" of an account that has expired", got, http.StatusUnauthorized, "UNAUTHORIZED")
	}
}

// A request's content is committed only if the account allows it at that time: the
// account may have changed while the content was sent.
func TestAccountIsReadAgainBeforeACommit(t *testing.T) {
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for _, change := range []struct {
		name   string
		do     func(admin *accounts.Service, l login) error
		status int
		code   string
	}{
		{"deleted", func(admin *accounts.Service, l login) error {
			return admin.DeleteUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID)
		}, http.StatusUnauthorized, "UNAUTHORIZED"},
		{"given a new secret", func(admin *accounts.Service, l login) error {
			_, _, err := admin.UpdateUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID, accounts.UserUpdate{NewSecret: true})
			return err
		}, http.StatusUnauthorized, "UNAUTHORIZED"},
		{"narrowed", func(admin *accounts.Service, l login) error {
			_, _, err := admin.UpdateUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID, accounts.UserUpdate{ReadOnly: new(true)})
			return err
		}, http.StatusForbidden, "DENIED"},
	} {
		for _, content := range []string{"some", manifest} {
			t.Run(fmt.Sprintf("%s, %.4s", change.name, content), func(t *testing.T) {
				w := newEnv(t)
				user, reader := w.newUser(w.one, accounts.NewUser{Name: "user", Duration: 1}), w.pusher(w.one)
				bearer := w.bearer(user, scope("1-1-demo/app", all))
				target, written := withDigest(w.begun("1-1-demo/app", bearer), sum(content)), "/v2/1-1-demo/app/blobs/"+sum(content)
				if content == manifest {
					target, written = manifests, manifests
				}
				got := w.sendInTwo(http.MethodPut, target, content, func() {
					if err := change.do(w.otherProcess(), user); err != nil {
						t.Fatal(err)
					}
				}, bearer, "Content-Type: application/vnd.oci.image.index.v1+json")
				w.wantStatus("PUT", got, change.status, change.code)
				if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (change.status == http.StatusUnauthorized) {
					t.Errorf("PUT: got status %d, and the challenge %q", got.status, challenge)
				}
				got = w.send(http.MethodGet, written, "", w.bearer(reader, scope("1-1-demo/app", "pull")))
				if got.status != http.StatusNotFound {
					t.Errorf("GET %s: got %v, want status 404", written, got)
				}
			})
		}
	}
}

// sendInTwo sends a request whose body comes in two parts, and calls between
// once the server reads the second.
func (w *env) sendInTwo(method, target, body string, between func(), headers ...string) httpResponse {
	w.t.Helper()
	conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", w.host())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	// The server sends 100 when it reads the body, after it has read the account.
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n%s\r\n\r\n",
		method, target, w.host(), len(body), strings.Join(headers, "\r\n"))
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		w.t.Fatalf("%s %s: got %q, %v; want 100 Continue", method, target, line, err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, body[:1]); err != nil {
		w.t.Fatal(err)
	}
	between()
	if _, err := io.WriteString(conn, body[1:]); err != nil {
		w.t.Fatal(err)
	}
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.read(method+" "+target, response)
}
