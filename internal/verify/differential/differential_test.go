package differential

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"go.yaml.in/yaml/v3"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/server"
)

const vendored = "../../../api/cloud_api.yaml"

// env has the reference and the server that are compared, and counts the results.
type env struct {
	reference validator.Validator // of the reference
	defaults  map[string]any      // of the fields, from the document

	handler http.Handler // the server
	log     bytes.Buffer
	reached *apiserver.CreateUserRequestObject // of the last request; nil: it did not reach the implementation

	unknown []string // fields of the last request, from the log

	sent     int
	refused  map[hazard]int
	accepted int
	broken   map[string]int // by the server's text for a violation
}

func newEnv(t testing.TB) *env {
	t.Helper()
	e := &env{refused: map[hazard]int{}, broken: map[string]int{}}
	text, err := os.ReadFile(vendored)
	if err != nil {
		t.Fatal(err)
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	if e.reference, errs = validator.NewValidator(document); len(errs) > 0 {
		t.Fatal(errs)
	}
	e.defaults = defaults(t, text)
	e.handler, err = server.New(&implementation{env: e}, server.Options{
		Authenticator:     server.AuthenticatorFunc(func(ctx context.Context, _ server.AuthenticationRequest) (context.Context, error) { return ctx, nil }),
		Logger:            slog.New(slog.NewJSONHandler(&e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		ValidateResponses: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// defaults reads the defaults of the create body's fields.
func defaults(t testing.TB, text []byte) map[string]any {
	t.Helper()
	var document struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Default any }
			}
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	for name, property := range document.Components.Schemas["RegistryUserCreateSerializer"].Properties {
		if property.Default != nil {
			all[name] = property.Default
		}
	}
	if len(all) == 0 {
		t.Fatal("the document has no defaults where they are looked for")
	}
	return all
}

// implementation records the request objects of CreateUser. It inherits the other
// operations, which nothing calls.
type implementation struct {
	apiserver.StrictServerInterface
	env *env
}

func (i *implementation) CreateUser(_ context.Context, r apiserver.CreateUserRequestObject) (apiserver.CreateUserResponseObject, error) {
	i.env.reached = &r
	now := time.Date(2026, 5, 7, 20, 33, 46, 0, time.UTC)
	return apiserver.CreateUser201JSONResponse{Body: models.CreatedUser{
		ID: 1, Name: r.Body.Name, Duration: r.Body.Duration, ReadOnly: r.Body.ReadOnly, Secret: r.Body.Secret, CreatedAt: now, ExpiresAt: now,
	}}, nil
}

// send sends a request to the server, and checks that neither the response nor the
// log contains a marker, apart from the log's names of unknown fields.
func (e *env) send(t *testing.T, what string, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	r.Header.Set("Authorization", "apikey 1$"+marker)
	r.Header.Set("Content-Type", "application/json")
	e.reached = nil
	e.log.Reset()
	e.sent++
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	var line map[string]json.RawMessage
	err := json.Unmarshal(e.log.Bytes(), &line)
	if e.unknown = nil; line["unknown_fields"] != nil {
		err = errors.Join(err, json.Unmarshal(line["unknown_fields"], &e.unknown))
		delete(line, "unknown_fields")
	}
	rest, marshalErr := json.Marshal(line)
	if err = errors.Join(err, marshalErr); err != nil {
		t.Errorf("%s: the log is not one line: %v\n%s", what, err, &e.log)
	}
	output := fmt.Sprint(string(rest), w.Header())
	if w.Code != http.StatusCreated { // a 201 has the caller's name and secret
		output += w.Body.String()
	}
	for _, secret := range []string{marker, strings.ToUpper(marker), markerNumber, markerFloat} {
		if strings.Contains(output, secret) {
			t.Errorf("%s: the response or the log quotes it:\n%s", what, output)
		}
	}
	if w.Code >= 500 {
		t.Errorf("%s: got %d %s\n%s", what, w.Code, w.Body, &e.log)
	}
	return w
}

// unknown returns the names of a body's fields that the log must have.
func unknown(fields map[string]any) (names []string) {
	for name := range fields {
		if slices.Contains([]string{"duration", "name", "read_only", "secret"}, name) {
			continue
		}
		if len(name) > 64 {
			cut := ""
			for _, r := range name {
				if len(cut)+utf8.RuneLen(r) > 61 {
					break
				}
				cut += string(r)
			}
			name = cut + "…"
		}
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
			name = strconv.Quote(name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), 8)]
}

// createBody has the fields of the generated body: a conversion that no longer
// compiles shows that there is another field to compare.
type createBody struct {
	Duration int64
	Name     string
	ReadOnly bool
	Secret   registryusers.SecretText
}

// body compares the reference and the server on a body.
func (e *env) body(t *testing.T, text []byte) {
	t.Helper()
	what := fmt.Sprintf("body %q", text[:min(len(text), 2000)])
	target := "/cloud/v1/registries/1/2/3/users"
	w := e.send(t, what, httptest.NewRequest(http.MethodPost, target, bytes.NewReader(text)))
	if len(text) > server.MaxBodyBytes { // not parsed
		if w.Code != http.StatusRequestEntityTooLarge || e.reached != nil {
			t.Errorf("%s: got %d, reached the implementation: %t; want 413 for %d bytes", what, w.Code, e.reached != nil, len(text))
		}
		return
	}
	value, hazards, err := parse(text)
	for h := range hazards {
		e.refused[h]++
	}
	valid := err == nil && len(hazards) == 0
	if valid {
		r := httptest.NewRequest(http.MethodPost, "https://api.gcore.com"+target, bytes.NewReader(text))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "apikey 1$x")
		valid, _ = e.reference.ValidateHttpRequestSync(r)
	}
	if !valid {
		if w.Code != http.StatusBadRequest || e.reached != nil || e.unknown != nil {
			t.Errorf("%s: the reference refuses it (%v, hazards %v); the server: %d, reached the implementation: %t", what, err, hazards, w.Code, e.reached != nil)
		}
		var response struct {
			InvalidFields map[string][]string `json:"invalid_fields"`
		}
		if json.Unmarshal(w.Body.Bytes(), &response) == nil {
			for _, whys := range response.InvalidFields {
				for _, why := range whys {
					e.broken[why]++
				}
			}
		}
		return
	}
	e.accepted++
	if w.Code != http.StatusCreated || e.reached == nil {
		t.Errorf("%s: the reference accepts it; the server: %d %s", what, w.Code, w.Body)
		return
	}
	fields := value.(map[string]any)
	if want := unknown(fields); !slices.Equal(e.unknown, want) {
		t.Errorf("%s: the log has the unknown fields %q, want %q", what, e.unknown, want)
	}
	for name, value := range e.defaults {
		if _, ok := fields[name]; !ok {
			fields[name] = value
		}
	}
	got := createBody(*e.reached.Body)
	duration, _ := fields["duration"].(number)
	if got.Name != fields["name"] || got.ReadOnly != fields["read_only"] || got.Secret.Reveal() != fields["secret"] ||
		duration.integer == nil || duration.integer.Cmp(big.NewInt(got.Duration)) != 0 {
		t.Errorf("%s: the implementation got {%q %d %t %q}, want %v", what, got.Name, got.Duration, got.ReadOnly, got.Secret.Reveal(), fields)
	}
	r := *e.reached
	r.Body = nil
	if want := (apiserver.CreateUserRequestObject{ProjectID: 1, RegionID: 2, RegistryID: 3}); r != want {
		t.Errorf("%s: the implementation also got %+v, want %+v", what, r, want)
	}
}

// canonical matches an id in canonical form.
var canonical = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// clean matches a segment of a path by RFC 3986, section 3.3.
var clean = regexp.MustCompile(`^([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+$`)

// isClean reports whether a path's segments can only be those of the operation,
// with valid ids or not.
func isClean(segments []string) bool {
	return len(segments) == 8 && segments[7] == "users" && !slices.ContainsFunc(segments[4:7], func(segment string) bool {
		return segment == "." || segment == ".." || !clean.MatchString(segment)
	})
}

// pathRequest returns a request with the three segments in its path, as it arrives
// at a server, or the error of net/http, which responds 400 itself.
func pathRequest(segments [3]string) (target string, r *http.Request, err error) {
	const body = `{"name":"user1","duration":14}`
	target = "/cloud/v1/registries/" + strings.Join(segments[:], "/") + "/users"
	if strings.ContainsAny(target, "\r\n") {
		return target, nil, errors.New("not one request's line")
	}
	r, err = http.ReadRequest(bufio.NewReader(strings.NewReader(
		"POST " + target + " HTTP/1.1\r\nHost: registry.example\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)))
	return target, r, err
}

// ids compares the reference and the server on three segments of a path. It sends
// them as they are, or percent-encoded if they cannot be sent.
func (e *env) ids(t *testing.T, segments [3]string) {
	t.Helper()
	target, r, err := pathRequest(segments)
	if err != nil {
		for i := range segments {
			segments[i] = url.PathEscape(segments[i])
		}
		if target, r, err = pathRequest(segments); err != nil {
			t.Fatal(err)
		}
	}
	what := fmt.Sprintf("path %q", target)
	w := e.send(t, what, r)

	path, _, _ := strings.Cut(target, "?")
	sent := strings.Split(path, "/")
	valid := len(sent) == 8 && sent[7] == "users" // else it is another path
	var want [3]int64
	for i := 0; valid && i < 3; i++ {
		text, err := url.PathUnescape(sent[4+i])
		if valid = err == nil && canonical.MatchString(text); !valid {
			e.refused[oddID]++
			break
		}
		want[i], err = strconv.ParseInt(text, 10, 64)
		if valid = err == nil; !valid { // more than 64 bits
			e.refused[oddID]++
		}
	}
	if valid {
		r := httptest.NewRequest(http.MethodPost, fmt.Sprintf("https://api.gcore.com/cloud/v1/registries/%d/%d/%d/users", want[0], want[1], want[2]), strings.NewReader(`{"name":"user1","duration":14}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "apikey 1$x")
		if ok, errs := e.reference.ValidateHttpRequestSync(r); !ok {
			t.Fatalf("%s: the reference refuses integers: %v", what, errs)
		}
		e.accepted++
		if w.Code != http.StatusCreated || e.reached == nil || [3]int64{e.reached.ProjectID, e.reached.RegionID, e.reached.RegistryID} != want {
			t.Errorf("%s: got %d, %+v; want 201 with %d", what, w.Code, e.reached, want)
		}
		return
	}
	if w.Code != http.StatusBadRequest && (w.Code != http.StatusNotFound || isClean(sent)) || e.reached != nil {
		t.Errorf("%s: got %d, reached the implementation: %t; want 400, or 404 of what may be another path", what, w.Code, e.reached != nil)
	}
}

// FuzzBody compares the reference and the server on the fuzzer's bytes, and on a
// body that a grammar generates from them: two requests each time.
func FuzzBody(f *testing.F) {
	e := newEnv(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := e.sent
		e.body(t, data)
		e.body(t, newChoices(data).body())
		if e.sent != before+2 {
			t.Errorf("%d requests are sent, want 2", e.sent-before)
		}
	})
}

// FuzzIDs does the same with the ids of a path, which are the lines of the fuzzer's
// bytes.
func FuzzIDs(f *testing.F) {
	e := newEnv(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := e.sent
		e.ids(t, segments(data))
		choices := newChoices(data)
		e.ids(t, [3]string{choices.id(), choices.id(), choices.id()})
		if e.sent != before+2 {
			t.Errorf("%d requests are sent, want 2", e.sent-before)
		}
	})
}

func segments(data []byte) [3]string {
	var s [3]string
	copy(s[:], strings.SplitN(string(data), "\n", 3))
	return s
}

// seeds reads the committed seeds of a fuzz test.
func seeds(t *testing.T, name string) [][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "fuzz", name, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		literal, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "go test fuzz v1\n[]byte(")
		seed, err := strconv.Unquote(strings.TrimSuffix(literal, ")"))
		if !ok || err != nil {
			t.Fatalf("%s is not a seed: %v", file, err)
		}
		all = append(all, []byte(seed))
	}
	return all
}

// The seeds exist and are useful: they contain every hazard, violate every rule, and
// have every notation that the server accepts.
func TestSeedsOfBodies(t *testing.T) {
	e := newEnv(t)
	all := seeds(t, "FuzzBody")
	for _, seed := range all {
		e.body(t, seed)
	}
	for _, h := range refusals {
		if h != oddID && e.refused[h] == 0 {
			t.Errorf("no seed is refused for: %s", h)
		}
	}
	for _, rule := range []string{
		"is required", "must match ^[a-z0-9]{0,16}$", "must be at least -1", "must be at most 365",
		"must be of type string", "must be of type integer", "must be of type boolean",
	} {
		if e.broken[rule] == 0 {
			t.Errorf("no seed gets %q; the seeds get %v", rule, e.broken)
		}
	}
	for _, spelling := range []string{
		`"duration":14}`, `"duration":14.0}`, `"duration":1.4e1}`, `"duration":140E-1}`, `"duration":-0}`, `"duration":-1}`, `"duration":365}`,
		`"name":""`, `"n\u0061me"`, `"NAME"`, `"secret":""`, `"read_only":true`,
	} {
		if !slices.ContainsFunc(all, func(seed []byte) bool {
			before := e.accepted
			if bytes.Contains(seed, []byte(spelling)) {
				e.body(t, seed)
			}
			return e.accepted > before
		}) {
			t.Errorf("no seed with %s is accepted", spelling)
		}
	}
}

func TestSeedsOfIDs(t *testing.T) {
	e := newEnv(t)
	all := seeds(t, "FuzzIDs")
	for _, seed := range all {
		e.ids(t, segments(seed))
	}
	if e.refused[oddID] < 10 || e.accepted < 5 {
		t.Errorf("of %d seeds %d are refused as ids, and %d accepted; want 10 and 5", len(all), e.refused[oddID], e.accepted)
	}
}

// The grammars reach everything: all that they generate is sent, much of it is
// accepted, and the rest is refused for every reason.
func TestTheGrammarReachesEverything(t *testing.T) {
	bodies, paths := newEnv(t), newEnv(t)
	const times = 6000
	for i := range times {
		choices := newChoices([]byte(strconv.Itoa(i)))
		choices.data = nil // decide at random from the start
		bodies.body(t, choices.body())
		paths.ids(t, [3]string{choices.id(), choices.id(), choices.id()})
	}
	for _, h := range refusals {
		of := bodies
		if h == oddID {
			of = paths
		}
		if of.refused[h] == 0 {
			t.Errorf("of %d none is refused for: %s", times, h)
		}
	}
	for name, e := range map[string]*env{"bodies": bodies, "paths": paths} {
		if e.sent != times || e.accepted < times/50 {
			t.Errorf("of %d %s %d are sent and %d accepted; want all and a fiftieth", times, name, e.sent, e.accepted)
		}
	}
	if len(bodies.broken) < 7 {
		t.Errorf("of %d bodies %d rules are broken, want 7: %v", times, len(bodies.broken), bodies.broken)
	}
}
