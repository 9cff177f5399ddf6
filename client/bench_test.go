package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/testkit"
)

// memory is a transport that returns a created user without a connection.
type memory struct{ header http.Header }

const wasAnswered = `{"created_at":"2026-05-07T20:33:46.548242Z","duration":14,"expires_at":"2026-05-21T20:33:46.548242Z",` +
	`"id":7,"name":"user1","read_only":false,"secret":"VT7VBFL0vig2nkgcRkvW0e6K2D3Assua"}` + "\n"

func (m memory) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: http.StatusCreated, Header: m.header, Body: io.NopCloser(strings.NewReader(wasAnswered)), Request: r}, nil
}

var transport = &http.Client{Transport: memory{http.Header{"Content-Type": {"application/json"}}}}

// ours returns a function that makes a call of the client, with its key and its retry.
func ours(tb testing.TB) func() {
	c, err := New(WithAPIKey("1$key"), WithProject(1), WithRegion(1), WithHTTPClient(transport))
	if err != nil {
		tb.Fatal(err)
	}
	ctx := tb.Context()
	return func() {
		if u, err := c.CreateUser(ctx, 1, NewUser{Name: "user1", Days: 14}); err != nil || u.ID != 7 {
			tb.Fatal(u, err)
		}
	}
}

// bare returns a function that makes the same call by hand: net/http and
// encoding/json, an API key, the status looked at.
func bare(tb testing.TB) func() {
	type request struct {
		Name     string `json:"name"`
		Duration int64  `json:"duration"`
	}
	type user struct {
		ID        int64     `json:"id"`
		Name      string    `json:"name"`
		ReadOnly  bool      `json:"read_only"`
		Duration  int64     `json:"duration"`
		CreatedAt time.Time `json:"created_at"`
		ExpiresAt time.Time `json:"expires_at"`
		Secret    string    `json:"secret"`
	}
	create := func(ctx context.Context, project, region, registry int64) (user, error) {
		var u user
		body, err := json.Marshal(request{Name: "user1", Duration: 14})
		if err != nil {
			return u, err
		}
		url := fmt.Sprintf("%s/cloud/v1/registries/%d/%d/%d/users", DefaultBaseURL, project, region, registry)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return u, err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "apikey 1$key")
		response, err := transport.Do(r)
		if err != nil {
			return u, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusCreated {
			return u, fmt.Errorf("status %d", response.StatusCode)
		}
		return u, json.NewDecoder(response.Body).Decode(&u)
	}
	ctx := tb.Context()
	return func() {
		if u, err := create(ctx, 1, 1, 1); err != nil || u.ID != 7 {
			tb.Fatal(u, err)
		}
	}
}

// maxCallAllocs bounds the allocations of a call, the key and the retry included.
const maxCallAllocs = 35

func TestCallAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	got, least := testing.AllocsPerRun(1000, ours(t)), testing.AllocsPerRun(1000, bare(t))
	t.Logf("a call: %v allocations, by hand %v", got, least)
	if got > maxCallAllocs {
		t.Errorf("a call: got %v allocations, want at most %d", got, maxCallAllocs)
	}
}

func BenchmarkCreateUser(b *testing.B) {
	for name, call := range map[string]func(){"ours": ours(b), "bare": bare(b)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}

// BenchmarkCreateUserRatio reports how many calls by hand a call costs: the
// medians of both, taken in turns so that what slows the machine slows both.
func BenchmarkCreateUserRatio(b *testing.B) {
	const rounds, each = 20, 500
	ours, bare := ours(b), bare(b)
	var ratios []float64
	for b.Loop() {
		for range rounds {
			theirs := testkit.Median(each, bare)
			ratios = append(ratios, float64(testkit.Median(each, ours))/float64(theirs))
		}
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-bare")
}
