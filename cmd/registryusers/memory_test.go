package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/stream"
)

// ref returns a reference to an image on the server, such as 1-1-demo/app:v1.
func (p *process) ref(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(p.host() + "/" + text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// pushAndPull pushes an image whose layer is generated while it is sent, and pulls it.
func pushAndPull(ref name.Reference, size int64, seed byte, options ...remote.Option) error {
	random := io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
	layer := stream.NewLayer(io.NopCloser(random), stream.WithCompressionLevel(gzip.NoCompression))
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, image, options...); err != nil {
		return err
	}
	pushed, err := layer.Digest()
	if err != nil {
		return err
	}
	pulled, err := remote.Image(ref, options...)
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
		t.Skip("the memory of a process is read from /proc, which only Linux has")
	case testing.Short():
		t.Skip("it moves two gigabytes")
	}
	for _, test := range []struct {
		atOnce int
		most   int64
	}{{1, 64 << 20}, {4, 96 << 20}} {
		t.Run(strconv.Itoa(test.atOnce), func(t *testing.T) {
			data := t.TempDir()
			p := serve(t, "--dev", "--data", data, "--reserve", "0")
			auth := remote.WithAuth(&authn.Basic{Username: "user", Password: p.user(t, data, "user", `"duration":1`)})
			rest := p.peak(t)
			var group sync.WaitGroup
			for i := range test.atOnce {
				ref := p.ref(t, fmt.Sprintf("1-1-demo/large:v%d", i))
				group.Go(func() {
					if err := pushAndPull(ref, size, byte(i), remote.WithContext(t.Context()), auth); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			got := p.peak(t)
			t.Logf("%d at once: got a peak of %.1f MiB, of %.1f MiB at rest", test.atOnce, float64(got)/(1<<20), float64(rest)/(1<<20))
			if got >= test.most {
				t.Errorf("%d images of 200 MiB at once: got a peak of %d bytes, want less than %d", test.atOnce, got, test.most)
			}
		})
	}
}

// The registry library has its own log. It must be part of ours, and
// nothing else may be on standard error.
func TestOnlyOurLogOnStandardError(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data, "--log-level", "debug")
	secret := p.user(t, data, "user", `"duration":1`)
	options := []remote.Option{remote.WithContext(t.Context()), remote.WithAuth(&authn.Basic{Username: "user", Password: secret})}
	image, err := random.Image(4<<10, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(p.ref(t, "1-1-demo/app:v1"), image, options...); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"1-1-demo/app:none", "2-1-demo/app:v1"} {
		if _, err := remote.Image(p.ref(t, text), options...); err == nil {
			t.Errorf("pull %s: got no error", text)
		}
	}
	if got := send(t, http.MethodGet, p.url+"/v2/", ""); got.status != http.StatusUnauthorized {
		t.Errorf("GET /v2/ without a token: got %d %s, want 401", got.status, got.body)
	}
	p.stop(os.Interrupt)
	line := regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=\S`)
	requests := 0
	for text := range strings.Lines(p.stderr.String()) {
		if !line.MatchString(text) {
			t.Errorf("on standard error: got %q, want a line of our log", text)
		}
		if strings.Contains(text, secret) {
			t.Errorf("on standard error: got the secret in %q", text)
		}
		if strings.Contains(text, "msg=request ") {
			requests++
		}
	}
	if requests < 10 {
		t.Errorf("on standard error: got %d lines of requests, want one for each", requests)
	}
}
