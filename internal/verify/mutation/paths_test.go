package mutation

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func matches(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }

// Packages server and client do not depend on one operation: the code of a document
// with 500 paths and all features of the mutations is generated and compiles, and
// the server passes values, defaults and nulls to the operations. Only the
// implementation does not compile, because it lacks the new methods.
func TestFiveHundredPaths(t *testing.T) {
	const more = 499
	m := copyModule(t)
	var paths, schemas, methods strings.Builder
	methods.WriteString("package main\n\nimport (\n\t\"context\"\n\n\t\"github.com/registryusers/registryusers/gen/apiserver\"\n)\n")
	for i := range more {
		path, schema := thing(i)
		paths.WriteString(path)
		schemas.WriteString(schema)
		for _, operation := range []string{"MakeThing", "RemoveThing"} {
			fmt.Fprintf(&methods, "\nfunc (implementation) %[1]s(_ context.Context, r apiserver.%[1]sRequestObject) (apiserver.%[1]sResponseObject, error) {\n\treturn nil, note(%[1]q, r)\n}\n",
				fmt.Sprint(operation, i))
		}
	}
	m.edit(t, doc("components:\n  schemas:\n", paths.String()+"components:\n  schemas:\n"+schemas.String()))
	if err := m.write("internal/probe/things.go", []byte(methods.String())); err != nil {
		t.Fatal(err)
	}
	for _, file := range configurations { // generate all operations, not only the listed ones
		m.edit(t, edit{file, includeList + included, ""})
	}
	m.generate(t, "")
	m.goes(t, "what is tied to no operation must compile", "build", "./gen/...", "./server", "./client", "./internal/probe")
	out, err := m.run(t, "", "go", "build", "./internal/api")
	if err == nil {
		t.Fatal("an implementation without the new operations compiles")
	}
	contains(t, out, []string{"internal/api/api.go", "missing method"})

	post := func(path, body string, header ...string) request {
		r := request{Method: "POST", Path: path, Body: body, Header: map[string]string{}}
		for i := 0; i < len(header); i += 2 {
			r.Header[header[i]] = header[i+1]
		}
		return r
	}
	const box = `{"kind":"box","size":1}`
	tests := []struct {
		request request
		want    string
	}{
		{create(`{"name":"user1","duration":14}`), `^404 CreateUser\{"project_id":1,"region_id":1,"registry_id":1,"Params":\{\},"Body":\{"duration":14,"name":"user1"\}\} \{`},
		// Defaults are filled in, in the query and the body.
		{post("/things0/7/a", box), `^404 MakeThing0\{"thing_id":7,"part":"a","Params":\{"limit":20\},"Body":\{"kind":"box","note":"none","size":1\}\} \{`},
		// Null is kept: it is not the default.
		{post("/things1/-8/z?limit=3", `{"kind":"bag","size":11,"note":null,"weight":null}`, "X-Mode", "safe"),
			`^404 MakeThing1\{"thing_id":-8,"part":"z","Params":\{"limit":3,"X-Mode":"safe"\},"Body":\{"kind":"bag","size":11\}\} \{`},
		{post("/things2/9223372036854775807/ab?limit=102", `{"kind":"box","size":12,"note":"","weight":0.5,"owner":{"name":"u1"},"labels":["a","b"]}`),
			`^404 MakeThing2\{"thing_id":9223372036854775807,"part":"ab","Params":\{"limit":102\},"Body":\{"kind":"box","labels":\["a","b"\],"note":"","owner":\{"name":"u1"\},"size":12,"weight":0.5\}\} \{`},
		{request{Method: "DELETE", Path: "/things492/7/a"}, `^404 RemoveThing492\{"thing_id":7,"part":"a"\} \{`},
		{post("/things498/7/a", `{"kind":"sack","size":1}`), `^400  .*"kind":\["must be one of box bag"\]`},
		{post("/things497/07/a", box), `^400  .*"thing_id"`},
		{post("/things496/7/A", box), `^400  .*"part":\["must match`},
		{post("/things495/7/a?limit=0", box), `^400  .*"limit":\["must be at least 1"\]`},
		{post("/things495/7/a?limit=596", box), `^400  .*"limit":\["must be at most 595"\]`},
		{post("/things494/7/a", `{"kind":"box","size":1,"more":true}`), `^400  .*has a field that is not allowed`},
		{post("/things493/7/a", `{"kind":"box"}`), `^400  .*"size":\["is required"\]`},
		{post("/things492/7/a", box, "X-Mode", "slow"), `^400  .*"X-Mode":\["must be one of fast safe"\]`},
		{request{Method: "GET", Path: "/things491/7/a"}, `^405  `},
	}
	var requests []request
	var want []string
	for _, test := range tests {
		requests, want = append(requests, test.request), append(want, test.want)
	}
	m.probe(t, requests, want)
}

// thing returns a path with two operations, and its schema.
func thing(i int) (path, schema string) {
	path = fmt.Sprintf(`  /things%[1]d/{thing_id}/{part}:
    post:
      operationId: MakeThing%[1]d
      parameters:
        - {in: path, name: thing_id, required: true, schema: {type: integer}}
        - {in: path, name: part, required: true, schema: {type: string, pattern: "^[a-z]+$"}}
        - {in: query, name: limit, schema: {type: integer, minimum: 1, maximum: %[2]d, default: 20}}
        - {in: header, name: X-Mode, schema: {type: string, enum: [fast, safe]}}
      requestBody:
        required: true
        content:
          application/json:
            schema:
              $ref: '#/components/schemas/Thing%[1]d'
      responses:
        '200':
          description: Made
          content:
            application/json:
              schema:
                $ref: '#/components/schemas/Thing%[1]d'
        '202':
          description: Accepted
        '402':
          description: Out of credit
    delete:
      operationId: RemoveThing%[1]d
      parameters:
        - {in: path, name: thing_id, required: true, schema: {type: integer}}
        - {in: path, name: part, required: true, schema: {type: string}}
      responses:
        '204':
          description: Removed
`, i, 100+i)
	schema = fmt.Sprintf(`    Thing%d:
      type: object
      required: [kind, size]
      additionalProperties: false
      properties:
        kind: {type: string, enum: [box, bag]}
        size: {type: integer, maximum: %d}
        note: {type: [string, 'null'], default: none}
        weight: {type: [number, 'null']}
        owner: {type: object, required: [name], properties: {name: {type: string, pattern: "^[a-z0-9]{1,16}$"}}}
        labels: {type: array, maxItems: 5, items: {type: string}}
`, i, 10+i)
	return path, schema
}
