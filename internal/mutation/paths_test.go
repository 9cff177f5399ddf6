package mutation

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func matches(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }

// Nothing in server or client is tied to one operation: a document of 500
// paths, with everything in it that the mutations bring, is generated, compiles
// and is served, without a line of code for the new operations. The
// implementation alone does not compile, as it lacks their methods.
func TestFiveHundredPaths(t *testing.T) {
	const more = 499
	m := copyModule(t)
	var paths, schemas strings.Builder
	for i := range more {
		path, schema := thing(i)
		paths.WriteString(path)
		schemas.WriteString(schema)
	}
	m.edit(t, doc("components:\n  schemas:\n", paths.String()+"components:\n  schemas:\n"+schemas.String()))
	m.generate(t, "")
	m.goes(t, "what is tied to no operation must compile", "build", "./gen/...", "./server", "./client", "./internal/probe")
	out, err := m.run(t, "", "go", "build", "./internal/api")
	if err == nil {
		t.Fatal("an implementation without the new operations compiles")
	}
	contains(t, out, []string{"internal/api/api.go", "missing method"})

	m.probe(t, []request{
		create(`{"name":"user1","duration":14}`),
		{"POST", "/things0/7/a", `{"kind":"box","size":1}`},
		{"POST", "/things498/7/a", `{"kind":"sack","size":1}`},
		{"POST", "/things497/07/a", `{"kind":"box","size":1}`},
		{"POST", "/things496/7/A", `{"kind":"box","size":1}`},
		{"POST", "/things495/7/a?limit=0", `{"kind":"box","size":1}`},
		{"POST", "/things494/7/a", `{"kind":"box","size":1,"more":true}`},
		{"POST", "/things493/7/a", `{"kind":"box"}`},
		{"DELETE", "/things492/7/a", ``},
		{"GET", "/things491/7/a", ``},
	}, []string{
		`^404 \{"duration":14,"name":"user1"\}\{`,
		`^500 `, // it reaches the implementation, which has no such method
		`^400 .*"kind":\["must be one of box bag"\]`,
		`^400 .*"thing_id"`,
		`^400 .*"part":\["must match`,
		`^400 .*"limit":\["must be at least 1"\]`,
		`^400 .*has a field that is not allowed`,
		`^400 .*"size":\["is required"\]`,
		`^500 `,
		`^405 `,
	})
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
