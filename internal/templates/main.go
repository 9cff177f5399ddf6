// Command templates writes to api/templates those of the generator's own
// templates in which a line is changed: what is generated from them then binds
// and encodes with this module's packages, which do it faster.
//
// As with the overlay, a change that does not fit what it is made to, because
// there is another version of the generator, is an error.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const generator = "github.com/oapi-codegen/oapi-codegen/v2"

// changes are made to one place in a template each.
var changes = []struct{ template, old, new string }{
	{"strict/strict-http.tmpl", "runtime.BindJSONBody(r, &body)", "schema.BindBody(r, &body)"},
	{"strict/strict-interface.tmpl", "json.NewEncoder(&buf).Encode(response", "flatjson.Encode(&buf, &response"},
}

func main() {
	if err := run(context.Background(), "api/templates"); err != nil {
		fmt.Fprintln(os.Stderr, "templates:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	command := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", generator)
	command.Stderr = os.Stderr
	module, err := command.Output()
	if err != nil {
		return fmt.Errorf("go list -m %s: %w", generator, err)
	}
	from := filepath.Join(strings.TrimSpace(string(module)), "pkg", "codegen", "templates")
	for _, c := range changes {
		text, err := os.ReadFile(filepath.Join(from, c.template))
		if err != nil {
			return err
		}
		if n := strings.Count(string(text), c.old); n != 1 {
			return fmt.Errorf("%s of %s has %q in %d places, and must have it in one: see internal/templates", c.template, generator, c.old, n)
		}
		to := filepath.Join(dir, c.template)
		changed := strings.Replace(string(text), c.old, c.new, 1)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // as any source
			return err
		}
		if err := os.WriteFile(to, []byte(changed), 0o644); err != nil { //nolint:gosec // as any source
			return err
		}
	}
	return nil
}
