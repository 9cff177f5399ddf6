package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oasdiff/oasdiff/checker"
	"github.com/oasdiff/oasdiff/diff"
	"github.com/oasdiff/oasdiff/flatten/commonparams"
	"github.com/oasdiff/oasdiff/load"
	"go.yaml.in/yaml/v4"
)

// describeChanges returns, as a text, the changes from base to revision that break
// callers, that may break them, and others, according to oasdiff. It only counts,
// by tag, the changes to operations ("POST /a/{b}") that are not generated.
func describeChanges(base, revision *openapi3.T, generated func(operation string) bool) (text string) {
	incomparable := func(why any) string {
		return fmt.Sprintf("oasdiff cannot compare the two (%v): git diff api/cloud_api.yaml shows what changed.\n", why)
	}
	defer func() {
		if why := recover(); why != nil { // oasdiff panics on a null tag, for example
			text = incomparable(why)
		}
	}()
	commonparams.Move(base)
	commonparams.Move(revision)
	compared, sources, err := diff.GetWithOperationsSourcesMap(diff.NewConfig(), &load.SpecInfo{Url: "base", Spec: base}, &load.SpecInfo{Url: "revision", Spec: revision})
	if err != nil {
		return incomparable(err)
	}
	var out strings.Builder
	changes := checker.CheckBackwardCompatibilityUntilLevel(checker.NewConfig(checker.GetAllChecks()), compared, sources, checker.INFO)
	isOther := func(change checker.Change) bool {
		return change.GetPath() != "" && !generated(change.GetOperation()+" "+change.GetPath())
	}
	others := slices.DeleteFunc(slices.Clone(changes), func(c checker.Change) bool { return !isOther(c) })
	changes = slices.DeleteFunc(changes, isOther)
	for _, group := range []struct {
		level checker.Level
		title string
	}{{checker.ERR, "Breaks callers:"}, {checker.WARN, "May break callers:"}, {checker.INFO, "Other changes:"}} {
		writeGroup(&out, group.title, group.level, changes)
	}
	writeTags(&out, base, revision, others) // changes that break callers of ours come first
	if parts := partsNotCompared(compared); len(parts) > 0 {
		fmt.Fprintf(&out, "Changed, and not compared; see git diff api/cloud_api.yaml:\n  %s\n", strings.Join(parts, "\n  "))
	}
	if out.Len() == 0 {
		return "No caller sees a difference: git diff api/cloud_api.yaml shows what changed.\n"
	}
	return out.String()
}

// writeTags writes the number of changes to the operations of each tag, sorted by
// the number of changes that break callers.
func writeTags(out *strings.Builder, base, revision *openapi3.T, changes checker.Changes) {
	if len(changes) == 0 {
		return
	}
	type row struct {
		tag    string
		counts [3]int // of changes that break callers, that may, and others
	}
	rows := map[string]*row{}
	for _, change := range changes {
		tag := tagOf(change.GetOperation(), change.GetPath(), revision, base)
		if rows[tag] == nil {
			rows[tag] = &row{tag: tag}
		}
		rows[tag].counts[slices.Index([]checker.Level{checker.ERR, checker.WARN, checker.INFO}, change.GetLevel())]++
	}
	sorted := slices.SortedFunc(maps.Values(rows), func(a, b *row) int {
		return cmp.Or(slices.Compare(b.counts[:], a.counts[:]), strings.Compare(a.tag, b.tag))
	})
	fmt.Fprintln(out, "Operations that are not generated, by tag: changes that break callers, that may, and others:")
	for _, r := range sorted {
		fmt.Fprintf(out, "  %5d %5d %5d  %s\n", r.counts[0], r.counts[1], r.counts[2], r.tag)
	}
}

// tagOf returns the first tag of an operation in the first document that has it.
func tagOf(method, path string, documents ...*openapi3.T) string {
	for _, doc := range documents {
		if item := doc.Paths.Value(path); item != nil {
			if op := item.GetOperation(method); op != nil && len(op.Tags) > 0 {
				return op.Tags[0]
			}
		}
	}
	return "(no tag)"
}

// writeGroup writes the changes of one level, by operation.
func writeGroup(out *strings.Builder, title string, level checker.Level, changes checker.Changes) {
	words := checker.NewDefaultLocalizer()
	of := ""
	for _, change := range changes {
		if change.GetLevel() != level {
			continue
		}
		if of == "" {
			fmt.Fprintln(out, title)
		}
		where := strings.TrimSpace(change.GetOperation() + " " + change.GetPath())
		if where == "" {
			where = change.GetSection()
		}
		if where != of {
			fmt.Fprintf(out, "  %s\n", where)
			of = where
		}
		fmt.Fprintf(out, "    %s\n", change.GetUncolorizedText(words))
	}
}

// notCompared names the parts of a document for which oasdiff finds changes but
// does not decide whether they break callers. describeChanges lists them.
var notCompared = []string{
	"additionalProperties", "additionalPropertiesAllowed", "allowReserved", "callbacks", "encoding", "explode", "links",
	"not", "servers", "style", "unevaluatedItemsAllowed", "unevaluatedPropertiesAllowed",
}

// partsNotCompared returns the places in the document where such parts changed.
func partsNotCompared(compared *diff.Diff) []string {
	if compared == nil {
		return nil
	}
	var tree yaml.Node
	if err := tree.Encode(map[string]any{"servers": compared.ServersDiff, "paths": compared.PathsDiff}); err != nil {
		return []string{err.Error()}
	}
	var parts []string
	var walk func(node *yaml.Node, trail []string, isName bool)
	walk = func(node *yaml.Node, trail []string, isName bool) {
		if node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i].Value, node.Content[i+1]
			here := append(slices.Clip(trail), key)
			switch {
			case value.Tag == "!!null":
			case !isName && slices.Contains(notCompared, key):
				parts = append(parts, strings.Join(here, " "))
			case key == "modified" || key == "paths" || key == "operations":
				walk(value, trail, key == "modified")
			default:
				walk(value, here, false)
			}
		}
	}
	walk(&tree, nil, false)
	return parts
}
