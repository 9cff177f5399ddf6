package registryusers_test

import (
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oapi-codegen/oapi-codegen/v2/pkg/util"
	"go.yaml.in/yaml/v3"
)

// implemented lists the operations that internal/api and client implement, with the
// statuses that they were written for. Every operation of the effective document for
// which code is generated must be here.
var implemented = map[string][]string{
	"CreateUser": {"201", "404", "409", "default"},
}

func TestStatusesAreThoseThatAreImplemented(t *testing.T) {
	doc := readEffective(t)
	declared := map[string][]string{}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			declared[op.OperationID] = slices.Sorted(maps.Keys(op.Responses.Map()))
		}
	}
	for operation, statuses := range implemented {
		if got := declared[operation]; !slices.Equal(got, statuses) {
			t.Errorf("operation %s: the document declares the statuses %q, and %q are implemented: implement the others in internal/api and client, then list them here", operation, got, statuses)
		}
	}
}

func TestEveryOperationIsImplemented(t *testing.T) {
	for _, operation := range generatedOperations(t) {
		if implemented[operation] == nil {
			t.Errorf("operation %s is generated: implement it in internal/api and client, then list it here with its statuses", operation)
		}
	}
}

// checkedInPath lists the parameters in paths, by operation, that may be other than
// integers, and for which client refuses "", "." and "..": the generated code would send
// the request to the path of another operation.
var checkedInPath = map[string][]string{}

func TestStringsInPathsAreChecked(t *testing.T) {
	generated := generatedOperations(t)
	for path, item := range readEffective(t).Paths.Map() {
		for _, op := range item.Operations() {
			for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
				p := ref.Value
				if p.In != "path" || p.Schema != nil && p.Schema.Value.Type.Is("integer") || !slices.Contains(generated, op.OperationID) {
					continue
				}
				if !slices.Contains(checkedInPath[op.OperationID], p.Name) {
					t.Errorf(`operation %s (%s): refuse the values "", "." and ".." of %s in package client, then list it here`, op.OperationID, path, p.Name)
				}
			}
		}
	}
}

// generatedOperations returns the ids of the operations for which code is generated.
func generatedOperations(t *testing.T) []string {
	t.Helper()
	var configuration struct {
		OutputOptions struct {
			IDs []string `yaml:"include-operation-ids"`
		} `yaml:"output-options"`
	}
	text, err := os.ReadFile("api/apiclient.yaml")
	if err = errors.Join(err, yaml.Unmarshal(text, &configuration)); err != nil || len(configuration.OutputOptions.IDs) == 0 {
		t.Fatalf("api/apiclient.yaml: got the ids %q, %v", configuration.OutputOptions.IDs, err)
	}
	return configuration.OutputOptions.IDs
}

// readEffective reads the document with the overlay as the generator does, so that the tests need no
// generated code that compiles.
func readEffective(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := util.LoadSwaggerWithOverlay("api/cloud_api.yaml", util.LoadSwaggerWithOverlayOpts{Path: "api/effective.gen.yaml", Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
