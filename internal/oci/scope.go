// Package oci has the parts of the registry protocol that the token service and the
// registry share: the scopes of tokens, and the form and codes of error responses.
package oci

import (
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

const (
	// RepositoryType is the type of an [Access] to a repository, the only type
	// that is granted.
	RepositoryType = "repository"
	// MaxScopes is the most scopes that a request may have: a token for that many
	// repositories with the longest names fits into a request's header.
	MaxScopes = 50
)

// Access lists the actions on one resource that a token allows or a scope requests.
type Access struct {
	Type    string   `json:"type"`
	Class   string   `json:"class,omitempty"` // of a repository: "", "image" or "plugin"
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (a Access) scope() string {
	kind := a.Type
	if a.Class != "" {
		kind += "(" + a.Class + ")"
	}
	return kind + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}

// Scopes returns the scopes that request all of the access, separated by spaces.
func Scopes(all []Access) string {
	texts := make([]string, len(all))
	for i, access := range all {
		texts[i] = access.scope()
	}
	return strings.Join(texts, " ")
}

// ParseScopes parses scopes in the distribution project's grammar
// (docs/spec/auth/scope.md), such as "repository(plugin):HOST:PORT/NAME:pull,push".
// A value may have several scopes, separated by spaces. ParseScopes skips malformed
// scopes and those of other types, which are never granted. ok is false if there
// are more than [MaxScopes].
func ParseScopes(values []string) (scopes []Access, ok bool) {
	n := 0
	for _, value := range values {
		for scope := range strings.FieldsSeq(value) {
			if n++; n > MaxScopes {
				return nil, false
			}
			if access, ok := parseScope(scope); ok {
				scopes = append(scopes, access)
			}
		}
	}
	return scopes, true
}

// repositoryScope has the groups class, host, name and actions. The host has a dot
// or a port or is localhost, as in every image name.
var repositoryScope = regexp.MustCompile(`^` + RepositoryType + `(?:\(([a-z0-9]+)\))?:` +
	`(?:((?:localhost|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+)(?::[0-9]+)?|[a-zA-Z0-9-]+:[0-9]+)/)?` +
	`([^:]+):([^:]*)$`)

func parseScope(scope string) (Access, bool) {
	groups := repositoryScope.FindStringSubmatch(scope)
	if groups == nil {
		return Access{}, false
	}
	class, name, actions := groups[1], groups[3], groups[4]
	if _, err := reference.WithName(name); err != nil { // such as one with "..", "//" or capitals
		return Access{}, false
	}
	return Access{Type: RepositoryType, Class: class, Name: name, Actions: strings.Split(actions, ",")}, true
}
