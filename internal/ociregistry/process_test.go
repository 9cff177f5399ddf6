package ociregistry_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/stream"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/ociregistry"
	"github.com/registryusers/registryusers/internal/token"
	"github.com/registryusers/registryusers/internal/web"
)

// serverEnvironment makes this program a server of the data directory it names.
const serverEnvironment = "OCIREGISTRY_TEST_SERVER"

func TestMain(m *testing.M) {
	if path := os.Getenv(serverEnvironment); path != "" {
		if err := serveUntilStandardInputEnds(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveUntilStandardInputEnds is "registryusers serve", but for the API. It
// prints its address.
func serveUntilStandardInputEnds(path string) (err error) {
	ctx, logger := context.Background(), slog.New(slog.NewJSONHandler(os.Stderr, nil))
	dir, err := datadir.Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	keys, err := keys.OpenFiles(dir.Keys(), logger)
	if err != nil {
		return err
	}
	issuer := &token.Issuer{Keys: keys, Service: service, Now: time.Now}
	registry, err := ociregistry.Open(ctx, ociregistry.Options{Root: dir.Images(), Accounts: dir.Accounts(nil), Issuer: issuer, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	tokens := &token.Handler{Accounts: dir.Accounts(nil), Issuer: issuer}
	server := web.New(web.Handlers{
		API: http.NotFoundHandler(), Token: tokens, JWKS: http.HandlerFunc(tokens.JWKS), Registry: registry,
	}, web.Options{Logger: logger})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println(listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// process is a server in a process of its own.
type process struct {
	t     *testing.T
	host  string
	cmd   *exec.Cmd
	stdin io.Closer
	log   *logBuffer
	user  login
	ended bool
}

func newProcess(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, log: new(logBuffer)}
	path := filepath.Join(t.TempDir(), "data")
	dir, err := datadir.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := dir.Accounts(nil).CreateRegistry(t.Context(), 1, 1, "demo")
	if err != nil {
		t.Fatal(err)
	}
	at := imageDirectory{accounts.RegistryRef{ProjectID: 1, RegionID: 1, RegistryID: r.ID}, "1-1-demo"}
	u, err := dir.Accounts(nil).CreateUser(t.Context(), accounts.Key{}, at.RegistryRef, "", accounts.NewUser{Name: "user", Duration: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.user = login{u.User, at, u.Secret.Reveal()}

	p.cmd = exec.Command(os.Args[0]) // it ends with its input, in order
	p.cmd.Env = append(os.Environ(), serverEnvironment+"="+path)
	p.cmd.Stderr = p.log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.end()
		t.Fatalf("the server did not come up: %v\n%s", err, p.log)
	}
	p.host = strings.TrimSpace(line)
	return p
}

func (p *process) end() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the server ended with %v:\n%s", err, p.log)
	}
}

func (p *process) ref(text string) name.Reference {
	p.t.Helper()
	ref, err := name.ParseReference(p.host + "/" + text)
	if err != nil {
		p.t.Fatal(err)
	}
	return ref
}

func (p *process) options() []remote.Option {
	return []remote.Option{
		remote.WithContext(p.t.Context()),
		remote.WithAuth(&authn.Basic{Username: p.user.Name, Password: p.user.secret}),
	}
}

// peak returns the most memory that the server ever had, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) < 2 || fields[1] != "kB" {
		p.t.Fatalf("the status of the process: got %q, want VmHWM in it", status)
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n << 10
}

// pushAndPull pushes an image whose layer is made as it is sent, and pulls it.
func (p *process) pushAndPull(to string, size int64, seed byte) error {
	random := io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
	layer := stream.NewLayer(io.NopCloser(random), stream.WithCompressionLevel(gzip.NoCompression))
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	if err := remote.Write(p.ref(to), image, p.options()...); err != nil {
		return err
	}
	pushed, err := layer.Digest()
	if err != nil {
		return err
	}
	pulled, err := remote.Image(p.ref(to), p.options()...)
	if err != nil {
		return err
	}
	found, err := pulled.LayerByDigest(pushed)
	if err != nil {
		return err
	}
	content, err := found.Compressed() // verifies the digest
	if err != nil {
		return err
	}
	defer content.Close()
	n, err := io.Copy(io.Discard, content)
	if err == nil && n < size {
		err = fmt.Errorf("got %d bytes, want %d or more", n, size)
	}
	return err
}

func TestLargeImagesTakeLittleMemory(t *testing.T) {
	const size = 200 << 20
	switch {
	case runtime.GOOS != "linux":
		t.Skip("the memory of a process is read from /proc, which Linux alone has")
	case testing.Short():
		t.Skip("it moves two gigabytes")
	case raceEnabled:
		t.Skip("the race detector takes several times the memory")
	}
	for _, test := range []struct {
		atOnce int
		most   int64
	}{{1, 64 << 20}, {4, 96 << 20}} {
		t.Run(strconv.Itoa(test.atOnce), func(t *testing.T) {
			p := newProcess(t)
			rest := p.peak()
			var wg sync.WaitGroup
			for i := range test.atOnce {
				wg.Go(func() {
					if err := p.pushAndPull(fmt.Sprintf("1-1-demo/large:v%d", i), size, byte(i)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got := p.peak()
			t.Logf("%d at once: got a peak of %.1f MiB, of %.1f MiB at rest", test.atOnce, float64(got)/(1<<20), float64(rest)/(1<<20))
			if got >= test.most {
				t.Errorf("%d images of 200 MiB at once: got a peak of %d bytes, want less than %d", test.atOnce, got, test.most)
			}
		})
	}
}

// The library writes a log of its own; it must come out of ours, and nothing
// anywhere else.
func TestNothingButOurLogOnStandardError(t *testing.T) {
	p := newProcess(t)
	image := newImage(t, 2)
	if err := remote.Write(p.ref("1-1-demo/app:v1"), image, p.options()...); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Image(p.ref("1-1-demo/app:none"), p.options()...); err == nil {
		t.Error("pull of what is not there: got no error")
	}
	if _, err := remote.Image(p.ref("2-1-demo/app:v1"), p.options()...); err == nil {
		t.Error("pull of another registry's: got no error")
	}
	if response, err := http.Get("http://" + p.host + "/v2/"); err != nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("GET /v2/: got %v, %v; want status 401", response, err)
	} else {
		response.Body.Close()
	}
	p.end()
	n := 0
	for line := range strings.Lines(p.log.String()) {
		var entry struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" || entry.Msg == "" {
			t.Errorf("on standard error: got %q, want a line of our log", line)
		}
		if strings.Contains(line, p.user.secret) {
			t.Errorf("on standard error: got the secret in %q", line)
		}
		n++
	}
	if n < 10 {
		t.Errorf("on standard error: got %d lines, want one for each request", n)
	}
}
