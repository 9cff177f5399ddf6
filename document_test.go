package registryusers_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// api/cloud_api.yaml is the vendor's document, byte for byte; what it lacks
// goes into api/overlay.yaml and api/additions.yaml. Only "make spec" writes a newer one, and with it
// api/SOURCE.yaml, the record that the document is checked against here.
func TestTheVendoredDocumentIsUntouched(t *testing.T) {
	data, err := os.ReadFile("api/cloud_api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Info struct{ Version string } }
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile("api/SOURCE.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var source struct{ SHA256, Version, Vendored string }
	decoder := yaml.NewDecoder(bytes.NewReader(record))
	decoder.KnownFields(true)
	if err := decoder.Decode(&source); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != source.SHA256 {
		t.Errorf("sha256 of api/cloud_api.yaml: got %s, want %s, as api/SOURCE.yaml has it; is \"make spec\" to be run again?", got, source.SHA256)
	}
	if got := document.Info.Version; got == "" || got != source.Version {
		t.Errorf("version of api/cloud_api.yaml: got %q, want %q, as api/SOURCE.yaml has it", got, source.Version)
	}
	if _, err := time.Parse(time.DateOnly, source.Vendored); err != nil {
		t.Errorf("api/SOURCE.yaml: vendored: %v", err)
	}
}

// A part is a mapping of the document or the overlay.
type part map[string]yaml.Node

// partOf returns a node's keys and values, or none if it is no mapping.
func partOf(node yaml.Node) part {
	var p part
	if node.Decode(&p) != nil {
		return nil
	}
	return p
}

// an action of the overlay has its target and its update.
type action struct{ Target, Update yaml.Node }

func (a action) String() string {
	return fmt.Sprintf("api/overlay.yaml:%d: the action on %s", a.Target.Line, a.Target.Value)
}

// readAPI returns the vendor's document with the additions, without the overlay, and
// the overlay's actions on the targets that match a pattern.
func readAPI(t *testing.T, targets string) (part, []action) {
	t.Helper()
	var document, additions part
	var overlay struct{ Actions []action }
	for file, into := range map[string]any{"api/cloud_api.yaml": &document, "api/additions.yaml": &additions, "api/overlay.yaml": &overlay} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(data, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	for _, section := range []string{"paths", "components"} {
		document[section] = merged(t, 2, additions[section], document[section])
	}
	of := regexp.MustCompile(targets)
	actions := slices.DeleteFunc(overlay.Actions, func(a action) bool { return !of.MatchString(a.Target.Value) })
	if len(actions) == 0 {
		t.Fatalf("the overlay has no action on %s", targets)
	}
	return document, actions
}

// merged returns the mapping theirs with what only ours has, down to a depth.
func merged(t *testing.T, depth int, ours, theirs yaml.Node) (both yaml.Node) {
	t.Helper()
	all := partOf(theirs)
	for name, our := range partOf(ours) {
		switch their, has := all[name]; {
		case !has:
			all[name] = our
		case depth > 1:
			all[name] = merged(t, depth-1, our, their)
		}
	}
	if err := both.Encode(all); err != nil {
		t.Fatal(err)
	}
	return both
}

// operations returns each operation by its method and path.
func (document part) operations(t *testing.T) map[string]part {
	t.Helper()
	all := map[string]part{}
	for path, item := range partOf(document["paths"]) {
		for method, operation := range partOf(item) {
			if o := partOf(operation); o["responses"].Kind != 0 {
				all[strings.ToUpper(method)+" "+path] = o
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("the document has no operations")
	}
	return all
}

// clashes returns the names that both have, down to a depth. It ignores case,
// as names of headers do.
func clashes(depth int, ours, theirs part) []string {
	var both []string
	for name, our := range ours {
		for other, their := range theirs {
			switch {
			case !strings.EqualFold(name, other):
			case depth == 1:
				both = append(both, other)
			default:
				for _, inner := range clashes(depth-1, partOf(our), partOf(their)) {
					both = append(both, other+" "+inner)
				}
			}
		}
	}
	return both
}

// onOperation is the target of an action on one operation, or a part of it.
var onOperation = regexp.MustCompile(`^\$\.paths\["([^"]+)"\]\.([a-z]+)(?:\.responses(\["\d+"\])?)?$`)

// An action names its target, or selects it by type: it must not change
// more than intended when the document grows.
func TestTheOverlaysActionsDoNotWiden(t *testing.T) {
	_, actions := readAPI(t, "")
	for _, action := range actions {
		if target := action.Target.Value; strings.Contains(target, "*") && !regexp.MustCompile(`\[\?.*\.type == '`).MatchString(target) || strings.Contains(target, "..") {
			t.Errorf("%s has a wildcard: it must name the operation or the schema, or select by type", action)
		}
	}
}

// The overlay adds the default response, headers, and all parts of the errors except
// their descriptions. If the vendor's document had them too, one would
// hide the other.
func TestTheOverlaysResponsesAreItsOwn(t *testing.T) {
	document, actions := readAPI(t, `\.responses\b`)
	operations := document.operations(t)
	for _, action := range actions {
		of := onOperation.FindStringSubmatch(action.Target.Value)
		if of == nil {
			t.Errorf("%s must name an operation and, if it is about one, a status", action)
			continue
		}
		name := strings.ToUpper(of[2]) + " " + of[1]
		responses := partOf(operations[name]["responses"])
		status := strings.Trim(of[3], `[]"`)
		if status == "" { // the default response
			for _, what := range clashes(1, partOf(action.Update), responses) {
				t.Errorf("%s adds the response %s, and %s has its own now: revise the action", action, what, name)
			}
			continue
		}
		response := partOf(responses[status])
		both := clashes(2, partOf(action.Update), response) // the headers
		for key := range response {
			if key == "$ref" || status >= "400" && key != "description" && !strings.HasPrefix(key, "x-") {
				both = append(both, key)
			}
		}
		for _, what := range both {
			t.Errorf("%s says what a %s has, and %s has its own %s now: revise the action", action, status, name, what)
		}
	}
}

func TestTheOverlaysComponentsAreItsOwn(t *testing.T) {
	document, actions := readAPI(t, `^\$\.components$`)
	for _, action := range actions {
		for _, what := range clashes(2, partOf(action.Update), partOf(document["components"])) {
			t.Errorf("%s adds %s, and the document has its own now: revise the action", action, what)
		}
	}
}

// A parameter of an operation replaces one of the same name that its path
// has for all of its operations; the case of a header's name does not matter.
func TestTheOverlaysParametersAreItsOwn(t *testing.T) {
	document, actions := readAPI(t, "")
	parameters := func(node yaml.Node) (all []string) {
		var list []part
		if node.Kind != 0 && node.Decode(&list) != nil {
			t.Error("the document has parameters that are no list")
		}
		for _, p := range list {
			if ref := p["$ref"]; ref.Kind != 0 {
				p = partOf(partOf(partOf(document["components"])["parameters"])[path.Base(ref.Value)])
			}
			in, name := p["in"], p["name"]
			all = append(all, in.Value+" parameter "+name.Value)
		}
		return all
	}
	added := 0
	for _, action := range actions {
		for _, ours := range parameters(partOf(action.Update)["parameters"]) {
			added++
			of := onOperation.FindStringSubmatch(action.Target.Value)
			if of == nil {
				t.Errorf("%s adds the %s, and must name the operation that gets it", action, ours)
				continue
			}
			item := partOf(partOf(document["paths"])[of[1]])
			operation := item[of[2]]
			for _, their := range append(parameters(item["parameters"]), parameters(partOf(operation)["parameters"])...) {
				if strings.EqualFold(ours, their) {
					t.Errorf("%s adds the %s, and %s has its own now, the %s: revise the action", action, ours, of[1], their)
				}
			}
		}
	}
	if added == 0 {
		t.Error("no action of the overlay adds parameters, as far as this test sees")
	}
}

// A field that the client omits when it is zero, by the overlay, must be optional.
func TestTheOverlayOmitsNothingThatIsRequired(t *testing.T) {
	document, actions := readAPI(t, `^\$\.components\.schemas\.\w+\.properties\[\?@\.default == false \|\| @\.default == ''\]$`)
	for _, action := range actions {
		schema := partOf(partOf(partOf(document["components"])["schemas"])[strings.Split(action.Target.Value, ".")[3]])
		var required []string
		if node := schema["required"]; node.Kind != 0 && node.Decode(&required) != nil {
			t.Error("the document has a schema whose required properties are no list")
		}
		for _, name := range required {
			zero, ok := partOf(partOf(schema["properties"])[name])["default"]
			if ok && (zero.Value == "false" || zero.Value == "") {
				t.Errorf("%s has %s left out when it is %q, and it is required now: revise the action", action, name, zero.Value)
			}
		}
	}
}
