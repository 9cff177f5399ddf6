package main

import (
	"slices"
	"strings"
	"testing"
)

const operation = "POST /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users"

// changes returns the description of the changes that edits, pairs of old and new
// text, make to the vendored document.
func changes(t *testing.T, pairs ...string) string {
	t.Helper()
	return compare(t, vendored(t), edit(t, vendored(t), pairs...))
}

// compare returns the description of the changes from base to revision.
func compare(t *testing.T, base, revision string) string {
	t.Helper()
	old, err := document1(base).load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newer, err := document1(revision).load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return describeChanges(old, newer, func(string) bool { return true })
}

func TestChangesAreReported(t *testing.T) {
	const (
		breaks = "Breaks callers:\n"
		may    = "May break callers:\n"
		other  = "Other changes:\n"
		name   = "pattern: ^[a-z0-9]{0,16}$\n          title: Name\n          type: string"
		id     = "title: Id\n          type: integer"
	)
	in := func(text string) string { return "  " + operation + "\n    " + text }
	for _, test := range []struct {
		name  string
		pairs []string
		want  []string // from the beginning of a group
	}{
		{"tighter pattern", []string{"{0,16}", "{1,16}"}, []string{may + in("changed the pattern of the request property `name`")}},
		{"wider maximum", []string{"maximum: 365", "maximum: 730"}, []string{other + in("the `duration` request property's max was increased from `365.00` to `730.00`")}},
		{"tighter maximum", []string{"maximum: 365", "maximum: 30"}, []string{breaks + in("the `duration` request property's max was decreased to `30.00`")}},
		{"exclusive maximum", []string{"maximum: 365", "exclusiveMaximum: 365"}, []string{breaks + in("the `duration` request property's exclusiveMaximum was set"), other}},
		{"length", []string{name, name + "\n          minLength: 1"}, []string{breaks + in("the `name` request property's minLength was set to `1`")}},
		{"nullable request field", []string{name, strings.Replace(name, "type: string", "type: [string, 'null']", 1)}, []string{other + in("the request property `name` became nullable")}},
		{"nullable response field", []string{id, strings.Replace(id, "integer", "[integer, 'null']", 1)}, []string{breaks + in("the response property `id` became nullable")}},
		{"type of a response field", []string{id, strings.Replace(id, "integer", "string", 1)}, []string{breaks + in("the `id` response's property `type` changed")}},
		{"new required field", []string{"        read_only:\n", "        role:\n          type: string\n        read_only:\n", "      required:\n        - name\n", "      required:\n        - role\n        - name\n"},
			[]string{breaks + in("added the new required request property `role`")}},
		{"new optional field", []string{"        read_only:\n", "        role:\n          type: string\n        read_only:\n"}, []string{other + in("added the new optional request property `role`")}},
		{"removed request field", []string{"        read_only:\n          default: false\n", "        writable:\n          default: false\n"},
			[]string{may + in("removed the request property `read_only`"), other + in("added the new optional request property `writable`")}},
		{"removed response field", []string{"        expires_at:\n", "        ends_at:\n", "        - expires_at\n", "        - ends_at\n"},
			[]string{breaks + in("removed the required property `expires_at` from the response with the `201` status"), other}},
		{"default", []string{"default: false", "default: true"}, []string{other + in("the `read_only` request property default value changed from `false` to `true`")}},
		{"new status", []string{"        '404':\n", "        '422':\n          description: Invalid\n        '404':\n"}, []string{other + in("added the non-success response with the status `422`")}},
		{"success status", []string{"'201'", "'200'"}, []string{breaks + in("removed the success response with the status `201`"), other + in("added the success response with the status `200`")}},
		{"two changes", []string{"{0,16}", "{1,16}", "example: 14", "readOnly: true"},
			[]string{may + in("changed the pattern of the request property `name` from `^[a-z0-9]{0,16}$` to `^[a-z0-9]{1,16}$`\n    the request required property `duration` became read-only\n")}},
		{"new parameter", []string{"      parameters:\n", "      parameters:\n        - {in: query, name: dry, required: true, schema: {type: boolean}}\n"},
			[]string{breaks + in("added the new required `query` request parameter `dry`")}},
		{"removed operation", []string{"    post:\n", "    put:\n"}, []string{breaks + in("api removed"), other + "  PUT" + strings.TrimPrefix(operation, "POST") + "\n    endpoint added"}},
		{"new operation", []string{"paths:\n", "paths:\n  /new:\n    get:\n      responses:\n        '204':\n          description: Nothing\n"}, []string{other + "  GET /new\n    endpoint added"}},
		{"authentication", []string{"      name: Authorization\n", "      name: X-Api-Key\n"}, []string{breaks + "  components\n    the component security scheme `APIKey`"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := changes(t, test.pairs...)
			for _, want := range test.want {
				if !strings.Contains("\n"+got, "\n"+want) {
					t.Errorf("%q is not in:\n%s", want, got)
				}
			}
			for _, group := range []string{breaks, may, other} {
				wanted := slices.ContainsFunc(test.want, func(want string) bool { return strings.HasPrefix(want, group) })
				if strings.Contains("\n"+got, "\n"+group) != wanted {
					t.Errorf("the group %q: got %t, want %t, in:\n%s", group, !wanted, wanted, got)
				}
			}
		})
	}
}

// Changes to operations that are not generated are counted by tag, after those that
// break callers. The tags with changes that break callers come first.
func TestChangesToOtherOperationsAreCountedByTag(t *testing.T) {
	path := func(name, tags, parameters string) string {
		return "  /" + name + ":\n    get:\n      tags: [" + tags + "]\n      parameters: [" + parameters + "]\n      responses: {'200': {description: Done}}\n"
	}
	const needed = "{in: query, name: q, required: true, schema: {type: string}}"
	base := edit(t, vendored(t), "paths:\n", "paths:\n"+path("a", "Images", "")+path("b", "Volumes", "")+path("c", "", "")+path("gone", "Volumes", ""))
	revision := edit(t, vendored(t), "paths:\n", "paths:\n"+path("a", "Images", needed)+path("b", "Volumes", needed)+path("c", "", "")+
		path("d", "Networks, Images", "")+path("e", "Networks", "")+path("f", "", ""), "maximum: 365", "maximum: 30")
	old, err := document1(base).load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newer, err := document1(revision).load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := describeChanges(old, newer, func(name string) bool { return name == operation })
	want := "Breaks callers:\n  " + operation + "\n    the `duration` request property's max was decreased to `30.00`\n" +
		"Operations that are not generated, by tag: changes that break callers, that may, and others:\n" +
		"      2     0     0  Volumes\n" +
		"      1     0     0  Images\n" +
		"      0     0     2  Networks\n" +
		"      0     0     1  (no tag)\n"
	if !strings.HasPrefix(got, want) || strings.Contains(got, "/a") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNoCallerSeesADifference(t *testing.T) {
	for name, pairs := range map[string][]string{
		"description":      {"description: User already exists", "description: A user of that name exists"},
		"version":          {"2026-05-07", "2026-06-07"},
		"example":          {"example: user1", "example: user2"},
		"code sample":      {"duration=14", "duration=15"},
		"comment":          {"paths:\n", "# the paths\npaths:\n"},
		"shared parameter": {"      parameters:\n        - in: path\n          name: project_id\n          required: true\n          description: Project ID\n          schema:\n            type: integer\n", "      parameters:\n", "    post:\n", "    parameters:\n      - in: path\n        name: project_id\n        required: true\n        schema:\n          type: integer\n    post:\n"},
	} {
		t.Run(name, func(t *testing.T) {
			base, revision := vendored(t), edit(t, vendored(t), pairs...)
			for _, got := range []string{compare(t, base, revision), compare(t, revision, base)} {
				if !strings.HasPrefix(got, "No caller sees a difference") || strings.Count(got, "\n") != 1 {
					t.Errorf("got:\n%s", got)
				}
			}
		})
	}
}

// A failed comparison does not stop the new document from being vendored.
func TestDocumentsThatCannotBeCompared(t *testing.T) {
	got := changes(t, "tags:\n", "tags:\n  - null\n")
	if !strings.HasPrefix(got, "oasdiff cannot compare the two (") || strings.Count(got, "\n") != 1 {
		t.Errorf("got:\n%s", got)
	}
}

// A property may have the name of a part.
func TestPropertyNamedLikeAPartIsCompared(t *testing.T) {
	base := edit(t, vendored(t), "        read_only:\n", "        style:\n          type: string\n        read_only:\n")
	got := compare(t, base, edit(t, base, "        style:\n          type: string\n", "        style:\n          type: integer\n"))
	if !strings.HasPrefix(got, "Breaks callers:\n") || strings.Contains(got, "not compared") {
		t.Errorf("got:\n%s", got)
	}
}

// oasdiff has no rule for the parts in notCompared. If this fails, oasdiff has a
// rule by now: remove the part from the list.
func TestUncomparedPartsAreListed(t *testing.T) {
	const title = "      title: RegistryUserCreateSerializer\n"
	inSchema := func(text string) []string { return []string{title, title + "      " + text + "\n"} }
	const nothing = "          description: Registry not found\n"
	inParameter := func(text string) []string {
		return []string{"          name: project_id\n", "          name: project_id\n          " + text + "\n"}
	}
	tests := map[string][]string{
		"additionalProperties":         inSchema("additionalProperties: {type: string}"),
		"additionalPropertiesAllowed":  inSchema("additionalProperties: false"),
		"allowReserved":                inParameter("allowReserved: true"),
		"callbacks":                    {"      requestBody:\n", "      callbacks: {done: {'{$request.body#/url}': {post: {responses: {'200': {description: Done}}}}}}\n      requestBody:\n"},
		"explode":                      inParameter("explode: true"),
		"links":                        {nothing, nothing + "          links: {user: {operationId: RegistryUsersHandler.post}}\n"},
		"not":                          inSchema("not: {required: [secret]}"),
		"servers":                      {"https://api.gcore.com", "https://api.gcore.com/cloud"},
		"style":                        inParameter("style: label"),
		"unevaluatedPropertiesAllowed": inSchema("unevaluatedProperties: false"),
		"unevaluatedItemsAllowed":      inSchema("unevaluatedItems: false"),
		"encoding":                     {"              $ref: '#/components/schemas/RegistryUserCreateSerializer'\n", "              $ref: '#/components/schemas/RegistryUserCreateSerializer'\n            encoding: {name: {contentType: text/plain}}\n"},
	}
	for _, part := range notCompared {
		t.Run(part, func(t *testing.T) {
			if tests[part] == nil {
				t.Fatal("no test")
			}
			got := changes(t, tests[part]...)
			head, list, _ := strings.Cut(got, "\n")
			if head != "Changed, and not compared; see git diff api/cloud_api.yaml:" || !strings.HasSuffix(strings.TrimSpace(list), part) || strings.Count(list, "\n") != 1 {
				t.Errorf("got:\n%s", got)
			}
		})
	}
}
