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

// The generated code depends on nothing handwritten but the root package.
func TestTheGeneratedCodeImportsLittle(t *testing.T) {
	may := []string{
		module, module + "/gen/models", "github.com/oapi-codegen/runtime", "github.com/getkin/kin-openapi/openapi3", "github.com/go-json-experiment/json/jsontext",
	}
	packages := 0
	for line := range strings.Lines(goCommand(t, "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./gen/...")) {
		packages++
		fields := strings.Fields(line)
		for _, path := range fields[1:] {
			if domain, _, _ := strings.Cut(path, "/"); strings.Contains(domain, ".") && !slices.Contains(may, path) {
				t.Errorf("%s imports %s, want only the standard library and %q", fields[0], path, may)
			}
		}
	}
	if packages != 3 {
		t.Errorf("got %d packages in gen, want 3", packages)
	}
}

// A program that only calls the API links no validator, server or store.
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

// A program with its own implementation links none of ours.
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

// A test of a caller's is built without what serves images.
func TestClienttestLinksNoImages(t *testing.T) {
	const most = 285
	got := strings.Fields(goCommand(t, "list", "-deps", "./client/clienttest"))
	if len(got) > most {
		t.Errorf("linked by clienttest: got %d packages, want at most %d", len(got), most)
	}
	for _, path := range got {
		for _, banned := range []string{"github.com/distribution/", "github.com/go-jose/"} {
			if strings.HasPrefix(path, banned) {
				t.Errorf("linked by clienttest: got %s, want nothing of %s", path, banned)
			}
		}
	}
}

// importRow has the packages that a package may import.
type importRow struct {
	pkg string   // below the module
	may []string // packages of this module, in the same form; "" is the root package
	not []string // of the standard library
}

// imports has the packages of this module that each package may import. A package that is not
// here fails the test: decide where it belongs, and give it a row.
var imports = []importRow{
	// The public packages and the generated code.
	{pkg: ""},
	{pkg: "gen/models", may: []string{""}},
	{pkg: "gen/apiclient", may: []string{"gen/models"}},
	{pkg: "gen/apiserver", may: []string{"", "gen/models"}},
	{pkg: "client", may: []string{"", "gen/models", "gen/apiclient", "internal/apierror"}},
	{pkg: "client/clienttest", may: []string{"", "client", "internal/accounts", "internal/apierror", "internal/app", "internal/observe", "internal/store", "internal/web"}},
	{pkg: "server", may: []string{"", "gen/apiserver", "gen/models", "internal/apierror", "internal/observe", "server/internal/validation"}},
	{pkg: "server/internal/validation"},
	{pkg: "server/internal/generate/fixture", may: []string{""}},
	{pkg: "server/internal/generate", may: []string{"server/internal/validation"}},

	// The rules know neither HTTP nor SQL, and a store knows neither HTTP nor keys.
	{pkg: "internal/accounts", may: []string{"", "internal/network"}, not: []string{"net/http", "database/sql"}},
	{pkg: "internal/store", may: []string{"internal/accounts", "internal/store/sqlite"}, not: []string{"net/http"}},
	{pkg: "internal/store/storetest", may: []string{"", "internal/accounts"}},
	{pkg: "internal/store/sqlite", may: []string{"", "internal/accounts", "internal/atomicfile", "internal/diskspace"}, not: []string{"net/http"}},
	{pkg: "internal/keys", may: []string{"", "internal/atomicfile"}, not: []string{"net/http", "database/sql"}},
	{pkg: "internal/datadir", may: []string{"", "internal/accounts", "internal/atomicfile", "internal/dirlock", "internal/keys", "internal/store"}, not: []string{"net/http", "database/sql"}},

	// Packages that serve requests.
	{pkg: "internal/apierror", may: []string{""}},
	{pkg: "internal/oci", may: []string{"internal/apierror", "internal/observe"}, not: []string{"database/sql"}},
	{pkg: "internal/api", may: []string{"", "server", "internal/accounts"}, not: []string{"net/http", "database/sql"}},
	{pkg: "internal/token", may: []string{"", "internal/accounts", "internal/network", "internal/observe", "internal/oci", "internal/semaphore"}, not: []string{"database/sql"}},
	{pkg: "internal/ociregistry", may: []string{"", "internal/accounts", "internal/atomicfile", "internal/dirlock", "internal/diskspace", "internal/observe", "internal/oci", "internal/semaphore", "internal/token"}, not: []string{"database/sql"}},
	{pkg: "internal/observe", not: []string{"database/sql"}},
	{pkg: "internal/web", may: []string{"internal/apierror", "internal/network", "internal/observe"}, not: []string{"database/sql"}},

	// Packages that do not depend on registries.
	{pkg: "internal/connections", may: []string{"internal/network", "internal/semaphore"}, not: []string{"database/sql"}},
	{pkg: "internal/atomicfile"},
	{pkg: "internal/dirlock", may: []string{"internal/atomicfile"}},
	{pkg: "internal/diskspace"},
	{pkg: "internal/network"},
	{pkg: "internal/semaphore"},
	{pkg: "internal/effective"},

	// Packages that only tests import.
	{pkg: "internal/testkit"},
	{pkg: "internal/apptest", may: []string{
		"", "internal/accounts", "internal/app", "internal/app/images", "internal/datadir", "internal/keys", "internal/testkit", "internal/web",
	}, not: []string{"database/sql"}},

	// The wiring. The package that serves images is separate, so that clienttest does not link it.
	{pkg: "internal/app", may: []string{"server", "internal/accounts", "internal/api", "internal/web"}, not: []string{"database/sql"}},
	{pkg: "internal/app/images", may: []string{
		"", "internal/accounts", "internal/app", "internal/atomicfile", "internal/connections", "internal/datadir", "internal/ociregistry", "internal/store", "internal/token", "internal/web",
	}, not: []string{"database/sql"}},
	{pkg: "cmd/registryusers", may: []string{
		"", "client", "internal/accounts", "internal/app/images", "internal/atomicfile", "internal/datadir",
		"internal/keys", "internal/ociregistry",
	}, not: []string{"database/sql"}},
}

func TestPackagesImportWhatTheLayoutAllows(t *testing.T) {
	within := func(path string) (pkg string, ok bool) {
		rest, ok := strings.CutPrefix(path+"/", module+"/")
		return strings.TrimSuffix(rest, "/"), ok
	}
	seen := make(map[string][]string) // what each package imports of this module
	for line := range strings.Lines(goCommand(t, "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")) {
		fields := strings.Fields(line)
		pkg, _ := within(fields[0])
		seen[pkg] = nil
		i := slices.IndexFunc(imports, func(row importRow) bool { return row.pkg == pkg })
		if i < 0 {
			t.Errorf("package %q: no row in the table says what it may import", pkg)
			continue
		}
		for _, path := range fields[1:] {
			if of, ok := within(path); ok {
				seen[pkg] = append(seen[pkg], of)
				if !slices.Contains(imports[i].may, of) {
					t.Errorf("package %q imports %q, which the layout does not allow", pkg, of)
				}
			}
			if slices.Contains(imports[i].not, path) {
				t.Errorf("package %q imports %s, which the layout does not allow", pkg, path)
			}
		}
	}
	for _, row := range imports {
		used, ok := seen[row.pkg]
		if !ok {
			t.Errorf("package %q: has a row in the table, and does not exist; remove the row", row.pkg)
		}
		for _, pkg := range row.may {
			if ok && !slices.Contains(used, pkg) {
				t.Errorf("package %q: may import %q, and does not; remove it from the row", row.pkg, pkg)
			}
		}
	}
}
