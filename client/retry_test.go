package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/client"
)

// try is the outcome of one try.
type try struct {
	status int // 0: err
	header http.Header
	body   string
	err    error
	takes  time.Duration
}

// script is a transport that returns one outcome for each try, and the last one for all later tries.
type script struct {
	tries []try
	seen  []*http.Request
	at    []time.Time
	sent  []string // bodies
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	t := s.tries[min(len(s.seen), len(s.tries)-1)]
	s.seen, s.at, s.sent = append(s.seen, r), append(s.at, time.Now()), append(s.sent, string(body))
	select {
	case <-time.After(t.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if t.status == 0 {
		return nil, t.err
	}
	header := http.Header{}
	for name, values := range t.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return &http.Response{StatusCode: t.status, Header: header, Body: io.NopCloser(strings.NewReader(t.body)), Request: r}, nil
}

func (s *script) client(t *testing.T, options ...client.Option) *client.Client {
	return newClient(t, "https://registry.example", append([]client.Option{
		client.WithHTTPClient(&http.Client{Transport: s}), client.WithRetry(client.DefaultTries, client.DefaultBudget),
	}, options...)...)
}

const (
	ourError   = `{"exception_class":"C","message":"m","request_id":"r"}`
	proxyError = "<html>no upstream</html>"
)

var (
	done     = try{status: 201, body: created}
	reset    = try{err: &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}}
	noServer = try{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
)

func responding(status int, body string) try { return try{status: status, body: body} }

func TestRetryableOutcomesAreRetried(t *testing.T) {
	for _, test := range []struct {
		name    string
		tries   []try
		want    int   // tries
		is      error // of the outcome, nil: success
		unknown bool
	}{
		{"success", []try{done}, 1, nil, false},
		{"no connection, then success", []try{noServer, noServer, done}, 3, nil, false},
		{"a connection that breaks, then success", []try{reset, done}, 2, nil, false},
		{"408", []try{responding(408, ""), done}, 2, nil, false},
		{"429", []try{responding(429, ourError), done}, 2, nil, false},
		{"500", []try{responding(500, ourError), done}, 2, nil, false},
		{"501 of a proxy", []try{responding(501, proxyError), done}, 2, nil, false},
		{"502 of a proxy", []try{responding(502, proxyError), done}, 2, nil, false},
		{"503", []try{responding(503, ourError), done}, 2, nil, false},
		{"504", []try{responding(504, ""), done}, 2, nil, false},
		{"599", []try{responding(599, ""), done}, 2, nil, false},
		{"half a success", []try{responding(201, created[:40]), done}, 2, nil, false},
		{"an empty success", []try{responding(201, ""), done}, 2, nil, false},
		{"the fifth time", []try{reset, responding(502, ""), noServer, responding(429, ""), done}, 5, nil, false},

		{"never a connection", []try{noServer}, 5, nil, false},
		{"no response at all", []try{reset}, 5, nil, true},
		{"no connection after one that broke", []try{reset, noServer}, 5, nil, true},
		{"always 408", []try{responding(408, "")}, 5, nil, false},
		{"always 429", []try{responding(429, ourError)}, 5, registryusers.ErrTooManyRequests, false},
		{"always 500", []try{responding(500, ourError)}, 5, registryusers.ErrInternal, true},
		{"always 502", []try{responding(502, proxyError)}, 5, registryusers.ErrUnavailable, true},
		{"always our own 503", []try{responding(503, ourError)}, 5, registryusers.ErrUnavailable, false},
		{"always a proxy's 503", []try{responding(503, proxyError)}, 5, registryusers.ErrUnavailable, true},
		{"always half a success", []try{responding(201, created[:40])}, 5, nil, true},

		{"a certificate that is not trusted", []try{{err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}}, 1, nil, false},
		{"https to an http port", []try{{err: http.ErrSchemeMismatch}}, 1, nil, false},
		{"200", []try{responding(200, created)}, 1, nil, true},
		{"202", []try{responding(202, "")}, 1, nil, true},
		{"200 after a try that broke", []try{reset, responding(200, created)}, 2, nil, true},
		{"302", []try{{status: 302, header: http.Header{"Location": {"https://other.example/"}}}}, 1, nil, false},
		{"our own 501", []try{responding(501, ourError)}, 1, registryusers.ErrNotImplemented, false},
		{"400", []try{responding(400, ourError)}, 1, registryusers.ErrInvalid, false},
		{"401", []try{responding(401, ourError)}, 1, registryusers.ErrUnauthenticated, false},
		{"403", []try{responding(403, ourError)}, 1, registryusers.ErrForbidden, false},
		{"404", []try{responding(404, ourError)}, 1, registryusers.ErrRegistryNotFound, false},
		{"405", []try{responding(405, ourError)}, 1, nil, false},
		{"409", []try{responding(409, ourError)}, 1, registryusers.ErrUserExists, false},
		{"413", []try{responding(413, ourError)}, 1, nil, false},
		{"415", []try{responding(415, ourError)}, 1, nil, false},
		{"422", []try{responding(422, ourError)}, 1, registryusers.ErrInvalid, false},
		{"425", []try{responding(425, "")}, 1, nil, false},

		// A server that does not know the Idempotency-Key.
		{"409 after a try that broke", []try{reset, responding(409, ourError)}, 2, registryusers.ErrUserExists, true},
		{"409 after a proxy's 502", []try{responding(502, proxyError), responding(409, ourError)}, 2, registryusers.ErrUserExists, true},
		{"409 after half a success", []try{responding(201, created[:40]), responding(409, ourError)}, 2, registryusers.ErrUserExists, true},
		{"409 after no connection", []try{noServer, responding(409, ourError)}, 2, registryusers.ErrUserExists, false},
		{"409 after 429", []try{responding(429, ourError), responding(409, ourError)}, 2, registryusers.ErrUserExists, false},
		{"401 after a try that broke", []try{reset, responding(401, ourError)}, 2, registryusers.ErrUnauthenticated, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{tries: test.tries}
				u, err := s.client(t).CreateUser(t.Context(), 9, client.NewUser{Name: "u", Days: 14})
				if len(s.seen) != test.want {
					t.Errorf("got %d tries, want %d", len(s.seen), test.want)
				}
				last := test.tries[min(test.want, len(test.tries))-1]
				if succeeds := last.status == 201 && last.body == created; succeeds {
					if err != nil || u.ID != 1 {
						t.Errorf("got %+v, %v; want the user", u, err)
					}
					return
				}
				if err == nil {
					t.Fatalf("got %+v, want an error", u)
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("got %v, want one that is %v", err, test.is)
				}
				if last.err != nil && !errors.Is(err, last.err) {
					t.Errorf("got %v, want one that is the transport's, %v", err, last.err)
				}
				if got := errors.Is(err, client.ErrOutcomeUnknown); got != test.unknown {
					t.Errorf("got %v, which is ErrOutcomeUnknown: %t, want %t", err, got, test.unknown)
				}
				var e *client.Error
				if errors.As(err, &e) != (last.status != 0) || e != nil && e.Status != last.status {
					t.Errorf("got %#v, want an Error only for a response, with its status", err)
				}
				if test.want > 1 && !strings.Contains(err.Error(), "after "+string(rune('0'+test.want))+" tries") {
					t.Errorf("got %q, want the number of tries in it", err)
				}
			})
		})
	}
}

func TestConflictAfterAnUnknownOutcomeNamesTheNextStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{tries: []try{reset, responding(409, ourError)}}
		_, err := s.client(t).CreateUser(t.Context(), 9, client.NewUser{Name: "u"})
		for _, want := range []string{"this call may have created", "secret is lost", "delete it", "another name"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		}
	})
}

// A server that does not know the Idempotency-Key, over a real connection that
// breaks after the user was created.
func TestServerThatIgnoresTheIdempotencyKey(t *testing.T) {
	users := 0
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if users++; users > 1 {
			w.WriteHeader(http.StatusConflict)
			return
		}
		panic(http.ErrAbortHandler) // the user is created, the response lost
	})
	_, err := newClient(t, s.URL, client.WithRetry(3, time.Minute)).CreateUser(t.Context(), 9, client.NewUser{Name: "u"})
	if !errors.Is(err, registryusers.ErrUserExists) || !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("got %v; want one that is ErrUserExists and ErrOutcomeUnknown", err)
	}
}

func TestEveryTryIsTheSameRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{tries: []try{reset, responding(502, ""), noServer, done, reset, done}}
		c := s.client(t)
		for range 2 {
			if _, err := c.CreateUser(t.Context(), 9, client.NewUser{Name: "u", Days: 14, Secret: registryusers.NewSecret("cHoSeN")}); err != nil {
				t.Fatal(err)
			}
		}
		var keys []string
		for i, r := range s.seen {
			if r.URL.Path != s.seen[0].URL.Path || s.sent[i] != s.sent[0] || r.Header.Get("Authorization") != "apikey "+apiKey {
				t.Errorf("try %d: %s %s, want as at first", i, r.URL, s.sent[i])
			}
			keys = append(keys, r.Header.Get("Idempotency-Key"))
		}
		first, second := keys[:4], keys[4:]
		if len(slices.Compact(first)) != 1 || len(slices.Compact(second)) != 1 || keys[0] == keys[4] {
			t.Errorf("Idempotency-Keys %q; want one for each call", keys)
		}
		if len(keys[0]) < 22 { // 128 bits, in any encoding
			t.Errorf("Idempotency-Key %q; want one that is random", keys[0])
		}
	})
}

func TestWaits(t *testing.T) {
	const often = 200
	longest := make([]time.Duration, 6)
	for range often {
		synctest.Test(t, func(t *testing.T) {
			s := &script{tries: []try{responding(500, "")}}
			if _, err := s.client(t, client.WithRetry(8, time.Hour)).CreateUser(t.Context(), 9, client.NewUser{}); err == nil {
				t.Fatal("got no error")
			}
			for i := range longest {
				wait := s.at[i+1].Sub(s.at[i])
				if most := min(250*time.Millisecond<<i, 8*time.Second); wait > most {
					t.Fatalf("wait %d: got %v, want %v at most", i+1, wait, most)
				}
				longest[i] = max(longest[i], wait)
			}
		})
	}
	for i, got := range longest { // 200 random waits stay below 80 % once in 10^19
		if most := min(250*time.Millisecond<<i, 8*time.Second); got < most*8/10 {
			t.Errorf("wait %d: the longest of %d was %v, want them spread up to %v", i+1, often, got, most)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	const never = time.Duration(-1) // longer than the budget: the response is returned at once
	for _, test := range []struct {
		name, value string
		least, most time.Duration
	}{
		{"seconds", "7", 7 * time.Second, 7 * time.Second},
		{"a date", "date", 19 * time.Second, 20 * time.Second},
		{"zero", "0", 0, 250 * time.Millisecond},
		{"a date in the past", "Mon, 01 Jan 1990 00:00:00 GMT", 0, 250 * time.Millisecond},
		{"negative", "-5", 0, 250 * time.Millisecond},
		{"a year", "31536000", never, never},
		{"2^31-1 seconds", "2147483647", never, never},
		{"a date in a year", "year", never, never},
		{"2^31 seconds", "2147483648", 0, 250 * time.Millisecond},
		{"beyond 64 bits", "99999999999999999999", 0, 250 * time.Millisecond},
		{"the last date there is", "Fri, 31 Dec 9999 23:59:59 GMT", 0, 250 * time.Millisecond},
		{"beyond 64 bits, negative", "-99999999999999999999", 0, 250 * time.Millisecond},
		{"nonsense", "soon", 0, 250 * time.Millisecond},
		{"none", "", 0, 250 * time.Millisecond},
	} {
		for _, status := range []int{408, 429, 502, 503} {
			t.Run(test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					value := test.value
					switch value {
					case "date":
						value = time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)
					case "year":
						value = time.Now().Add(366 * 24 * time.Hour).UTC().Format(http.TimeFormat)
					}
					s := &script{tries: []try{{status: status, header: http.Header{"Retry-After": {value}}}, done}}
					start := time.Now()
					_, err := s.client(t).CreateUser(t.Context(), 9, client.NewUser{})
					if test.least == never {
						var e *client.Error
						if !errors.As(err, &e) || e.RetryAfter < 365*24*time.Hour || len(s.seen) != 1 || time.Since(start) != 0 {
							t.Errorf("%d with Retry-After %q: %v after %d tries and %v; want the response at once, with its RetryAfter", status, value, err, len(s.seen), time.Since(start))
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if got := s.at[1].Sub(s.at[0]); got < test.least || got > test.most {
						t.Errorf("%d with Retry-After %q: waited %v, want %v to %v", status, value, got, test.least, test.most)
					}
				})
			})
		}
	}
}

func TestBudget(t *testing.T) {
	t.Run("tries that take long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{tries: []try{{status: 500, takes: 4 * time.Second}}}
			start := time.Now()
			_, err := s.client(t, client.WithRetry(100, 10*time.Second)).CreateUser(t.Context(), 9, client.NewUser{})
			if err == nil || len(s.seen) != 3 || s.at[2].Sub(start) > 10*time.Second {
				t.Errorf("got %d tries, the last one after %v, and %v; want the third and last within 10 s", len(s.seen), s.at[len(s.at)-1].Sub(start), err)
			}
		})
	})
	t.Run("Retry-After beyond it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{tries: []try{{status: 503, header: http.Header{"Retry-After": {"3600"}}, body: ourError}}}
			start := time.Now()
			_, err := s.client(t).CreateUser(t.Context(), 9, client.NewUser{})
			var e *client.Error
			if !errors.As(err, &e) || e.RetryAfter != time.Hour || len(s.seen) != 1 || time.Since(start) != 0 {
				t.Errorf("got %v after %v; want the response at once, with its RetryAfter", err, time.Since(start))
			}
		})
	})
	t.Run("one try", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{tries: []try{responding(503, ourError)}}
			if _, err := s.client(t).CreateUser(t.Context(), 9, client.NewUser{}, client.WithoutRetry()); err == nil || len(s.seen) != 1 {
				t.Errorf("got %d tries and %v; want one", len(s.seen), err)
			}
		})
	})
}

func TestContextEndsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{tries: []try{{status: 503, header: http.Header{"Retry-After": {"30"}}, body: proxyError}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := s.client(t).CreateUser(ctx, 9, client.NewUser{})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, registryusers.ErrUnavailable) || !errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("got %v; want the deadline, the last response, and ErrOutcomeUnknown", err)
		}
		if got := time.Since(start); got != time.Second || len(s.seen) != 1 {
			t.Errorf("%d tries in %v; want one in a second", len(s.seen), got)
		}
	})
}

func TestContextEndsDuringATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{tries: []try{{status: 503, takes: time.Hour}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.client(t).CreateUser(ctx, 9, client.NewUser{})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrOutcomeUnknown) || len(s.seen) != 1 {
			t.Errorf("got %v after %d tries; want the deadline and ErrOutcomeUnknown after one", err, len(s.seen))
		}
	})
}

func TestContextEndedBefore(t *testing.T) {
	s := &script{tries: []try{done}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.client(t).CreateUser(ctx, 9, client.NewUser{}); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrOutcomeUnknown) || len(s.seen) > 0 {
		t.Errorf("got %v after %d tries; want no try, and no ErrOutcomeUnknown", err, len(s.seen))
	}
}

// net/http itself repeats a request with an Idempotency-Key when a kept-alive
// connection breaks. The client must count every try: with a server that does
// not support the header, it would take its own user for another caller's.
func TestNetHTTPDoesNotRepeatUnseen(t *testing.T) {
	var requests atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, created)
	}))
	defer s.Close()
	c := newClient(t, s.URL)
	if _, err := c.CreateUser(t.Context(), 9, client.NewUser{}); err != nil { // leaves a connection open
		t.Fatal(err)
	}
	if _, err := c.CreateUser(t.Context(), 9, client.NewUser{}); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("got %v; want ErrOutcomeUnknown", err)
	}
	if got := requests.Load(); got != 2 {
		t.Errorf("the server got %d requests, want 2", got)
	}
}

func TestAPIKeySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{tries: []try{responding(503, ""), responding(502, ""), done}}
		asked := 0
		c := s.client(t, client.WithAPIKeySource(func(context.Context) (registryusers.Secret, error) {
			asked++
			return registryusers.NewSecret("7$key" + string(rune('0'+asked))), nil
		}))
		for call := range 2 {
			if _, err := c.CreateUser(t.Context(), 9, client.NewUser{}); err != nil {
				t.Fatal(err)
			}
			if asked != call+1 {
				t.Errorf("call %d: the source was called %d times; want once for each call", call+1, asked)
			}
		}
		for i, r := range s.seen {
			want := "apikey 7$key1"
			if i == 3 { // the second call
				want = "apikey 7$key2"
			}
			if got := r.Header.Get("Authorization"); got != want {
				t.Errorf("try %d: Authorization %q, want %q", i+1, got, want)
			}
		}
	})
	for _, test := range []struct {
		name  string
		tries []try
		keys  []string // what the source returns
		want  []string // what is sent
		is    error
	}{
		{"a 401, and a new key", []try{responding(401, ourError), done}, []string{"7$a", "7$b"}, []string{"7$a", "7$b"}, nil},
		{"a 401 after a 503", []try{responding(503, ourError), responding(401, ourError), done}, []string{"7$a", "7$b"}, []string{"7$a", "7$a", "7$b"}, nil},
		{"a 401, and no new key", []try{responding(401, ourError)}, []string{"7$a", "7$a"}, []string{"7$a"}, registryusers.ErrUnauthenticated},
		{"a 401 for every key", []try{responding(401, ourError)}, []string{"7$a", "7$b", "7$c"}, []string{"7$a", "7$b"}, registryusers.ErrUnauthenticated},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{tries: test.tries}
				asked := 0
				_, err := s.client(t, client.WithAPIKeySource(func(context.Context) (registryusers.Secret, error) {
					asked++
					return registryusers.NewSecret(test.keys[asked-1]), nil
				})).CreateUser(t.Context(), 9, client.NewUser{})
				var sent []string
				for _, r := range s.seen {
					sent = append(sent, strings.TrimPrefix(r.Header.Get("Authorization"), "apikey "))
				}
				if !errors.Is(err, test.is) || !slices.Equal(sent, test.want) || asked != 2 {
					t.Errorf("got %v, keys %q sent, the source called %d times; want %v, %q, twice", err, sent, asked, test.is, test.want)
				}
			})
		})
	}
	for name, source := range map[string]func(context.Context) (registryusers.Secret, error){
		"an error": func(context.Context) (registryusers.Secret, error) { return registryusers.Secret{}, errSource },
		"an error of HTTP": func(context.Context) (registryusers.Secret, error) {
			return registryusers.Secret{}, &url.Error{Op: "Get", Err: errSource}
		},
		"no key": func(context.Context) (registryusers.Secret, error) { return registryusers.Secret{}, nil },
		"not visible": func(context.Context) (registryusers.Secret, error) {
			return registryusers.NewSecret("7$a\r\nX-Evil: 1"), nil
		},
	} {
		s := &script{tries: []try{done}}
		_, err := s.client(t, client.WithAPIKeySource(source)).CreateUser(t.Context(), 9, client.NewUser{})
		if err == nil || len(s.seen) != 0 || errors.Is(err, client.ErrOutcomeUnknown) || strings.Contains(err.Error(), "Evil") {
			t.Errorf("%s: %d tries and %v; want none, and an error that does not show the key", name, len(s.seen), err)
		}
		if strings.HasPrefix(name, "an error") && !errors.Is(err, errSource) {
			t.Errorf("%s: got %v; want the source's", name, err)
		}
	}
}

var errSource = errors.New("the vault is closed")

func TestIdempotencyKeyOfACall(t *testing.T) {
	s := &script{tries: []try{done}}
	c := s.client(t)
	longest := strings.Repeat("!~", 127) + "x"
	for _, key := range []string{"k", longest} {
		if _, err := c.CreateUser(t.Context(), 9, client.NewUser{}, client.WithIdempotencyKey(key)); err != nil {
			t.Errorf("key of %d characters: %v", len(key), err)
		} else if got := s.seen[len(s.seen)-1].Header.Get("Idempotency-Key"); got != key {
			t.Errorf("Idempotency-Key: got %q, want %q", got, key)
		}
	}
	s.seen = nil
	for _, key := range []string{"", "two words", "tab\t", "é", "\x7f", longest + "x"} {
		if _, err := c.CreateUser(t.Context(), 9, client.NewUser{}, client.WithIdempotencyKey(key)); !errors.Is(err, registryusers.ErrInvalid) || len(s.seen) > 0 {
			t.Errorf("key %q: got %v and %d tries; want ErrInvalid, and none", key, err, len(s.seen))
		}
	}
	if _, err := client.New(client.WithAPIKey(apiKey), client.WithIdempotencyKey("k")); !errors.Is(err, registryusers.ErrInvalid) {
		t.Errorf("New with WithIdempotencyKey: got %v, want ErrInvalid", err)
	}
	for _, option := range []client.Option{client.WithRetry(0, time.Minute), client.WithRetry(-1, time.Minute), client.WithRetry(1, -1)} {
		if _, err := client.New(client.WithAPIKey(apiKey), option); !errors.Is(err, registryusers.ErrInvalid) {
			t.Errorf("New with a retry of none: got %v, want ErrInvalid", err)
		}
	}
}

func TestTextThatJSONWouldChangeIsRefused(t *testing.T) {
	s := &script{tries: []try{done}}
	for _, n := range []client.NewUser{{Name: "a\xff"}, {Name: "a", Secret: registryusers.NewSecret("b\xc3")}} {
		if _, err := s.client(t).CreateUser(t.Context(), 9, n); !errors.Is(err, registryusers.ErrInvalid) || len(s.seen) > 0 {
			t.Errorf("%q: got %v and %d tries; want ErrInvalid, and none", n.Name, err, len(s.seen))
		}
	}
}

func TestRepeatedTriesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &script{tries: []try{reset, responding(503, `{"exception_class":"C","message":"no `+apiKey+` cHoSeN","request_id":"r-17"}`), done}}
		c := s.client(t, client.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if _, err := c.CreateUser(t.Context(), 9, client.NewUser{Secret: registryusers.NewSecret("cHoSeN")}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "connection reset") || !strings.Contains(lines[0], "try=1") ||
			!strings.Contains(lines[1], "r-17") || !strings.Contains(lines[1], "try=2") || !strings.Contains(lines[1], "wait=") {
			t.Errorf("got\n%s\nwant a line for each of the two tries that were repeated", &log)
		}
		for _, secret := range []string{apiKey, "cHoSeN", s.seen[0].Header.Get("Idempotency-Key")} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log has %q:\n%s", secret, &log)
			}
		}
	})
}
