// Command templates writes copies of the generator's templates to api/templates,
// with some lines changed: the generated client refuses the path parameters "." and
// "..".
//
// The changes are strict, like the overlay's actions: it is an error if a change's
// text is not found once in the templates of another version of the generator.
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

// changes are applied in this order. In each template, old must occur exactly once.
var changes = []struct{ template, old, new string }{
	{
		"client.tmpl",
		`    serverURL, err := url.Parse(server)`,
		`{{range $paramIdx, $param := .PathParams}}{{if ne .TypeDef "int64"}}
    switch pathParam{{$paramIdx}} {
    case "", ".", "..": // else the URL is that of another operation
        return nil, fmt.Errorf("%w: the path parameter %q must not be empty, \".\" or \"..\"", registryusers.ErrInvalid, "{{.ParamName}}")
    }
{{end}}{{end}}
    serverURL, err := url.Parse(server)`,
	},
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
	texts := map[string]string{}
	for _, c := range changes {
		if texts[c.template] == "" {
			text, err := os.ReadFile(filepath.Join(from, c.template))
			if err != nil {
				return err
			}
			texts[c.template] = string(text)
		}
		if n := strings.Count(texts[c.template], c.old); n != 1 {
			return fmt.Errorf("%s of %s has %q %d times, want once: adapt the change in internal/templates", c.template, generator, c.old, n)
		}
		texts[c.template] = strings.Replace(texts[c.template], c.old, c.new, 1)
	}
	for template, text := range texts {
		to := filepath.Join(dir, template)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // source code is readable by all
			return err
		}
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil { //nolint:gosec // source code is readable by all
			return err
		}
	}
	return nil
}
