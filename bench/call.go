package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/registryusers/registryusers/client"
)

// memory is a transport that responds to every create without a server.
type memory struct{ header http.Header }

const wantResponse = `{"created_at":"2026-05-07T20:33:46.548242Z","duration":14,"expires_at":"2026-05-21T20:33:46.548242Z",` +
	`"id":7,"name":"user1","read_only":false,"secret":"` + secret + `"}` + "\n"

func (m memory) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: http.StatusCreated, Header: m.header, Body: io.NopCloser(strings.NewReader(wantResponse)), Request: r}, nil
}

// measureCalls returns the costs of a call of a bare HTTP client and of package
// client, in this order.
func measureCalls(turns int) ([]cost, error) {
	transport := &http.Client{Transport: memory{http.Header{"Content-Type": {"application/json"}}}}
	c, err := client.New(client.WithAPIKey(key), client.WithProject(1), client.WithRegion(1), client.WithHTTPClient(transport))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	return compare([]func(){
		func() {
			if u, err := bareCall(ctx, transport, 1, 1, 1); err != nil || u.ID != responseID {
				panic(fmt.Sprint(u, err))
			}
		},
		func() {
			if u, err := c.CreateUser(ctx, 1, client.NewUser{Name: "user1", Days: 14}); err != nil || u.ID != responseID {
				panic(fmt.Sprint(u, err))
			}
		},
	}, turns), nil
}

type bareUser struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	ReadOnly  bool      `json:"read_only"`
	Duration  int64     `json:"duration"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Secret    string    `json:"secret"`
}

// bareCall creates a user as a short handwritten client would: with net/http,
// encoding/json, an API key and a check of the status.
func bareCall(ctx context.Context, c *http.Client, project, region, registry int64) (bareUser, error) {
	var u bareUser
	body, err := json.Marshal(struct {
		Name     string `json:"name"`
		Duration int64  `json:"duration"`
	}{"user1", 14})
	if err != nil {
		return u, err
	}
	url := fmt.Sprintf("%s/cloud/v1/registries/%d/%d/%d/users", client.DefaultBaseURL, project, region, registry)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return u, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "apikey "+key)
	response, err := c.Do(r)
	if err != nil {
		return u, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return u, fmt.Errorf("status %d", response.StatusCode)
	}
	return u, json.NewDecoder(response.Body).Decode(&u)
}
