package server

import (
	"log/slog"

	"github.com/registryusers/registryusers/server/internal/validation"
)

// checkUnknown adds violations for the fields of the body that the document does not name,
// if the server refuses them. Else it adds them to the log.
func (r *response) checkUnknown(violations []validation.Violation) []validation.Violation {
	switch {
	case len(r.unknown) == 0:
	case r.refusesUnknown:
		for _, name := range r.unknown {
			violations = append(violations, validation.Violation{Field: name, Why: "is not a known field"})
		}
	case len(violations) == 0:
		r.record.Add(slog.Any("unknown_fields", r.unknown))
		r.record.Warn()
	}
	return violations
}
