package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
	"github.com/registryusers/registryusers/internal/testkit"
)

var (
	faultCreates = flag.Int("creates", testkit.InCI(1000, 100), "how many users TestFaults creates")
	faultSeed    = flag.Uint64("seed", rand.Uint64(), "of the random faults in TestFaults")
)

// fault is what a faultProxy does to one request.
type fault int

const (
	none         fault = iota
	dropBefore         // the connection ends before the request is passed on
	dropMiddle         // the server gets half of the request
	dropResponse       // the request is carried out, the connection ends before the response
	halfResponse       // the connection ends in the middle of the response
	halfJSON           // the response is complete, the JSON in it is not
	badGateway         // not passed on: a 502 with a page of HTML
	lateGateway        // carried out, and then a 502 with a page of HTML
	unavailable        // not passed on: a 503 with Retry-After
	faults             // their number
)

// faultProxy is a proxy between a client and the server that fails requests.
type faultProxy struct {
	*httptest.Server
	target   atomic.Value      // string: the server's URL
	choose   func(n int) fault // for the n-th request, concurrently
	requests atomic.Int64      // so far
	done     [faults]atomic.Int64
	replayed atomic.Int64 // responses that the server replayed
	down     atomic.Int64 // requests while the server was down
}

func newFaultProxy(t *testing.T, target string, choose func(n int) fault) *faultProxy {
	t.Helper()
	p := &faultProxy{choose: choose}
	p.target.Store(target)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	f := p.choose(int(p.requests.Add(1)))
	defer func() { p.done[f].Add(1) }()
	switch f {
	case dropBefore:
	case dropMiddle:
		p.sendHalf(r, body)
	case badGateway:
		gateway(w)
	case unavailable:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		status, header, response, err := p.forward(r, body)
		if err != nil { // the server is down, or was just killed
			p.down.Add(1)
			gateway(w)
			f = none
			return
		}
		if header.Get("Idempotent-Replayed") != "" {
			p.replayed.Add(1)
		}
		header.Del("Content-Length")
		switch f {
		case lateGateway:
			gateway(w)
		case dropResponse:
			panic(http.ErrAbortHandler)
		case halfResponse:
			header.Set("Content-Length", strconv.Itoa(len(response)))
			response = response[:len(response)/2] // net/http then ends the connection
		case halfJSON:
			response = response[:len(response)/2]
		}
		if f != lateGateway {
			for name, values := range header {
				w.Header()[name] = values
			}
			w.WriteHeader(status)
			_, _ = w.Write(response)
		}
	}
	if f == dropBefore || f == dropMiddle {
		panic(http.ErrAbortHandler)
	}
}

func gateway(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = io.WriteString(w, "<html><h1>502 Bad Gateway</h1></html>")
}

func (p *faultProxy) forward(r *http.Request, body []byte) (int, http.Header, []byte, error) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, p.target.Load().(string)+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header = r.Header.Clone()
	request.GetBody = nil // net/http must not repeat a request
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, data, err
}

// sendHalf sends the server a request whose body ends in the middle.
func (p *faultProxy) sendHalf(r *http.Request, body []byte) {
	target, err := url.Parse(p.target.Load().(string))
	if err != nil {
		return
	}
	connection, err := net.DialTimeout("tcp", target.Host, time.Second)
	if err != nil {
		return // it is down
	}
	defer connection.Close()
	_, _ = fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", r.Method, r.URL.RequestURI(), target.Host, len(body))
	for name := range r.Header {
		if name != "Content-Length" {
			_, _ = fmt.Fprintf(connection, "%s: %s\r\n", name, r.Header.Get(name))
		}
	}
	_, _ = fmt.Fprintf(connection, "\r\n%s", body[:len(body)/2])
}

// TestFaults creates users through a proxy that fails almost every other
// request, to a server that is killed repeatedly. Every create must result in
// one user whose secret logs in: none is lost, none is doubled.
func TestFaults(t *testing.T) {
	t.Parallel() // it waits, mostly
	t.Logf("to see the same faults: -seed %d -creates %d", *faultSeed, *faultCreates)
	data := t.TempDir()
	var random sync.Mutex
	dice := rand.New(rand.NewPCG(*faultSeed, 0))
	roll := func(n int) int {
		random.Lock()
		defer random.Unlock()
		return dice.IntN(n)
	}
	start := func() *process { return serve(t, "--dev", "--images", "off", "--data", data) }
	server := start()
	logs := []*logBuffer{&server.stderr}
	proxy := newFaultProxy(t, server.url, func(int) fault {
		if f := fault(roll(2 * int(faults))); f < faults {
			return f
		}
		return none
	})
	c, err := client.New(client.WithBaseURL(proxy.URL), client.WithAPIKey(readDev(t, data).APIKey), client.WithProject(1), client.WithRegion(1),
		client.WithRetry(1000, 2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}

	const callers = 16
	users := make([]client.CreatedUser, *faultCreates)
	var next atomic.Int64
	var group sync.WaitGroup
	t.Cleanup(group.Wait) // if the server does not start again, the calls end with the context of the test
	for range callers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(users) {
					return
				}
				n := client.NewUser{Name: "u" + strconv.Itoa(i), Days: int64(i%365) + 1, ReadOnly: i%2 == 0}
				if i%50 == 0 { // argon2id takes its time
					n.Secret = registryusers.NewSecret("custom-" + strconv.Itoa(i))
				}
				u, err := c.CreateUser(t.Context(), 1, n)
				if err != nil {
					t.Errorf("user %d: %v", i, err)
				}
				users[i] = u
			}
		})
	}
	over := make(chan struct{})
	go func() {
		group.Wait()
		close(over)
	}()
	kills := 0
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-time.After(time.Duration(200+roll(1000)) * time.Millisecond):
			server.stop(os.Kill)
			kills++
			server = start()
			logs = append(logs, &server.stderr)
			proxy.target.Store(server.url)
		}
	}

	out, err := exec.CommandContext(t.Context(), binary, "admin", "--data", data, "user", "ls", "--registry", "1", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var stored []struct {
		ID   int64
		Name string
	}
	if err := json.Unmarshal(out, &stored); err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]int64, len(stored))
	for _, u := range stored {
		ids[u.Name] = u.ID
	}
	if len(stored) != len(users) || len(ids) != len(users) {
		t.Errorf("%d users are stored, with %d names; want %d", len(stored), len(ids), len(users))
	}
	for i, u := range users {
		if u.Name != "u"+strconv.Itoa(i) || ids[u.Name] != u.ID {
			t.Errorf("user %d: got %v, stored with the id %d", i, u, ids[u.Name])
			continue
		}
		if status := login(t, server.url, "1-1-demo+"+u.Name, u.Secret.Reveal()); status != http.StatusOK {
			t.Errorf("user %d: its secret gets %d at the token service, want 200", i, status)
		}
	}
	var counts []string
	for f := range proxy.done {
		n := proxy.done[f].Load()
		if counts = append(counts, strconv.FormatInt(n, 10)); n == 0 {
			t.Errorf("fault %d never happened", f)
		}
	}
	if proxy.replayed.Load() == 0 || kills == 0 || proxy.down.Load() == 0 {
		t.Errorf("%d responses were replayed, the server was killed %d times, %d requests failed while it was down; want some of each", proxy.replayed.Load(), kills, proxy.down.Load())
	}
	t.Logf("%d creates in %d requests; faults, from none on: %s; %d responses replayed; %d kills, met by %d requests",
		len(users), proxy.requests.Load(), strings.Join(counts, " "), proxy.replayed.Load(), kills, proxy.down.Load())

	// No secret is in the database or in the log.
	files, err := filepath.Glob(filepath.Join(data, "registryusers.db*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("the database's files, of a server at work: got %q, %v, want its log beside it", files, err)
	}
	texts := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = string(text)
	}
	for i, log := range logs {
		texts[fmt.Sprintf("the log of server %d", i)] = log.String()
	}
	for where, text := range texts {
		for i, u := range users {
			if secret := u.Secret.Reveal(); secret != "" && strings.Contains(text, secret) {
				t.Fatalf("%s has the secret of user %d in it", where, i)
			}
		}
	}
}

// login requests a token and returns the status.
func login(t *testing.T, base, name, secret string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/token?service=registryusers", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(name, secret)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}
