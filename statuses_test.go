package registryusers_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/registryusers/registryusers/gen/apiserver"
)

// implemented lists the operations that internal/api and client implement, with the
// statuses that they were written for. The compiler does not see a new status.
var implemented = map[string][]string{
	"CreateUser": {"201", "404", "409", "default"},
}

func TestStatusesAreThoseThatAreImplemented(t *testing.T) {
	doc, err := apiserver.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string][]string{}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			declared[op.OperationID] = slices.Sorted(maps.Keys(op.Responses.Map()))
		}
	}
	for operation, statuses := range declared {
		if got := implemented[operation]; !slices.Equal(got, statuses) {
			t.Errorf("operation %s: the document declares the statuses %q, and %q are implemented: implement the others in internal/api and client, then list them here", operation, statuses, got)
		}
	}
	for operation := range implemented {
		if declared[operation] == nil {
			t.Errorf("operation %s is implemented, and the document has no such operation", operation)
		}
	}
}
