package main

import (
	"errors"
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
	places     map[string]int  // by the target of an action: the number of places
	operations map[string]bool // by method and path ("POST /a/{b}"): generated or not
	missing    []string        // listed ids that no operation has
}

// readOverlaid applies the overlay of the project at root to document, as the
// generator does, and reads from the generator's configuration which overlay that is
// and which operations it takes.
func readOverlaid(root string, document []byte) (overlaid, error) {
	after := overlaid{places: map[string]int{}}
	var configuration struct {
		OutputOptions struct {
			IDs     []string `yaml:"include-operation-ids"`
			Overlay struct{ Path string }
		} `yaml:"output-options"`
	}
	text, err := os.ReadFile(filepath.Join(root, "api", "models.yaml"))
	if err = errors.Join(err, yaml.Unmarshal(text, &configuration)); err != nil {
		return after, fmt.Errorf("api/models.yaml: %w", err)
	}
	path := configuration.OutputOptions.Overlay.Path
	actions, err := overlay.Parse(filepath.Join(root, path))
	if err != nil {
		return after, fmt.Errorf("%s: %w", path, err)
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(document, &tree); err != nil {
		return after, err
	}
	for _, action := range actions.Actions {
		targets, err := actions.NewPath(action.Target, nil)
		if err != nil {
			return after, fmt.Errorf("%s: target %s: %w", path, action.Target, err)
		}
		after.places[action.Target] = len(targets.Query(&tree))
		one := *actions
		one.Actions = []overlay.Action{action}
		if err := one.ApplyTo(&tree); err != nil {
			return after, fmt.Errorf("%s: target %s: %w", path, action.Target, err)
		}
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
	return fmt.Sprintf("%d %s in the document with the overlay, %d generated", len(o.operations), noun, generated)
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
	for _, action := range actions {
		was, is, mark := before.places[action.Target.Value], after.places[action.Target.Value], ""
		if was != is {
			mark = " (changed)"
		}
		fmt.Fprintf(&out, "  %4d %4d  line %d: %s%s\n", was, is, action.Target.Line, action.Target.Value, mark)
	}
	return out.String(), nil
}
