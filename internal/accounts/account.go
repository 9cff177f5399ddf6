package accounts

import (
	"strconv"
	"strings"
)

// Account is a user and the namespace of its registry's images.
type Account struct {
	User
	// Namespace is the first element of its repositories' names,
	// "{project}-{region}-{registry's name}".
	Namespace string
}

// FullName returns the login name "NAMESPACE+NAME", which is unique among all users.
func (a Account) FullName() string { return a.Namespace + "+" + a.Name }

// The actions on a repository, as the registry's token protocol names them.
const (
	Pull   = "pull"
	Push   = "push"
	Delete = "delete"
)

// Actions returns the actions that the account may perform on a repository.
func (a Account) Actions(repository string) []string {
	switch {
	case !a.Owns(repository):
		return nil
	case a.ReadOnly:
		return []string{Pull}
	default:
		return []string{Pull, Push, Delete}
	}
}

// Owns reports whether a repository belongs to the account's registry.
func (a Account) Owns(repository string) bool {
	rest, ok := strings.CutPrefix(repository, a.Namespace+"/")
	return ok && rest != ""
}

// Namespace returns the first element of the names of a registry's repositories.
func Namespace(projectID, regionID int64, name string) string {
	return strconv.FormatInt(projectID, 10) + "-" + strconv.FormatInt(regionID, 10) + "-" + name
}

// parseNamespace is the reverse of [Namespace]. For any other text it returns the
// project 0, which has no registries.
func parseNamespace(namespace string) (projectID, regionID int64, name string) {
	parts := strings.SplitN(namespace, "-", 3)
	if len(parts) != 3 {
		return 0, 0, ""
	}
	projectID, err1 := strconv.ParseInt(parts[0], 10, 64)
	regionID, err2 := strconv.ParseInt(parts[1], 10, 64)
	if err1 != nil || err2 != nil || Namespace(projectID, regionID, parts[2]) != namespace {
		return 0, 0, ""
	}
	return projectID, regionID, parts[2]
}
