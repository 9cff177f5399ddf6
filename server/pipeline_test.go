package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers/gen/apiserver"
)

// synthetic has features that the embedded document lacks. The checks come from the
// document, so they are tested with one that has more of them.
const synthetic = `
openapi: 3.1.0
info: {title: Synthetic, version: "1"}
security: [{Key: []}]
components:
  securitySchemes:
    Key: {type: apiKey, in: header, name: authorization}
paths:
  /things/{thing_id}:
    parameters:
      - {in: path, name: thing_id, required: true, schema: {type: integer, minimum: 1}}
      - {in: query, name: limit, schema: {type: integer, minimum: 1, maximum: 100, default: 20}}
      - {in: header, name: X-Trace, schema: {type: string, maxLength: 4}}
    get:
      operationId: ListThings
      parameters:
        - {in: query, name: offset, schema: {type: integer, minimum: 0, maximum: 5000000, default: 3000000}}
        - {in: query, name: order, schema: {type: string, enum: [up, down], default: up}}
        - {in: query, name: deep, schema: {type: boolean}}
        - {in: query, name: ratio, schema: {type: number, maximum: 1}}
        - {in: query, name: tag, schema: {type: array, maxItems: 2, items: {type: string, pattern: "^[a-z]+$"}, default: [x, y]}}
        - {in: query, name: id, explode: false, schema: {type: array, items: {type: integer}}}
        - {in: query, name: version, schema: {type: string, const: v1}}
        - {in: query, name: kind, required: true, schema: {type: string, minLength: 1}}
        - {in: header, name: X-Count, schema: {type: integer, minimum: 0, default: 5}}
        - {in: header, name: X-Mode, required: true, schema: {type: string, enum: [fast, safe]}}
        - {in: header, name: X-Parts, schema: {type: array, items: {type: integer}}}
      responses: {"204": {description: none}, default: {description: failed}}
    delete:
      operationId: DeleteThing
      parameters:
        - {in: query, name: limit, schema: {type: integer, minimum: 1000, default: 1000}}
      responses: {"204": {description: none}, default: {description: failed}}
    patch:
      operationId: ChangeThing
      requestBody:
        content:
          application/json:
            schema: {type: object, properties: {size: {type: integer, default: 5}}}
      responses: {"204": {description: none}, default: {description: failed}}
    put:
      operationId: PutThing
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [kind, owner]
              additionalProperties: false
              properties:
                kind: {type: string, enum: [box, bag]}
                limits:
                  type: object
                  default: {cpu: 2, list: [1, {a: 1.5}], note: null}
                owner:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string, minLength: 1}
                    role: {type: string, default: guest}
                    quota: {type: integer, default: 9007199254740991}
                members:
                  type: array
                  maxItems: 3
                  items:
                    type: object
                    required: [name]
                    properties:
                      name: {type: string}
                      weight: {type: number, default: 0.5}
                      admin: {type: boolean, default: false}
                free: {type: [string, "null"], default: text}
                labels:
                  type: object
                  additionalProperties: {type: string, maxLength: 3}
      responses: {"204": {description: none}, default: {description: failed}}
    post:
      operationId: CheckThing
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [kind]
              properties:
                kind: {type: string}
                version: {const: 2}
                size: {type: integer, default: 1}
                pair: {type: array, prefixItems: [{type: integer}, {type: string}], items: false}
              if: {properties: {kind: {const: box}}}
              then: {required: [width], properties: {width: {type: integer, minimum: 1}}}
      responses: {"204": {description: none}, default: {description: failed}}
  /names/{name}/parts/{part}:
    get:
      operationId: GetPart
      parameters:
        - {in: path, name: name, required: true, schema: {type: string, pattern: "^[a-z/]{2,5}$"}}
        - {in: path, name: part, required: true, schema: {type: string, maxLength: 4}}
      responses: {"204": {description: none}, default: {description: failed}}
`

// env is a server of the synthetic document that keeps the last request.
type env struct {
	*service
	request *http.Request // the last that reached the implementation
}

func newEnv(t *testing.T, edits ...func(*Options)) *env {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(synthetic))
	if err != nil {
		t.Fatal(err)
	}
	s := &env{}
	s.service = built(t, doc, func(mux apiserver.ServeMux) {
		for _, pattern := range []string{
			"GET /things/{thing_id}", "DELETE /things/{thing_id}", "PATCH /things/{thing_id}", "PUT /things/{thing_id}",
			"POST /things/{thing_id}", "GET /names/{name}/parts/{part}",
		} {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				s.request = r
				w.WriteHeader(http.StatusNoContent)
			})
		}
	}, edits...)
	return s
}

// sendThing sends a request whose query is not the marker.
func (s *env) sendThing(method, target string, header http.Header, body string) *httptest.ResponseRecorder {
	s.request = nil
	r := call{method: method, path: "/", header: header, body: strings.NewReader(body)}.request()
	r.URL, _ = url.ParseRequestURI(target)
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestParametersReachTheImplementation(t *testing.T) {
	s := newEnv(t)
	defaults := url.Values{"limit": {"20"}, "offset": {"3000000"}, "order": {"up"}, "tag": {"x", "y"}, "kind": {"k"}}
	with := func(name string, values ...string) url.Values {
		changed := url.Values{name: values}
		for name, values := range defaults {
			if changed[name] == nil {
				changed[name] = values
			}
		}
		return changed
	}
	for _, test := range []struct {
		query string
		want  url.Values
	}{
		{"kind=k", defaults},
		{"kind=k&limit=1", with("limit", "1")},
		{"kind=k&limit=100", with("limit", "100")},
		{"kind=k&limit=%31", with("limit", "1")},
		{"kind=k&offset=0", with("offset", "0")},
		{"kind=k&order=down", with("order", "down")},
		{"kind=k&deep=true", with("deep", "true")},
		{"kind=k&ratio=0.25", with("ratio", "0.25")},
		{"kind=k&tag=a", with("tag", "a")},
		{"kind=k&tag=a&tag=b", with("tag", "a", "b")},
		{"kind=k&id=1,2,-3", with("id", "1,2,-3")},
		{"kind=k&version=v1", with("version", "v1")},
		{"kind=k&unknown=1&unknown=2", with("unknown", "1", "2")},
		{"kind=%E2%82%AC", with("kind", "€")},
	} {
		w := s.sendThing("GET", "/things/7?"+test.query, http.Header{"X-Mode": {"fast"}}, "")
		if w.Code != 204 {
			t.Errorf("query %s: got %d %s, want 204", test.query, w.Code, w.Body)
			continue
		}
		if got := s.request.URL.Query(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("query %s:\ngot  %v\nwant %v", test.query, got, test.want)
		}
		if got := s.request.PathValue("thing_id"); got != "7" {
			t.Errorf("query %s: thing_id: got %q, want 7", test.query, got)
		}
	}
}

func TestHeadersReachTheImplementation(t *testing.T) {
	s := newEnv(t)
	for _, test := range []struct {
		name   string
		header http.Header
		want   string // of X-Count, X-Mode, X-Parts, X-Trace
	}{
		{"defaults", http.Header{"X-Mode": {"fast"}}, "5 fast  "},
		{"all", http.Header{"X-Mode": {"safe"}, "X-Count": {"0"}, "X-Parts": {"1,2"}, "X-Trace": {"abcd"}}, "0 safe 1,2 abcd"},
	} {
		w := s.sendThing("GET", "/things/7?kind=k", test.header, "")
		if w.Code != 204 {
			t.Errorf("%s: got %d %s, want 204", test.name, w.Code, w.Body)
			continue
		}
		h := s.request.Header
		if got := strings.Join([]string{h.Get("X-Count"), h.Get("X-Mode"), h.Get("X-Parts"), h.Get("X-Trace")}, " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestBadParameter(t *testing.T) {
	mode := http.Header{"X-Mode": {"fast"}}
	for _, test := range []struct {
		name   string
		target string
		header http.Header
		fields []string
	}{
		{"limit below", "/things/7?kind=k&limit=0", mode, []string{"limit"}},
		{"limit above", "/things/7?kind=k&limit=90210987", mode, []string{"limit"}},
		{"limit not canonical", "/things/7?kind=k&limit=01", mode, []string{"limit"}},
		{"limit with a sign", "/things/7?kind=k&limit=%2B1", mode, []string{"limit"}},
		{"limit a fraction", "/things/7?kind=k&limit=1.0", mode, []string{"limit"}},
		{"limit a word", "/things/7?kind=k&limit=m0rk3r", mode, []string{"limit"}},
		{"limit empty", "/things/7?kind=k&limit=", mode, []string{"limit"}},
		{"limit twice", "/things/7?kind=k&limit=1&limit=m0rk3r", mode, []string{"limit"}},
		{"order not of the enum", "/things/7?kind=k&order=m0rk3r", mode, []string{"order"}},
		{"order twice", "/things/7?kind=k&order=up&order=down", mode, []string{"order"}},
		{"deep not a boolean", "/things/7?kind=k&deep=m0rk3r", mode, []string{"deep"}},
		{"ratio above", "/things/7?kind=k&ratio=90210987", mode, []string{"ratio"}},
		{"ratio not a number", "/things/7?kind=k&ratio=m0rk3r", mode, []string{"ratio"}},
		{"too many tags", "/things/7?kind=k&tag=a&tag=b&tag=c", mode, []string{"tag"}},
		{"a tag against the pattern", "/things/7?kind=k&tag=m0rk3r", mode, []string{"tag"}},
		{"an id that is none", "/things/7?kind=k&id=1,m0rk3r", mode, []string{"id"}},
		{"version not the constant", "/things/7?kind=k&version=m0rk3r", mode, []string{"version"}},
		{"kind missing", "/things/7?limit=3", mode, []string{"kind"}},
		{"kind empty", "/things/7?kind=", mode, []string{"kind"}},
		{"query not percent-encoded", "/things/7?kind=k&m0rk3r=%zz", mode, []string{"query"}},
		{"semicolon in the query", "/things/7?kind=k;m0rk3r=1", mode, []string{"query"}},
		{"thing_id below", "/things/0?kind=k", mode, []string{"thing_id"}},
		{"thing_id not canonical", "/things/07?kind=k", mode, []string{"thing_id"}},
		{"mode missing", "/things/7?kind=k", http.Header{"X-Mode": nil}, []string{"X-Mode"}},
		{"mode not of the enum", "/things/7?kind=k", http.Header{"X-Mode": {"m0rk3r"}}, []string{"X-Mode"}},
		{"mode twice", "/things/7?kind=k", http.Header{"X-Mode": {"fast", "fast"}}, []string{"X-Mode"}},
		{"count a word", "/things/7?kind=k", http.Header{"X-Mode": {"fast"}, "X-Count": {"m0rk3r"}}, []string{"X-Count"}},
		{"count below", "/things/7?kind=k", http.Header{"X-Mode": {"fast"}, "X-Count": {"-90210987"}}, []string{"X-Count"}},
		{"parts of words", "/things/7?kind=k", http.Header{"X-Mode": {"fast"}, "X-Parts": {"1,m0rk3r"}}, []string{"X-Parts"}},
		{"trace too long", "/things/7?kind=k", http.Header{"X-Mode": {"fast"}, "X-Trace": {"m0rk3r"}}, []string{"X-Trace"}},
		{"several", "/things/x?limit=0&order=m0rk3r", http.Header{}, []string{"X-Mode", "kind", "limit", "order", "thing_id"}},
		{"name against the pattern", "/names/m0rk3r/parts/a", nil, []string{"name"}},
		{"part too long", "/names/ab/parts/m0rk3r", nil, []string{"part"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newEnv(t)
			s.wantError(t, s.sendThing("GET", test.target, test.header, ""), 400, "ValidationError", test.fields...)
			if s.request != nil {
				t.Error("the implementation was called")
			}
		})
	}
}

func TestPathParameterIsUnescapedOnce(t *testing.T) {
	s := newEnv(t)
	if w := s.sendThing("GET", "/names/a%2Fb/parts/%2525", nil, ""); w.Code != 204 {
		t.Fatalf("got %d %s, want 204", w.Code, w.Body)
	}
	if name, part := s.request.PathValue("name"), s.request.PathValue("part"); name != "a/b" || part != "%25" {
		t.Errorf("got %q, %q; want a/b, %%25", name, part)
	}
}

// An operation's parameter replaces its path's of the same name and place.
func TestOperationsParameterReplacesThePaths(t *testing.T) {
	s := newEnv(t)
	for _, test := range []struct{ query, want string }{{"limit=2000", "2000"}, {"", "1000"}} {
		w := s.sendThing("DELETE", "/things/7?"+test.query, nil, "")
		if w.Code != 204 {
			t.Errorf("query %q: got %d %s, want 204", test.query, w.Code, w.Body)
			continue
		}
		if got := s.request.URL.Query(); !reflect.DeepEqual(got, url.Values{"limit": {test.want}}) {
			t.Errorf("query %q: got %v, want limit %s", test.query, got, test.want)
		}
	}
	s.wantError(t, s.sendThing("DELETE", "/things/7?limit=50", nil, ""), 400, "ValidationError", "limit")
}

// validated returns the value that the generated code binds.
func validated(t *testing.T, r *http.Request) any {
	t.Helper()
	body, ok := r.Context().Value(apiserver.BodyKey{}).(apiserver.JSONBody)
	if !ok || r.Body != http.NoBody {
		t.Fatalf("got the value %T and the body %T, want a JSONBody and http.NoBody", r.Context().Value(apiserver.BodyKey{}), r.Body)
	}
	return body.Value
}

func TestDefaultsAreFilledAtEveryLevel(t *testing.T) {
	type object = map[string]any
	type array = []any
	limits := object{"cpu": int64(2), "list": array{int64(1), object{"a": 1.5}}, "note": nil}
	for _, test := range []struct {
		body string
		want object
	}{
		{
			`{"kind":"box","owner":{"name":"a"}}`,
			object{"kind": "box", "limits": limits, "free": "text",
				"owner": object{"name": "a", "role": "guest", "quota": int64(9007199254740991)}},
		},
		{
			`{"kind":"bag","owner":{"name":"a","role":"","quota":0},"free":null,"limits":{},"members":[],"labels":{"k":"v"}}`,
			object{"kind": "bag", "limits": object{}, "free": nil, "members": array{}, "labels": object{"k": "v"},
				"owner": object{"name": "a", "role": "", "quota": int64(0)}},
		},
		{
			`{"kind":"box","owner":{"name":"a","quota":2e0},"members":[{"name":"b"},{"name":"c","weight":1.0,"admin":true}]}`,
			object{"kind": "box", "limits": limits, "free": "text",
				"owner": object{"name": "a", "role": "guest", "quota": int64(2)},
				"members": array{
					object{"name": "b", "weight": 0.5, "admin": false},
					object{"name": "c", "weight": int64(1), "admin": true},
				}},
		},
	} {
		s := newEnv(t)
		for range 2 { // a changed default would show the second time
			w := s.sendThing("PUT", "/things/7", nil, test.body)
			if w.Code != 204 {
				t.Fatalf("body %s: got %d %s, want 204", test.body, w.Code, w.Body)
			}
			got := validated(t, s.request).(object)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("body %s:\ngot  %#v\nwant %#v", test.body, got, test.want)
			}
			if filled, ok := got["limits"].(object)["list"].(array); ok {
				filled[0] = marker
			}
		}
	}
}

func TestBadNestedBody(t *testing.T) {
	for _, test := range []struct {
		name, method, body string
		fields             []string
	}{
		{"nested field missing", "PUT", `{"kind":"box","owner":{}}`, []string{"owner.name"}},
		{"nested field too short", "PUT", `{"kind":"box","owner":{"name":""}}`, []string{"owner.name"}},
		{"nested object null", "PUT", `{"kind":"box","owner":null}`, []string{"owner"}},
		{"in an array", "PUT", `{"kind":"box","owner":{"name":"a"},"members":[{"name":"b"},{"name":1},{"weight":"m0rk3r","name":"c"}]}`,
			[]string{"members.1.name", "members.2.weight"}},
		{"too many members", "PUT", `{"kind":"box","owner":{"name":"a"},"members":[{"name":"b"},{"name":"b"},{"name":"b"},{"name":"b"}]}`, []string{"members"}},
		{"not of the enum", "PUT", `{"kind":"m0rk3r","owner":{"name":"a"}}`, []string{"kind"}},
		{"a field that is not allowed", "PUT", `{"kind":"box","owner":{"name":"a"},"m0rk3r":1}`, nil},
		{"a name of the caller's own", "PUT", `{"kind":"box","owner":{"name":"a"},"labels":{"m0rk3r":"m0rk3r"}}`, []string{"labels.*"}},
		{"not the constant", "POST", `{"kind":"bag","version":90210987}`, []string{"version"}},
		{"then: required", "POST", `{"kind":"box"}`, []string{"width"}},
		{"then: minimum", "POST", `{"kind":"box","width":-90210987}`, []string{"width"}},
		{"prefixItems", "POST", `{"kind":"bag","pair":[1,90210987]}`, []string{"pair.1"}},
		{"more items than prefixItems", "POST", `{"kind":"bag","pair":[1,"a","m0rk3r"]}`, []string{"pair.2"}},
		{"for the engine: required", "POST", `{"size":1}`, []string{"kind", "width"}},
		{"for the engine: null", "POST", `null`, nil},
		{"for the engine: a number nearly an integer", "POST", `{"kind":"bag","size":90210987.0000000000000000001}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newEnv(t)
			s.wantError(t, s.sendThing(test.method, "/things/7", nil, test.body), 400, "ValidationError", test.fields...)
			if s.request != nil {
				t.Error("the implementation was called")
			}
			if t.Failed() {
				t.Logf("input: %s", test.body)
			}
		})
	}
}

func TestBodyOfTheEngineReachesTheImplementation(t *testing.T) {
	for _, test := range []struct {
		body string
		want map[string]any
	}{
		{`{"kind":"bag"}`, map[string]any{"kind": "bag", "size": int64(1)}},
		{`{"kind":"box","width":1.0,"version":2.0,"size":3e0}`, map[string]any{"kind": "box", "width": int64(1), "version": int64(2), "size": int64(3)}},
		{`{"kind":"bag","pair":[1,"a"]}`, map[string]any{"kind": "bag", "size": int64(1), "pair": []any{int64(1), "a"}}},
	} {
		s := newEnv(t)
		if w := s.sendThing("POST", "/things/7", nil, test.body); w.Code != 204 {
			t.Errorf("body %s: got %d %s, want 204", test.body, w.Code, w.Body)
		} else if got := validated(t, s.request); !reflect.DeepEqual(got, test.want) {
			t.Errorf("body %s:\ngot  %#v\nwant %#v", test.body, got, test.want)
		}
	}
}

func TestOptionalBody(t *testing.T) {
	s := newEnv(t)
	none := http.Header{"Content-Type": nil}
	if w := s.sendThing("PATCH", "/things/7", none, ""); w.Code != 204 {
		t.Errorf("no body: got %d %s, want 204", w.Code, w.Body)
	} else if s.request.Body != http.NoBody {
		t.Errorf("no body: got %T, want http.NoBody", s.request.Body)
	}
	if w := s.sendThing("PATCH", "/things/7", nil, "{}"); w.Code != 204 {
		t.Errorf("a body: got %d %s, want 204", w.Code, w.Body)
	} else if got, want := validated(t, s.request), (map[string]any{"size": int64(5)}); !reflect.DeepEqual(got, want) {
		t.Errorf("a body: got %v, want %v", got, want)
	}
	s.wantError(t, s.sendThing("PATCH", "/things/7", nil, `{"size":"m0rk3r"}`), 400, "ValidationError", "size")
	s.wantError(t, s.sendThing("PATCH", "/things/7", none, `{}`), 415, "HTTPError")
	s.wantError(t, s.sendThing("PUT", "/things/7", none, ``), 415, "HTTPError") // not optional
}

// An operation without a body gets none, so nothing unvalidated is used.
func TestUndeclaredBodyIsDropped(t *testing.T) {
	s := newEnv(t)
	if w := s.sendThing("DELETE", "/things/7", nil, validBody); w.Code != 204 {
		t.Fatalf("got %d %s, want 204", w.Code, w.Body)
	}
	if s.request.Body != http.NoBody {
		t.Errorf("body: got %T, want http.NoBody", s.request.Body)
	}
}

func TestAllowListsThePathsMethods(t *testing.T) {
	s := newEnv(t)
	w := s.sendThing("TRACE", "/things/7", nil, "")
	s.wantError(t, w, 405, "HTTPError")
	wantHeader(t, w, "Allow", "DELETE, GET, HEAD, PATCH, POST, PUT")
}
