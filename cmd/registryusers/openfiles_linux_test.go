package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPullsHoldNotAllOpenFiles has a read-only user hold, over HTTP/2, as many
// pulls as it can from one address, of a server that may have 128 files open.
func TestPullsHoldNotAllOpenFiles(t *testing.T) {
	const (
		connections = 16 // more than one address may have
		streams     = 16 // pulls on each
	)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate := newCertificate(t, 1, certPath, keyPath)

	// Everything is made without TLS first, and the server is started again.
	const repository = "1-1-demo/app"
	p := serve(t, "--dev", "--data", data)
	attacker := p.user(t, data, "attacker", `"duration":1,"read_only":true`)
	victim := p.user(t, data, "victim", `"duration":1`)
	content := make([]byte, 4<<20)
	_, _ = rand.Read(content)
	blob := "/v2/" + repository + "/blobs/" + p.pushBlob(t, repository, string(content), p.bearer(t, "victim", victim, repository))
	bearer := p.bearer(t, "attacker", attacker, repository)
	p.stop(os.Interrupt)

	p = start(t, exec.Command("sh", "-c", `ulimit -n 128; exec "$@"`, "sh", binary, "serve", "--listen", "127.0.0.1:0",
		"--dev", "--data", data, "--tls-cert", certPath, "--tls-key", keyPath))
	statuses := holdPulls(t, p.url+blob, bearer, certificate, connections, streams)
	t.Logf("the attacker holds: %v; the server has %d files open", statuses, p.openFiles(t))
	if statuses[http.StatusOK] == 0 {
		t.Errorf("got the statuses %v of the pulls, want some with 200", statuses)
	}
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
			t.Errorf("got the statuses %v of the pulls, want 200, 429 and 503 alone", statuses)
		}
	}
	key := "Authorization: apikey " + readDev(t, data).APIKey
	for i := range 10 {
		others := trusting(certificate).Transport.(*http.Transport) // each request on a connection of its own
		others.TLSHandshakeTimeout, others.ResponseHeaderTimeout = 10*time.Second, 10*time.Second
		ask := func(what, method, path, body string, want int, headers ...string) response {
			t.Helper()
			got, err := trySendBy(others, method, p.url+path, body, headers...)
			if err != nil || got.status != want {
				t.Fatalf("%s beside the pulls: got %d %.200s, %v; want %d", what, got.status, got.body, err, want)
			}
			return got
		}
		ask("a create", "POST", "/cloud/v1/registries/1/1/1/users", fmt.Sprintf(`{"name":"user%d","duration":1}`, i), http.StatusCreated, isJSON, key)
		login := ask("a login", "GET", "/token?service=registryusers&scope=repository:"+repository+":pull,push", "", http.StatusOK,
			"Authorization: Basic "+basic("victim", victim))
		var token struct{ Token string }
		if err := json.Unmarshal([]byte(login.body), &token); err != nil {
			t.Fatal(err)
		}
		theirs := "Authorization: Bearer " + token.Token
		if pulled := ask("another user's pull", "GET", blob, "", http.StatusOK, theirs); pulled.body != string(content) {
			t.Errorf("another user's pull: got %d bytes, want the %d of the blob", len(pulled.body), len(content))
		}
		begun := ask("another user's upload", "POST", "/v2/"+repository+"/blobs/uploads/", "", http.StatusAccepted, theirs)
		text := fmt.Sprint("layer ", i)
		location := strings.TrimPrefix(begun.header.Get("Location"), p.url)
		ask("another user's push", "PUT", withDigest(location, digestOf(text)), text, http.StatusCreated, theirs)
	}
	log := p.stderr.String()
	if strings.Contains(log, "too many open files") {
		t.Errorf("got the log\n%s\nwant no lack of open files in it", log)
	}
	if !strings.Contains(log, "open_files=128 max_connections=32 max_requests=16") {
		t.Errorf("got the log\n%s\nwant a warning that says what 128 open files allow", log)
	}
}

// holdPulls sends GETs of a blob on HTTP/2 connections from an address that no test
// uses otherwise, reads none of the bodies, and returns how many there are of each
// status; those without a response have none.
func holdPulls(t *testing.T, url, bearer string, certificate *x509.Certificate, connections, streams int) map[int]int {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	_, token, _ := strings.Cut(bearer, ": ")
	var mu sync.Mutex
	statuses := make(map[int]int)
	for range connections {
		transport := &http.Transport{
			DialContext:       dialer.DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: roots},
			ForceAttemptHTTP2: true,
			HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
		}
		t.Cleanup(transport.CloseIdleConnections)
		pull := func() (answered bool) {
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			unanswered := time.AfterFunc(5*time.Second, cancel)
			defer unanswered.Stop()
			request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
			if err != nil {
				t.Error(err)
				return false
			}
			request.Header.Set("Authorization", token)
			response, err := transport.RoundTrip(request)
			if err != nil {
				return false
			}
			t.Cleanup(func() { response.Body.Close() })
			if response.ProtoMajor != 2 {
				t.Errorf("got a response by %s, want HTTP/2", response.Proto)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[response.StatusCode]++
			return true
		}
		if !pull() { // the first one makes the connection, which the others share
			break
		}
		var group sync.WaitGroup
		for range streams - 1 {
			group.Go(func() { pull() })
		}
		group.Wait()
	}
	return statuses
}

// openFiles returns how many files the server has open.
func (p *process) openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
