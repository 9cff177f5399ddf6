package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/speakeasy-api/openapi/overlay"
	"gopkg.in/yaml.v3"
)

// overlaid describes a document with the overlay applied and the operations that
// the generator takes from it.
type overlaid struct {
	places     []int           // by action of the overlay: the number of its targets
	operations map[string]bool // by method and path ("POST /a/{b}"): generated or not
	missing    []string        // listed ids that no operation has
}

// readOverlaid applies the overlay of the project at root to document, as the
// generator does, and reads from the generator's configuration which operations it
// takes.
func readOverlaid(root string, document []byte) (overlaid, error) {
	var after overlaid
	actions, err := overlay.Parse(filepath.Join(root, "api", "overlay.yaml"))
	if err != nil {
		return after, err
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(document, &tree); err != nil {
		return after, err
	}
	for _, action := range actions.Actions {
		path, err := actions.NewPath(action.Target, nil)
		if err != nil {
			return after, fmt.Errorf("api/overlay.yaml: target %s: %w", action.Target, err)
		}
		after.places = append(after.places, len(path.Query(&tree)))
		one := *actions
		one.Actions = []overlay.Action{action}
		if err := one.ApplyTo(&tree); err != nil {
			return after, fmt.Errorf("api/overlay.yaml: target %s: %w", action.Target, err)
		}
	}
	var configuration struct {
		OutputOptions struct {
			IDs []string `yaml:"include-operation-ids"`
		} `yaml:"output-options"`
	}
	text, err := os.ReadFile(filepath.Join(root, "api", "models.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &configuration)
	}
	if err != nil {
		return after, fmt.Errorf("api/models.yaml: %w", err)
	}
	listed := configuration.OutputOptions.IDs
	var paths struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := tree.Decode(&paths); err != nil {
		return after, err
	}
	after.missing = slices.Clone(listed)
	after.operations = map[string]bool{}
	for path, item := range paths.Paths {
		for _, method := range []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"} {
			node, ok := item[method]
			if !ok {
				continue
			}
			var operation struct {
				ID string `yaml:"operationId"`
			}
			if err := node.Decode(&operation); err != nil {
				return after, err
			}
			after.operations[strings.ToUpper(method)+" "+path] = len(listed) == 0 || slices.Contains(listed, operation.ID)
			after.missing = slices.DeleteFunc(after.missing, func(id string) bool { return id == operation.ID })
		}
	}
	return after, nil
}

// count returns the number of operations and of generated ones, as a text.
func (o overlaid) count() string {
	generated := 0
	for _, is := range o.operations {
		if is {
			generated++
		}
	}
	noun := "operations"
	if len(o.operations) == 1 {
		noun = "operation"
	}
	return fmt.Sprintf("%d %s in the document, %d generated", len(o.operations), noun, generated)
}

// describePlaces returns, as a text, the number of targets that each action of the
// overlay has in the old and the new document.
func describePlaces(root string, before, after overlaid) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "api", "overlay.yaml"))
	if err != nil {
		return "", err
	}
	actions, err := readActions(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	out.WriteString("Places that each action of api/overlay.yaml acts on, before and after:\n")
	for i, action := range actions {
		mark := ""
		if before.places[i] != after.places[i] {
			mark = " (changed)"
		}
		fmt.Fprintf(&out, "  %4d %4d  line %d: %s%s\n", before.places[i], after.places[i], action.Target.Line, action.Target.Value, mark)
	}
	return out.String(), nil
}
