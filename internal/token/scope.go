package token

import (
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/registryusers/registryusers/internal/accounts"
)

const (
	repositoryType = "repository"
	maxScopes      = 50 // of the longest names: their token fits into a request's header
)

// parseScopes reads scopes of the distribution project's grammar (docs/spec/auth/scope.md),
// such as "repository(plugin):HOST:PORT/NAME:pull,push", several separated by
// spaces. What is not of the form, or not about a repository, is left out: it
// gives no right. ok is false for more than [maxScopes].
func parseScopes(values []string) (scopes []Access, ok bool) {
	n := 0
	for _, value := range values {
		for scope := range strings.FieldsSeq(value) {
			if n++; n > maxScopes {
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
var repositoryScope = regexp.MustCompile(`^` + repositoryType + `(?:\(([a-z0-9]+)\))?:` +
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
	return Access{Type: repositoryType, Class: class, Name: name, Actions: strings.Split(actions, ",")}, true
}

// scope returns the scope that asks for the access.
func (a Access) scope() string {
	kind := a.Type
	if a.Class != "" {
		kind += "(" + a.Class + ")"
	}
	return kind + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}

// grant returns what of the scopes the account may have, each repository once
// for each class.
func grant(account accounts.Account, scopes []Access) []Access {
	granted := make([]Access, 0, len(scopes))
	for _, scope := range scopes {
		var actions []string
		for _, action := range account.Actions(scope.Name) {
			if slices.Contains(scope.Actions, action) || slices.Contains(scope.Actions, "*") {
				actions = append(actions, action)
			}
		}
		if len(actions) == 0 {
			continue
		}
		i := slices.IndexFunc(granted, func(a Access) bool { return a.Name == scope.Name && a.Class == scope.Class })
		if i < 0 {
			granted = append(granted, Access{Type: repositoryType, Class: scope.Class, Name: scope.Name, Actions: actions})
			continue
		}
		for _, action := range actions {
			if !slices.Contains(granted[i].Actions, action) {
				granted[i].Actions = append(granted[i].Actions, action)
			}
		}
	}
	return granted
}
