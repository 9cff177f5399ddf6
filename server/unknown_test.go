package server

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/gen/models"
)

// unknownBodies have fields that the document does not name, by the operation of the two
// documents: one whose body generated code decodes, and one that is validated by the document.
var unknownBodies = []struct {
	method, path, body string
	status             int
	want               []string
}{
	{"POST", usersPath, `{"name":"a","duration":1}`, 201, nil},
	{"POST", usersPath, `{"name":"a","duration":1,"readonly":true}`, 201, []string{"readonly"}},
	{"POST", usersPath, `{"READ_ONLY":true,"duration":1,"more":{"name":[1]},"name":"a","n\u0061mes":1}`, 201, []string{"READ_ONLY", "more", "names"}},
	{"POST", usersPath, `{"name":"a","duration":1,"":1,"a\nb":1,"\u202e":1,"é \"":1}`, 201, []string{`""`, `"\u202e"`, `"a\nb"`, `é "`}},
	{"POST", usersPath, `{"name":"a","duration":1,` + manyFields("x", 12) + `}`, 201, []string{"x0", "x1", "x10", "x11", "x2", "x3", "x4", "x5"}},
	{"POST", usersPath, `{"name":"a","duration":1,"` + strings.Repeat("b", 64) + `":1,"` + strings.Repeat("c", 65) + `":1,"` + strings.Repeat("é", 40_000) + `":1}`, 201,
		[]string{strings.Repeat("b", 64), strings.Repeat("c", 61) + "…", strings.Repeat("é", 30) + "…"}},
	{"PATCH", "/things/7", `{"size":1}`, 204, nil},
	{"PATCH", "/things/7", `{"Size":1,"":1,"a\nb":1,` + manyFields("x", 9) + `}`, 204, []string{`""`, `"a\nb"`, "Size", "x0", "x1", "x2", "x3", "x4"}},
	{"PUT", "/things/7", `{"kind":"box","owner":{"name":"a","Role":1},"labels":{"any":"x"},"limits":{"any":1},"members":[{"name":"a"},{"name":"b","admim":true}]}`, 204,
		[]string{"members.1.admim", "owner.Role"}},
	{"POST", "/things/7", `{"kind":"box","width":1,"pair":[1,"a"]}`, 204, nil},
	{"POST", "/things/7", `{"kind":"bag","with":1}`, 204, []string{"with"}},
}

func manyFields(name string, n int) string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"%s%d":%d`, name, i, i))
	}
	return strings.Join(fields, ",")
}

// sendUnknown sends a body through the wire and returns the response and the log's line.
func sendUnknown(t *testing.T, method, path, body string, edits ...func(*Options)) (status int, response models.Error, line map[string]any) {
	t.Helper()
	s := newService(t, created, edits...)
	if path != usersPath {
		s = newEnv(t, edits...).service
	}
	server := httptest.NewServer(s)
	defer server.Close()
	r, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"apikey token"}, "Content-Type": {"application/json"}}
	got, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode >= 400 && json.Unmarshal(text, &response) != nil {
		t.Fatalf("%s: %v", text, err)
	}
	server.Close() // waits for the handler, which logs last
	if err := json.Unmarshal([]byte(s.log.String()), &line); err != nil {
		t.Fatalf("log %s: %v", s.log, err)
	}
	return got.StatusCode, response, line
}

// Unknown fields are accepted, and logged by name: "readonly" creates a user that can push.
func TestUnknownFieldsAreLogged(t *testing.T) {
	for _, test := range unknownBodies {
		status, _, line := sendUnknown(t, test.method, test.path, test.body)
		var got []string
		names, _ := line["unknown_fields"].([]any)
		for _, name := range names {
			got = append(got, name.(string))
		}
		level := "WARN"
		if test.want == nil {
			level = "INFO"
		}
		if status != test.status || line["level"] != level || !slices.Equal(got, test.want) {
			t.Errorf("%s %.200s: got %d, unknown fields %q at %v; want %d, %q at %s", test.method, test.body, status, got, line["level"], test.status, test.want, level)
		}
	}
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	refuse := func(o *Options) { o.RefuseUnknownFields = true }
	for _, test := range unknownBodies {
		status, response, line := sendUnknown(t, test.method, test.path, test.body, refuse)
		if test.want == nil {
			if status != test.status {
				t.Errorf("%s %s: got %d %+v, want %d", test.method, test.body, status, response, test.status)
			}
			continue
		}
		if got := slices.Sorted(maps.Keys(response.InvalidFields)); status != 400 || line["level"] != "INFO" || line["unknown_fields"] != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s %.200s: got %d, invalid fields %q, the log %v; want 400, %q, and one line at INFO", test.method, test.body, status, got, line, test.want)
		}
	}
	status, response, _ := sendUnknown(t, "POST", usersPath, `{"name":"A","duration":1,"readonly":true}`, refuse)
	want := map[string][]string{"name": {"must match ^[a-z0-9]{0,16}$"}, "readonly": {"is not a known field"}}
	if status != 400 || response.Message != "the request is not valid" || !reflect.DeepEqual(response.InvalidFields, want) {
		t.Errorf("an unknown field and a violation: got %d %+v, want 400 with %v", status, response, want)
	}
}

// A field whose place the document leaves to additionalProperties is not unknown: it is
// accepted, or violates the document.
func TestFieldsOfTheDocumentsAdditionalPropertiesAreNotUnknown(t *testing.T) {
	status, response, line := sendUnknown(t, "PUT", "/things/7", `{"kind":"box","owner":{"name":"a"},"more":1}`, func(o *Options) { o.RefuseUnknownFields = true })
	if status != 400 || response.Message != "the body has a field that is not allowed" || response.InvalidFields != nil || line["unknown_fields"] != nil {
		t.Errorf("got %d %+v, the log %v; want one violation of the body", status, response, line)
	}
}
