package registryusers_test

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/registryusers/registryusers"

// goCommand runs the go command in this module and returns what it prints.
func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	var errs bytes.Buffer
	command.Stderr = &errs
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return string(out)
}

// linked returns what a program that imports pkg links besides the standard
// library: the path of each package of this module, and of each other module.
func linked(t *testing.T, pkg string) []string {
	t.Helper()
	const format = `{{if not .Standard}}{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}{{end}}`
	var all []string
	for line := range strings.Lines(goCommand(t, "list", "-deps", "-f", format, pkg)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			path, of := fields[0], fields[1]
			if of != module {
				path = of
			}
			all = append(all, path)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestTheRootPackageLinksTheStandardLibraryOnly(t *testing.T) {
	if got, want := linked(t, "."), []string{module}; !slices.Equal(got, want) {
		t.Errorf("linked by the root package: got %q, want %q", got, want)
	}
}

// Whoever calls the API pays for no validator, server or store.
func TestTheClientLinksLittle(t *testing.T) {
	want := []string{
		"github.com/apapsch/go-jsonmerge/v2",
		"github.com/google/uuid",
		"github.com/oapi-codegen/runtime",
		module,
		module + "/client",
		module + "/gen/apiclient",
		module + "/gen/models",
		module + "/internal/apierror",
	}
	got := linked(t, "./client")
	for _, path := range got {
		if !slices.Contains(want, path) {
			t.Errorf("linked by client: got %s, want it only with one of %q", path, want)
		}
	}
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("linked by client: want %s, got %q; take it off this list", path, got)
		}
	}
}

// Whoever brings an implementation of their own links none of ours.
func TestTheServerLinksNoStore(t *testing.T) {
	got := linked(t, "./server")
	if !slices.Contains(got, module+"/server") {
		t.Fatalf("linked by server: got %q, want its own package among them", got)
	}
	for _, path := range got {
		for _, banned := range []string{
			module + "/internal/store", module + "/internal/accounts", module + "/internal/api",
			module + "/internal/datadir", module + "/client", module + "/gen/apiclient", "modernc.org",
		} {
			if path == banned || strings.HasPrefix(path, banned+"/") {
				t.Errorf("linked by server: got %s, want nothing of %s", path, banned)
			}
		}
	}
}
