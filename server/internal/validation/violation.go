package validation

import (
	"slices"
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

// addViolation adds a violation to all, which has no repeats, is sorted by field and
// text, and keeps the first twenty. It allocates only for one that it keeps.
func addViolation(all []Violation, field []byte, why string) []Violation {
	at := len(all)
	for at > 0 && (string(field) < all[at-1].Field || string(field) == all[at-1].Field && why <= all[at-1].Why) {
		at--
	}
	if at == maxViolations || at < len(all) && string(field) == all[at].Field && why == all[at].Why {
		return all
	}
	return slices.Insert(all[:min(len(all), maxViolations-1)], at, Violation{string(field), why})
}
