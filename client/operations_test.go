package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/registryusers/registryusers"
)

// Operations made by hand, of all the forms that the document's may have.
type (
	thing struct {
		ID   int64
		Days int64
	}
	things struct{ Results []thing }

	thingPath struct{ registry, thing int64 }
	page      struct{ registry, limit, offset int64 }
)

var (
	listThings   = operation[things]{name: "list things", success: 200, complete: func(l things) bool { return l.Results != nil }}
	updateThing  = operation[thing]{name: "update thing", success: 200, complete: func(t thing) bool { return t.ID > 0 }}
	deleteThing  = operation[struct{}]{name: "delete thing", success: 204, errors: map[int]error{404: registryusers.ErrUserNotFound}}
	refreshThing = operation[thing]{name: "refresh thing", success: 200, complete: func(t thing) bool { return t.ID > 0 }}
)

// caller calls the operations as the methods of a resource's file do.
type caller struct {
	*testing.T
	*Client
}

// generate makes a request as generated code does.
func generate(c *config, method, body, format string, args ...any) func() (*http.Request, error) {
	return func() (*http.Request, error) {
		var reader io.Reader
		if body != "" {
			reader = strings.NewReader(body)
		}
		r, err := http.NewRequest(method, c.server+fmt.Sprintf(format, args...), reader)
		if err == nil && body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		return r, err
	}
}

func (c caller) settings(options []Option) *config {
	c.Helper()
	config, err := c.Client.settings(options)
	if err != nil {
		c.Fatal(err)
	}
	return config
}

func (c caller) create(registry int64) error {
	_, err := c.CreateUser(c.Context(), registry, NewUser{Name: "u", Days: 14})
	return err
}

func (c caller) list(p page, options ...Option) (things, error) {
	config := c.settings(options)
	return send(c.Context(), config, &listThings, p, generate(config, http.MethodGet, "", "%d/things?limit=%d&offset=%d", p.registry, p.limit, p.offset), nil)
}

func (c caller) update(p thingPath, days int64, secrets ...registryusers.Secret) (thing, error) {
	config := c.settings(nil)
	return send(c.Context(), config, &updateThing, p, generate(config, http.MethodPatch, "{}", "%d/things/%d", p.registry, p.thing), thing{Days: days}, secrets...)
}

func (c caller) delete(p thingPath) error {
	config := c.settings(nil)
	_, err := send(c.Context(), config, &deleteThing, p, generate(config, http.MethodDelete, "", "%d/things/%d", p.registry, p.thing), nil)
	return err
}

func (c caller) refresh(p thingPath) (thing, error) {
	config := c.settings(nil)
	return send(c.Context(), config, &refreshThing, p, generate(config, http.MethodPost, "", "%d/things/%d/refresh", p.registry, p.thing), nil)
}

// callerOf starts a server with the handler and returns a caller of it.
func callerOf(t *testing.T, handler http.HandlerFunc, options ...Option) caller {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := New(append([]Option{
		WithBaseURL(s.URL), WithAPIKey("7$key"), WithProject(3), WithRegion(5), WithoutRetry(), WithHTTPClient(&http.Client{Transport: transport}),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return caller{t, c}
}

func TestOperationsOfEveryForm(t *testing.T) {
	var got []string
	c := callerOf(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		key := "no key"
		if _, ok := r.Header["Idempotency-Key"]; ok {
			key = "a key"
		}
		got = append(got, fmt.Sprintf("%s %s %s, %d bytes of %q, %s", r.Method, r.RequestURI, body, r.ContentLength, r.Header.Get("Content-Type"), key))
		switch {
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, `{"Results":[{"ID":1},{"ID":2}]}`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case strings.HasSuffix(r.URL.Path, "/users"):
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, wasAnswered)
		default:
			_, _ = io.WriteString(w, `{"ID":8}`)
		}
	})
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("create", c.create(9))
	for _, offset := range []int64{4, 6} {
		l, err := c.list(page{9, 2, offset})
		check("list", err)
		if len(l.Results) != 2 {
			t.Errorf("list: got %+v, want the two things of the response", l)
		}
	}
	_, err := c.list(page{9, 2, 8}, WithQuery("trace", "x"), WithIdempotencyKey("k"))
	check("list with a query of the caller's", err)
	for _, id := range []int64{5, 6} {
		u, err := c.update(thingPath{9, id}, 30)
		check("update", err)
		if u.ID != 8 {
			t.Errorf("update: got %+v, want the thing of the response", u)
		}
		check("delete", c.delete(thingPath{9, id}))
	}
	_, err = c.refresh(thingPath{9, 6})
	check("refresh", err)
	check("create", c.create(9))

	const create = `POST /cloud/v1/registries/3/5/9/users {"duration":14,"name":"u"}, 26 bytes of "application/json", a key`
	want := []string{
		create,
		`GET /9/things?limit=2&offset=4 , 0 bytes of "", no key`,
		`GET /9/things?limit=2&offset=6 , 0 bytes of "", no key`,
		`GET /9/things?limit=2&offset=8&trace=x , 0 bytes of "", no key`,
		`PATCH /9/things/5 {"ID":0,"Days":30}, 18 bytes of "application/json", a key`,
		`DELETE /9/things/5 , 0 bytes of "", a key`,
		`PATCH /9/things/6 {"ID":0,"Days":30}, 18 bytes of "application/json", a key`,
		`DELETE /9/things/6 , 0 bytes of "", a key`,
		`POST /9/things/6/refresh , 0 bytes of "", a key`,
		create,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the requests (-want +got):\n%s", diff)
	}
}

// The outcome of an operation that reads is never unknown: the caller repeats it.
func TestReadHasNoUnknownOutcome(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"no response":           func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a proxy's 502":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"half a response":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"Results":`) },
		"a response that lacks": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) },
	} {
		_, err := callerOf(t, handler).list(page{9, 2, 4})
		if err == nil || errors.Is(err, ErrOutcomeUnknown) || strings.Contains(err.Error(), "done") {
			t.Errorf("%s: got %v, want an error that is not ErrOutcomeUnknown and does not say that something was done", name, err)
		}
	}
}

// net/http repeats a request without a body by itself when a connection breaks: a
// user that the first one deleted is not found by the second.
func TestRepeatByNetHTTPIsAnUnknownOutcome(t *testing.T) {
	var requests atomic.Int64 // of several connections
	c := callerOf(t, func(w http.ResponseWriter, _ *http.Request) {
		switch requests.Add(1) {
		case 1:
			w.WriteHeader(http.StatusNoContent) // leaves a connection
		case 2:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	if err := c.delete(thingPath{9, 5}); err != nil {
		t.Fatal(err)
	}
	err := c.delete(thingPath{9, 6})
	if !errors.Is(err, registryusers.ErrUserNotFound) || !errors.Is(err, ErrOutcomeUnknown) || requests.Load() != 3 {
		t.Errorf("got %v after %d requests, want ErrUserNotFound and ErrOutcomeUnknown after 3", err, requests.Load())
	}
	if err := c.delete(thingPath{9, 7}); !errors.Is(err, registryusers.ErrUserNotFound) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("without a repeat: got %v, want ErrUserNotFound alone", err)
	}
}

// A body may have several secrets.
func TestNoErrorHasASecretOfTheBody(t *testing.T) {
	for _, echoed := range []string{"one-secret", "two-secret", "7$key"} {
		c := callerOf(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"exception_class":"C","message":"bad %s","request_id":"r"}`, echoed)
		})
		_, err := c.update(thingPath{9, 5}, 1, registryusers.NewSecret("one-secret"), registryusers.NewSecret("two-secret"))
		if !errors.Is(err, registryusers.ErrInvalid) || strings.Contains(err.Error(), echoed) {
			t.Errorf("got %v, want ErrInvalid without %q", err, echoed)
		}
	}
}
