package registryusers_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/oapi-codegen/oapi-codegen/v2/pkg/util"
)

// implemented lists the operations that internal/api and client implement, with the
// statuses that they were written for: the compiler notices a new operation, but not
// a new status.
var implemented = map[string][]string{
	"CreateUser": {"201", "404", "409", "default"},
}

// The document is read as the generator reads it, so that this test needs no generated
// code that compiles.
func TestStatusesAreThoseThatAreImplemented(t *testing.T) {
	doc, err := util.LoadSwaggerWithOverlay("api/cloud_api.yaml", util.LoadSwaggerWithOverlayOpts{Path: "api/overlay.yaml", Strict: true})
	if err != nil {
		t.Fatal(err)
	}
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
