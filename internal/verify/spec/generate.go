package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// regenerate runs the generator and returns what it prints: the additions that the
// document has by now. If the generator fails, the error has its output and names the
// overlay's actions that made it fail.
func regenerate(ctx context.Context, root string) (string, error) {
	command := exec.CommandContext(ctx, "go", "generate", "./...")
	command.Dir = root
	output, err := command.CombinedOutput()
	if err == nil {
		return string(output), nil
	}
	what := fmt.Sprintf("the document is in place, but the generator stopped (%v):\n\n  %s\n", err,
		strings.ReplaceAll(strings.TrimSpace(string(output)), "\n", "\n  "))
	overlay, err := os.ReadFile(filepath.Join(root, "api", "overlay.yaml"))
	if err != nil {
		return "", fmt.Errorf("%s\n%w", what, err)
	}
	for _, action := range stoppingActions(overlay, string(output)) {
		what += "\n" + action
	}
	return "", fmt.Errorf("%s\nChange api/overlay.yaml so that it fits the new document, then run this command again", what)
}

var repeated = regexp.MustCompile(`duplicate local parameter \w+/(\S+)`)

// stoppingActions returns a line for each action of the overlay that the
// generator's output is about.
func stoppingActions(overlay []byte, output string) []string {
	all, err := readActions(overlay)
	if err != nil {
		return []string{err.Error()}
	}
	parameter := repeated.FindStringSubmatch(output)
	var actions []string
	for _, action := range all {
		at := fmt.Sprintf("api/overlay.yaml:%d: the action on %s", action.Target.Line, action.Target.Value)
		switch {
		case strings.Contains(output, strconv.Quote(action.Target.Value)):
			actions = append(actions, at+" finds nothing to act on")
		case parameter != nil && mentions(&action.Update, parameter[1]):
			actions = append(actions, at+" adds the parameter "+parameter[1]+", which the document has itself")
		}
	}
	return actions
}

// action is an action of the overlay, with its line in the file.
type action struct{ Target, Update yaml.Node }

// readActions returns the actions of an overlay.
func readActions(overlay []byte) ([]action, error) {
	var file struct{ Actions []action }
	if err := yaml.Load(overlay, &file); err != nil {
		return nil, fmt.Errorf("api/overlay.yaml: %w", err)
	}
	return file.Actions, nil
}

// hashTree returns a checksum of the names and contents of all files in dir.
func hashTree(dir string) (string, error) {
	sum, tree := sha256.New(), os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(tree, path)
		fmt.Fprintf(sum, "%q %d\n%s", path, len(content), content)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

// mentions reports whether value occurs at or below node.
func mentions(node *yaml.Node, value string) bool {
	for _, child := range node.Content {
		if mentions(child, value) {
			return true
		}
	}
	return node.Kind == yaml.ScalarNode && node.Value == value
}
