package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// A peer is one implementation of the document's operation.
type peer struct {
	name     string
	handler  func() (http.Handler, error) // nil: it is not written in Go
	statuses [kinds]int                   // of its responses, by kind of request
}

// The kinds of request that are measured.
const (
	valid = iota
	invalid
	unauthenticated
	kinds
)

var kindNames = [kinds]string{"valid", "invalid", "no key"}

const (
	pattern = "POST /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users"
	path    = "/cloud/v1/registries/1/2/3/users"
	key     = "1$benchmark"

	validBody   = `{"name":"user1","duration":14,"read_only":true,"secret":"` + secret + `"}`
	invalidBody = `{"name":"USER1","duration":400,"read_only":true,"secret":"` + secret + `"}` // violates two rules of the document
)

// peers lists the compared implementations. Ratios are to the first.
var peers = []peer{
	{"bare", newBare, [kinds]int{201, 201, 401}}, // it validates nothing
	{"ours", newOurs, [kinds]int{201, 400, 401}},
	{"ogen, no telemetry", newOgenPlain, [kinds]int{201, 400, 401}},
	{"ogen", newOgen, [kinds]int{201, 400, 401}},
	{"huma", newHuma, [kinds]int{201, 422, 401}},
	{"stock", newStock, [kinds]int{201, 400, 401}},
	{"prism", nil, [kinds]int{201, 422, 401}},
}

func findPeer(name string) (peer, error) {
	for _, p := range peers {
		if p.name == name && p.handler != nil {
			return p, nil
		}
	}
	return peer{}, fmt.Errorf("no peer %q", name)
}

// Every peer's response to a valid request has these values and those of the request.
const (
	responseID = 7
	secret     = "VT7VBFL0vig2nkgcRkvW0e6K2D3Assua" //nolint:gosec // G101: not the secret of a user
)

var createdAt = time.Date(2026, 5, 7, 20, 33, 46, 548242000, time.UTC)

func expiresAt(days int) time.Time { return createdAt.AddDate(0, 0, days) }

func bodyOf(kind int) string {
	if kind == invalid {
		return invalidBody
	}
	return validBody
}

// newRequest returns a request of the kind, as a server passes it to a handler.
func newRequest(kind int) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, path, strings.NewReader(bodyOf(kind)))
	r.Header.Set("Content-Type", "application/json")
	if kind != unauthenticated {
		r.Header.Set("Authorization", "apikey "+key)
	}
	return r
}

// check checks that h responds as the measurement expects.
func (p peer) check(h http.Handler) error {
	for kind, want := range p.statuses {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(kind))
		if err := checkResponse(kind, want, w.Code, w.Body); err != nil {
			return fmt.Errorf("%s: %s request: %w", p.name, kindNames[kind], err)
		}
	}
	return nil
}

func checkResponse(kind, want, status int, body io.Reader) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if status != want {
		return fmt.Errorf("status %d, want %d: %s", status, want, text)
	}
	if kind == valid && !strings.Contains(string(text), `"name":"user1"`) {
		return fmt.Errorf("the response does not have the requested user: %s", text)
	}
	return nil
}
