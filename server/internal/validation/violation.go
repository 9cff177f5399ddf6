package validation

import (
	"slices"
	"strings"
)

// A Violation is one violated rule of a schema. It quotes the document, never a
// value.
type Violation struct {
	Field string // the field, with dots between levels ("users.0.name"); "" for the body itself
	Why   string // the predicate of a sentence about the field: "must be at least -1"
}

// maxViolations limits the violations of one body: a body of a megabyte can have
// many thousands.
const maxViolations = 20

// addViolation adds v to all, which has no repeats, is sorted by field and text,
// and keeps the first twenty.
func addViolation(all []Violation, v Violation) []Violation {
	at, found := slices.BinarySearchFunc(all, v, func(a, b Violation) int {
		if c := strings.Compare(a.Field, b.Field); c != 0 {
			return c
		}
		return strings.Compare(a.Why, b.Why)
	})
	if found || at == maxViolations {
		return all
	}
	return slices.Insert(all[:min(len(all), maxViolations-1)], at, v)
}
