package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/observe"
)

// line is a line of the access log.
type line struct {
	Level, Msg, Method, Error, Stack string
	ClientAddress                    string `json:"client_address"`
	RequestID                        string `json:"request_id"`
	Status                           int
	Bytes                            int64 `json:"response_bytes"`
	Incomplete                       bool
	UserID                           int64 `json:"user_id"`
}

// get sends a request to the observed handler, over a connection, and returns the
// response and the lines that were logged.
func get(t *testing.T, handler http.Handler, method string) (*http.Response, string, []line) {
	t.Helper()
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server := httptest.NewUnstartedServer(observe.Handler(handler, observe.Options{Logger: logger}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/secret/path?secret=query", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Request-Id", "the-clients-own")
	request.Header.Set("Authorization", "apikey secret")
	response, err := server.Client().Do(request)
	body := ""
	if err == nil {
		text, readErr := io.ReadAll(response.Body)
		response.Body.Close()
		body, err = string(text), readErr
	}
	server.Close()
	if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "the-clients-own") {
		t.Errorf("the log has what the client sent: %s", log.String())
	}
	var lines []line
	for text := range strings.Lines(log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		lines = append(lines, l)
	}
	if err != nil {
		return nil, body, lines
	}
	return response, body, lines
}

func TestEveryRequestHasAnIDAndALine(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		status  int
		level   string
		err     string
	}{
		"nothing written": {func(http.ResponseWriter, *http.Request) {}, 200, "INFO", ""},
		"a body":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, 200, "INFO", ""},
		"refused":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 404, "INFO", ""},
		"failed":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 503, "ERROR", ""},
		"failed with a cause": {func(w http.ResponseWriter, r *http.Request) {
			observe.From(r.Context()).SetCause(errors.New("the disk"))
			w.WriteHeader(500)
		}, 500, "ERROR", "the disk"},
		"busy": {func(w http.ResponseWriter, r *http.Request) {
			observe.From(r.Context()).Refused()
			w.WriteHeader(503)
		}, 503, "INFO", ""},
		"quiet": {func(_ http.ResponseWriter, r *http.Request) {
			observe.From(r.Context()).Quiet()
		}, 200, "DEBUG", ""},
		"quiet, and failed": {func(w http.ResponseWriter, r *http.Request) {
			observe.From(r.Context()).Quiet()
			w.WriteHeader(500)
		}, 500, "ERROR", ""},
		"a panic that is recovered": {func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				observe.From(r.Context()).SetPanic(recover())
				w.WriteHeader(500)
			}()
			panic("secret")
		}, 500, "ERROR", "panic with a value of type string"},
		"observed twice": {observe.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(202)
		}), observe.Options{}).ServeHTTP, 202, "INFO", ""},
	} {
		t.Run(name, func(t *testing.T) {
			response, body, lines := get(t, test.handler, http.MethodGet)
			if response == nil || len(lines) != 1 {
				t.Fatalf("got the response %v and the lines %+v, want one of each", response, lines)
			}
			l := lines[0]
			id := response.Header.Get("X-Request-Id")
			if response.StatusCode != test.status || len(id) != 26 {
				t.Errorf("got status %d and the id %q, want %d and one of 26 letters", response.StatusCode, id, test.status)
			}
			if l.Msg != "request" || l.RequestID != id || l.Status != test.status || l.Bytes != int64(len(body)) || l.Method != "GET" || l.ClientAddress == "" {
				t.Errorf("got the line %+v, want the request with the id %s, its status %d and %d bytes", l, id, test.status, len(body))
			}
			if l.Level != test.level || l.Error != test.err {
				t.Errorf("got the line %+v, want the level %s and the error %q", l, test.level, test.err)
			}
		})
	}
}

func TestAPanicClosesTheConnectionAndIsLogged(t *testing.T) {
	for name, test := range map[string]struct {
		value    any
		hasStack bool
		level    string
	}{
		"a value":         {"secret", true, "ERROR"},
		"ErrAbortHandler": {http.ErrAbortHandler, false, "INFO"},
	} {
		response, _, lines := get(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(test.value) }), http.MethodPost)
		if response != nil || len(lines) != 1 || !lines[0].Incomplete || (lines[0].Stack != "") != test.hasStack || lines[0].Level != test.level {
			t.Errorf("%s: got the response %v and the lines %+v; want none, and one at level %s, with a stack: %t", name, response, lines, test.level, test.hasStack)
		}
	}
}

func TestMethodsOfTheClientsOwnStayOutOfTheLog(t *testing.T) {
	_, _, lines := get(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "SECRET")
	if len(lines) != 1 || lines[0].Method != "other" {
		t.Errorf("got %+v, want the method other", lines)
	}
}

// Begin is called once for each request, and the function it returns once, with the response.
func TestBeginIsCalledForEachRequest(t *testing.T) {
	type key struct{}
	var ended []int
	handler := observe.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(key{}) != "span" || observe.From(r.Context()) == nil {
			t.Error("the handler's context lacks the value of Begin, or the record")
		}
		w.WriteHeader(http.StatusAccepted)
	}), observe.Options{
		Logger: slog.New(slog.DiscardHandler),
		Begin: func(r *http.Request) (context.Context, func(*observe.Record)) {
			return context.WithValue(r.Context(), key{}, "span"), func(record *observe.Record) { ended = append(ended, record.Writer.Status) }
		},
	})
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if len(ended) != 1 || ended[0] != http.StatusAccepted {
		t.Errorf("got the ends %v, want one with the status 202", ended)
	}
}

// plain is a response writer that has only its three methods, and detects a
// file by ReadFrom.
type plain struct {
	*httptest.ResponseRecorder
	files, flushes int
}

func (p *plain) ReadFrom(src io.Reader) (int64, error) {
	if _, ok := src.(*io.LimitedReader).R.(*os.File); ok {
		p.files++
	}
	return io.Copy(p.ResponseRecorder, src)
}

func (p *plain) FlushError() error {
	p.flushes++
	return nil
}

func TestWriterKeepsReadFromAndFlush(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 600<<10)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	steps := 0
	w := &plain{ResponseRecorder: httptest.NewRecorder()}
	observe.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observe.From(r.Context()).Writer.BeforeWrite(func() { steps++ })
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if n, err := io.CopyN(w, f, int64(len(content))); n != int64(len(content)) || err != nil {
			t.Errorf("got %d bytes, %v; want %d", n, err, len(content))
		}
		w.(http.Flusher).Flush()
	}), observe.Options{Logger: slog.New(slog.DiscardHandler)}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if !bytes.Equal(w.Body.Bytes(), content) || w.files != 3 || w.flushes != 1 {
		t.Errorf("got %d bytes, a file in %d steps, %d flushes; want %d, 3, 1", w.Body.Len(), w.files, w.flushes, len(content))
	}
	if steps != 1+3+1 { // the header, the steps of the file, the flush
		t.Errorf("got %d calls before a write, want 5", steps)
	}
}

func TestReplaceDropsTheHandlersResponse(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writer := &observe.From(r.Context()).Writer
		writer.Replace(func(status int) bool {
			if status != http.StatusTeapot {
				return false
			}
			writer.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(writer, "ours")
			return true
		})
		w.WriteHeader(http.StatusTeapot)
		n, err := io.WriteString(w, "the handler's")
		m, err2 := io.Copy(w, strings.NewReader("more of it"))
		w.(http.Flusher).Flush()
		if n != 13 || m != 10 || err != nil || err2 != nil {
			t.Errorf("the handler's writes: got %d, %v and %d, %v; want them taken", n, err, m, err2)
		}
	})
	response, body, lines := get(t, handler, http.MethodGet)
	if response.StatusCode != http.StatusConflict || body != "ours" || lines[0].Status != http.StatusConflict || lines[0].Bytes != 4 {
		t.Errorf("got %d %q and the line %+v, want 409 and what replaced it", response.StatusCode, body, lines[0])
	}
}
