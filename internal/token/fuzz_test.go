package token

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/oci"
)

// FuzzParseScopes states the most that a scope can grant, for any text:
// each repository once, of the account's own registry, by a clean path that
// was requested letter by letter; each action once, and one that the account
// has; and no more scopes than oci.MaxScopes.
func FuzzParseScopes(f *testing.F) {
	f.Fuzz(func(t *testing.T, first, second string) {
		values := []string{first, second}
		scopes, ok := oci.ParseScopes(values)
		if n := len(strings.Fields(first)) + len(strings.Fields(second)); ok != (n <= oci.MaxScopes) || len(scopes) > n {
			t.Fatalf("oci.ParseScopes(%q): got %d and %t, want at most %d, and true up to %d", values, len(scopes), ok, n, oci.MaxScopes)
		}
		for _, scope := range scopes {
			if scope.Type != "repository" || !clean(scope.Name) || len(scope.Actions) == 0 {
				t.Errorf("oci.ParseScopes(%q): got %+v, want a repository of a clean name, and actions", values, scope)
			}
		}
		for _, readOnly := range []bool{false, true} {
			account := accounts.Account{User: accounts.User{ReadOnly: readOnly}, Namespace: "1-1-demo"}
			may := []string{"pull", "push", "delete"}
			if readOnly {
				may = may[:1]
			}
			var names []string
			for _, access := range grant(account, scopes) {
				names = append(names, access.Class+":"+access.Name)
				if access.Type != "repository" || !strings.HasPrefix(access.Name, "1-1-demo/") || !clean(access.Name) || access.Name != strings.ToLower(access.Name) {
					t.Errorf("granted for %q: %+v, want a repository of 1-1-demo, in small letters", values, access)
				}
				if request := access.Name + ":"; !strings.Contains(first, request) && !strings.Contains(second, request) {
					t.Errorf("granted for %q: %+v, want what was asked for", values, access)
				}
				if len(access.Actions) == 0 || len(distinct(access.Actions)) != len(access.Actions) {
					t.Errorf("granted for %q: %+v, want actions, each once", values, access)
				}
				for _, action := range access.Actions {
					if !slices.Contains(may, action) {
						t.Errorf("granted for %q, read-only %t: %+v, want some of %q", values, readOnly, access, may)
					}
				}
			}
			if len(distinct(names)) != len(names) {
				t.Errorf("granted for %q: %q, want each repository once", values, names)
			}
		}
	})
}

// clean reports whether a name is a path in canonical form.
func clean(name string) bool {
	return name != "" && path.Clean("/"+name) == "/"+name && !strings.ContainsAny(name, "\x00\\%*?@ \t\r\n") && !strings.Contains(name, "..")
}

func distinct(values []string) []string { return slices.Compact(slices.Sorted(slices.Values(values))) }

// FuzzFromQuery states how a GET is read: one with a Basic header is the
// name before the first colon and the secret behind it, byte for byte, the
// first service, and no more scopes than oci.MaxScopes; anything else is denied,
// with a text that is always the same.
func FuzzFromQuery(f *testing.F) {
	known := []string{
		"the query is not valid",
		"log in with the name and the secret of a registry user",
		fmt.Sprintf("there are more than %d scopes", oci.MaxScopes),
	}
	f.Fuzz(func(t *testing.T, authorization, query string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/token", nil)
		r.URL.RawQuery = query
		r.Header["Authorization"] = []string{authorization}
		request, refused := fromQuery(r)
		if refused != nil {
			if (refused.Status != http.StatusBadRequest && refused.Status != http.StatusUnauthorized) || !slices.Contains(known, refused.Message) || refused.Cause != nil {
				t.Fatalf("fromQuery(%q, %q): got %+v, want a denial of %q", authorization, query, refused, known)
			}
			return
		}
		scheme, encoded, _ := strings.Cut(authorization, " ")
		text, err := base64.StdEncoding.DecodeString(encoded)
		name, secret, found := strings.Cut(string(text), ":")
		if err != nil || !strings.EqualFold(scheme, "basic") || !found || request.account != name || request.secret.Reveal() != secret || request.refresh.Reveal() != "" {
			t.Errorf("fromQuery(%q, %q): got %q and %q, want %q and %q, %v", authorization, query, request.account, request.secret.Reveal(), name, secret, err)
		}
		values, err := url.ParseQuery(query)
		if err != nil || request.service != values.Get("service") || request.offline || len(request.scopes) > oci.MaxScopes {
			t.Errorf("fromQuery(%q, %q): got %q, %t and %d scopes, want %v, %v", authorization, query, request.service, request.offline, len(request.scopes), values, err)
		}
	})
}

func TestFuzzSeedsAreThere(t *testing.T) {
	for name, seeds := range map[string][]string{
		"FuzzParseScopes": {"empty", "pull", "several", "star", "dots", "slashes", "capitals", "nul", "port", "catalog", "hundred-and-one", "invalid-utf8", "other-registry"},
		"FuzzFromQuery":   {"empty", "good", "bad-base64", "no-colon", "two-colons", "nul", "eight-bit", "bearer", "bad-escape", "semicolon", "two-services"},
	} {
		for _, seed := range seeds {
			data, err := os.ReadFile(filepath.Join("testdata", "fuzz", name, seed))
			if err != nil || !strings.HasPrefix(string(data), "go test fuzz v1\n") {
				t.Errorf("the seed %s of %s: %.20q, %v; want it there", seed, name, data, err)
			}
		}
	}
}
