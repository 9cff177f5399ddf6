package registryusers_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the pages of documentation, by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %v and %v, want pages", pattern, files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pages[file] = string(text)
		}
	}
	return pages
}

// Every Go program in the documentation is complete and compiles. In CI it passes vet,
// too, which takes minutes of processor time the first time: vet analyses every
// package that a program imports.
func TestDocumentedProgramsCompile(t *testing.T) {
	blocks, found := regexp.MustCompile("(?ms)^```go\n(.*?)^```$"), 0
	for page, text := range pages(t) {
		for i, block := range blocks.FindAllStringSubmatch(text, -1) {
			found++
			if strings.Contains(block[1], "server.New(") && !strings.Contains(block[1], "server.Unimplemented") {
				t.Errorf("%s, program %d: a new operation of the document stops its compilation: embed server.Unimplemented", page, i+1)
			}
			t.Run(fmt.Sprintf("%s %d", page, i+1), func(t *testing.T) {
				name := "program.go"
				if strings.Contains(block[1], `"testing"`) {
					name = "program_test.go"
				}
				file := filepath.Join(t.TempDir(), name)
				if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
					t.Fatal(err)
				}
				args := []string{"test", "-c", "-vet=off", "-o", os.DevNull, file}
				switch {
				case os.Getenv("CI") != "":
					args = []string{"vet", file}
				case name == "program.go":
					args = []string{"build", "-o", os.DevNull, file}
				}
				if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
					t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			})
		}
	}
	if found < 3 {
		t.Errorf("got %d Go programs in the documentation, want the caller's, the implementer's and the test's", found)
	}
}

// Every link to a file of the repository has its file, and every link to a section
// has its heading.
func TestDocumentationLinks(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	all, found := pages(t), 0
	for page, text := range all {
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			found++
			path, section, _ := strings.Cut(link[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s: %v", page, link[1], err)
				continue
			}
			if section == "" {
				continue
			}
			var sections []string
			for _, match := range heading.FindAllStringSubmatch(all[target], -1) {
				sections = append(sections, strings.ReplaceAll(strings.ToLower(match[1]), " ", "-"))
			}
			if !strings.Contains("\n"+strings.Join(sections, "\n")+"\n", "\n"+section+"\n") {
				t.Errorf("%s: the link %s: got the sections %q", page, link[1], sections)
			}
		}
	}
	if found == 0 {
		t.Error("the documentation has no links")
	}
}
