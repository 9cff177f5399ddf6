// Package oci has what the token service and the registry share of the registry
// protocol: the scopes of tokens, and the form and the codes of error responses.
package oci

import (
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

const (
	// RepositoryType is the type of an [Access] to a repository, the only one
	// that gives a right.
	RepositoryType = "repository"
	// MaxScopes is how many scopes a request may have: a token for that many of
	// the longest names fits into a request's header.
	MaxScopes = 50
)

// Access is what a token allows on one resource, or a scope asks for.
type Access struct {
	Type    string   `json:"type"`
	Class   string   `json:"class,omitempty"` // of a repository: "", "image" or "plugin"
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// Scope returns the scope that asks for the access.
func (a Access) Scope() string {
	kind := a.Type
	if a.Class != "" {
		kind += "(" + a.Class + ")"
	}
	return kind + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}

// ParseScopes reads scopes of the distribution project's grammar (docs/spec/auth/scope.md),
// such as "repository(plugin):HOST:PORT/NAME:pull,push", several separated by
// spaces. It leaves out what is not of the form, or not about a repository: that
// gives no right. ok is false for more than [MaxScopes].
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

// repositoryScope has the groups class, host, name and actions. The host needs a
// dot, a port or the name localhost, as everywhere that images are named.
var repositoryScope = regexp.MustCompile(`^` + RepositoryType + `(?:\(([a-z0-9]+)\))?:` +
	`(?:((?:localhost|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+)(?::[0-9]+)?|[a-zA-Z0-9-]+:[0-9]+)/)?` +
	`([^:]+):([^:]*)$`)

func parseScope(scope string) (Access, bool) {
	groups := repositoryScope.FindStringSubmatch(scope)
	if groups == nil {
		return Access{}, false
	}
	class, name, actions := groups[1], groups[3], groups[4]
	if _, err := reference.WithName(name); err != nil { // it has no "..", "//", capitals
		return Access{}, false
	}
	return Access{Type: RepositoryType, Class: class, Name: name, Actions: strings.Split(actions, ",")}, true
}
