package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// regenerate runs the generator. When it stops, the error has the generator's
// words and names the overlay's actions that they are about.
func regenerate(ctx context.Context, root string) error {
	command := exec.CommandContext(ctx, "go", "generate", "./...")
	command.Dir = root
	words, err := command.CombinedOutput()
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("the new document is in place, but the generator stopped (%v):\n\n  %s\n", err,
		strings.ReplaceAll(strings.TrimSpace(string(words)), "\n", "\n  "))
	overlay, err := os.ReadFile(filepath.Join(root, "api", "overlay.yaml"))
	if err != nil {
		return fmt.Errorf("%s\n%w", what, err)
	}
	for _, action := range stoppingActions(overlay, string(words)) {
		what += "\n" + action
	}
	return fmt.Errorf("%s\nChange api/overlay.yaml so that it fits the new document, then run this command again", what)
}

var repeated = regexp.MustCompile(`duplicate local parameter \w+/(\S+)`)

// stoppingActions returns a line for each action of the overlay that the
// generator's words are about.
func stoppingActions(overlay []byte, words string) []string {
	var file struct {
		Actions []struct{ Target, Update yaml.Node }
	}
	if err := yaml.Load(overlay, &file); err != nil {
		return []string{"api/overlay.yaml: " + err.Error()}
	}
	parameter := repeated.FindStringSubmatch(words)
	var actions []string
	for _, action := range file.Actions {
		at := fmt.Sprintf("api/overlay.yaml:%d: the action on %s", action.Target.Line, action.Target.Value)
		switch {
		case strings.Contains(words, strconv.Quote(action.Target.Value)):
			actions = append(actions, at+" finds nothing to act on")
		case parameter != nil && mentions(&action.Update, parameter[1]):
			actions = append(actions, at+" adds the parameter "+parameter[1]+", which the document has itself")
		}
	}
	return actions
}

// mentions reports whether value is anywhere under node.
func mentions(node *yaml.Node, value string) bool {
	for _, child := range node.Content {
		if mentions(child, value) {
			return true
		}
	}
	return node.Kind == yaml.ScalarNode && node.Value == value
}
