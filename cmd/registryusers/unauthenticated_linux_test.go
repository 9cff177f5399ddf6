package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sendUnauthenticated connects to the server from an address that no test uses otherwise
// and sends the text.
func sendUnauthenticated(t *testing.T, server *process, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(server.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, text) // it may be refused already
	return c
}

// TestUnauthenticatedClientsHoldNoConnections has a client open 200 connections to a server
// that may have 128 files open, and send no body on any of them.
func TestUnauthenticatedClientsHoldNoConnections(t *testing.T) {
	t.Parallel() // it waits, mostly
	const connections = 200
	data := t.TempDir()
	server := start(t, exec.Command("sh", "-c", `ulimit -n 128; exec "$@"`, "sh", binary, "serve", "--listen", "127.0.0.1:0",
		"--admin-listen", "127.0.0.1:0", "--dev", "--data", data))
	_, rest, _ := strings.Cut(server.stderr.waitFor(t, "serving probes"), `msg="serving probes" url=`)
	admin, _, _ := strings.Cut(rest, "\n")
	authorization := "Authorization: apikey " + readDev(t, data).APIKey
	requests := []string{
		"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
		"POST /v2/1-1-demo/app/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /cloud/v1/registries/1/1/1/users HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
		"POST /token HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
		"GET /v2/ HTTP/1.1\r\nHost: h\r\n",
	}
	begun := time.Now()
	var held []net.Conn
	for i := range connections {
		held = append(held, sendUnauthenticated(t, server, requests[i%len(requests)]))
	}
	a := send(t, "POST", server.users(), `{"name":"user1","duration":1}`, isJSON, authorization)
	if a.status != http.StatusCreated {
		t.Errorf("a create: got %d %s, want 201", a.status, a.body)
	}
	login, err := http.NewRequestWithContext(t.Context(), "GET", server.url+"/token?service=registryusers", nil)
	if err != nil {
		t.Fatal(err)
	}
	login.SetBasicAuth("user1", a.fields.Secret)
	response, err := http.DefaultClient.Do(login)
	if err != nil {
		t.Fatalf("a login: got %v, want 200", err)
	}
	var token struct{ Token string }
	if err := json.NewDecoder(response.Body).Decode(&token); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("a login: got %d, %v; want 200", response.StatusCode, err)
	}
	response.Body.Close()
	if a := send(t, "GET", server.url+"/v2/", "", "Authorization: Bearer "+token.Token); a.status != http.StatusOK {
		t.Errorf("the registry: got %d %s, want 200", a.status, a.body)
	}
	for _, url := range []string{admin + "/healthz", admin + "/readyz", server.url + "/readyz"} {
		if a := send(t, "GET", url, ""); a.status != http.StatusOK {
			t.Errorf("GET %s: got %d, want 200", url, a.status)
		}
	}
	for i, c := range held {
		if _, _ = io.Copy(io.Discard, c); time.Since(begun) > 15*time.Second {
			t.Fatalf("%q holds its connection after %v, want 10 s at most", requests[i%len(requests)], time.Since(begun))
		}
	}
	for range connections {
		sendUnauthenticated(t, server, "GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
	}
	begun = time.Now()
	if code := server.stop(syscall.SIGTERM); code != 0 || time.Since(begun) > 8*time.Second {
		t.Errorf("stopped beside %d such requests: got exit code %d after %v, want 0 within the drain timeout\n%s", connections, code, time.Since(begun), server.stderr.String())
	}
}

func TestStopCutsOffWhatDoesNotEndInTime(t *testing.T) {
	data := t.TempDir()
	server := serve(t, "--dev", "--data", data, "--drain-timeout", "100ms")
	key := readDev(t, data).APIKey
	c := sendUnauthenticated(t, server, "POST /cloud/v1/registries/1/1/1/users HTTP/1.1\r\nHost: h\r\nAuthorization: apikey "+key+
		"\r\nContent-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
	if response, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || response.StatusCode != http.StatusContinue {
		t.Fatalf("the request's begin: got %v, %v; want 100", response, err)
	}
	if code := server.stop(syscall.SIGTERM); code != 0 || !strings.Contains(server.stderr.String(), "cut off") {
		t.Errorf("stopped beside a request that does not end: got exit code %d, want 0, and a log line that it was cut off\n%s", code, server.stderr.String())
	}
}

func TestRefusedUploadThatWaitsToSend(t *testing.T) {
	server := serve(t, "--dev", "--data", t.TempDir())
	for path, status := range map[string]int{
		"/v2/1-1-demo/app/blobs/uploads/":    http.StatusUnauthorized,
		"/cloud/v1/registries/1/1/1/users":   http.StatusUnauthorized,
		"/token":                             http.StatusContinue, // the form says who logs in
		"/v2/1-1-demo/app/manifests/unknown": http.StatusUnauthorized,
	} {
		begun := time.Now()
		c := sendUnauthenticated(t, server, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || response.StatusCode != status || time.Since(begun) > 3*time.Second {
			t.Errorf("%s: got %v, %v after %v; want %d at once", path, response, err, time.Since(begun), status)
		}
		_ = c.Close()
	}
}
