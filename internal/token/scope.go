package token

import (
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/registryusers/registryusers/internal/accounts"
)

const (
	repositoryType = "repository"
	maxScopes      = 50 // of the longest names: their token fits into a request's header
)

// parseScopes reads scopes ("repository:NAME:pull,push", several separated by
// spaces). What is not of the form, or not about a repository, is left out: it
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

func parseScope(scope string) (Access, bool) {
	kind, rest, _ := strings.Cut(scope, ":")
	colon := strings.LastIndexByte(rest, ':')
	if kind != repositoryType || colon < 0 {
		return Access{}, false
	}
	name, actions := rest[:colon], rest[colon+1:]
	if _, err := reference.WithName(name); err != nil { // it has no "..", "//", capitals
		return Access{}, false
	}
	return Access{repositoryType, name, strings.Split(actions, ",")}, true
}

// grant returns what of the scopes the account may have, each repository once.
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
		i := slices.IndexFunc(granted, func(a Access) bool { return a.Name == scope.Name })
		if i < 0 {
			granted = append(granted, Access{repositoryType, scope.Name, actions})
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
