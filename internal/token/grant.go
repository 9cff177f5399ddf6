package token

import (
	"slices"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/oci"
)

// grant returns the part of the scopes that the account may have. It returns each
// repository once for each class.
func grant(account accounts.Account, scopes []oci.Access) []oci.Access {
	granted := make([]oci.Access, 0, len(scopes))
	for _, scope := range scopes {
		i := slices.IndexFunc(granted, func(a oci.Access) bool { return a.Name == scope.Name && a.Class == scope.Class })
		if i < 0 {
			i = len(granted)
			granted = append(granted, oci.Access{Type: oci.RepositoryType, Class: scope.Class, Name: scope.Name})
		}
		for _, action := range account.Actions(scope.Name) {
			isRequested := slices.Contains(scope.Actions, action) || slices.Contains(scope.Actions, "*")
			if isRequested && !slices.Contains(granted[i].Actions, action) {
				granted[i].Actions = append(granted[i].Actions, action)
			}
		}
	}
	return slices.DeleteFunc(granted, func(a oci.Access) bool { return len(a.Actions) == 0 })
}
