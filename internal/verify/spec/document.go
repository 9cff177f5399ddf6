package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"go.yaml.in/yaml/v4"
)

// A document is the part of a file that is an OpenAPI document, valid or not.
type document struct {
	file string
	line int // of file, where the document starts
	data []byte
}

// findDocument returns the one document in content, the content of file: all of
// content, or the one fenced block of a page that is a document.
func findDocument(file string, content []byte) (document, error) {
	switch {
	case len(bytes.TrimSpace(content)) == 0:
		return document{}, fmt.Errorf("%s: the file is empty", file)
	case !utf8.Valid(content):
		return document{}, fmt.Errorf("%s: the file is not UTF-8 text", file)
	}
	all := document{file, 1, content}
	if is, broken := isOpenAPI(content); is && !broken {
		return all, nil
	}
	blocks := openAPIBlocks(content)
	lineOf := func(offset int) int { return 1 + bytes.Count(content[:offset], []byte("\n")) }
	switch len(blocks) {
	case 1:
		// The block's text must be the page's bytes. In a list or a quotation the
		// page adds to each line, and the document's bytes would be a guess.
		lines := blocks[0].Lines()
		start, end := lines.At(0).Start, lines.At(lines.Len()-1).Stop
		line := lineOf(start)
		if !bytes.Equal(content[start:end], lines.Value(content)) {
			return document{}, fmt.Errorf("%s:%d: the block that starts here is indented, or in a list or a quotation; save the document as a separate file", file, line)
		}
		if rest := bytes.TrimLeft(content[end:], " "); !bytes.HasPrefix(rest, []byte("```")) && !bytes.HasPrefix(rest, []byte("~~~")) {
			return document{}, fmt.Errorf("%s:%d: the block that starts here does not end, so the page may be incomplete; fetch it again", file, line)
		}
		return document{file, line, content[start:end]}, nil
	case 0:
		// The name, or else the content, tells a broken document from a page.
		isPage := slices.Contains([]string{".md", ".mdx", ".markdown"}, strings.ToLower(filepath.Ext(file)))
		isData := slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(file)))
		if is, _ := isOpenAPI(content); isData || is && !isPage {
			return all, nil
		}
		return document{}, fmt.Errorf("%s: no OpenAPI document in it: no fenced block has the key \"openapi\" at its root; pass a page with such a block, or the document as a .yaml or .json file", file)
	default:
		return document{}, fmt.Errorf("%s:%d: the page has another OpenAPI document here, besides line %d; save the right one as a separate file",
			file, lineOf(blocks[1].Lines().At(0).Start), lineOf(blocks[0].Lines().At(0).Start))
	}
}

// openAPIBlocks returns the fenced blocks of page that are OpenAPI documents,
// broken ones included.
func openAPIBlocks(page []byte) []*ast.FencedCodeBlock {
	var found []*ast.FencedCodeBlock
	blocks := parser.NewParser(parser.WithBlockParsers(parser.DefaultBlockParsers()...)) // without parsers of inline text
	_ = ast.Walk(blocks.Parse(text.NewReader(page)), func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if block, ok := node.(*ast.FencedCodeBlock); ok && entering && block.Lines().Len() > 0 {
			if is, _ := isOpenAPI(block.Lines().Value(page)); is {
				found = append(found, block)
			}
		}
		return ast.WalkContinue, nil
	})
	return found
}

var (
	yamlRootKey = regexp.MustCompile(`(?m)^["']?(openapi|swagger)["']?[ \t]*:`)
	jsonKey     = regexp.MustCompile(`^\s*\{(?s:.*)"(openapi|swagger)"\s*:`)
)

// isOpenAPI reports whether data looks like an OpenAPI or Swagger document, and
// whether it is broken: it does not parse as YAML. JSON is YAML, too.
func isOpenAPI(data []byte) (is, broken bool) {
	if !bytes.Contains(data, []byte("openapi")) && !bytes.Contains(data, []byte("swagger")) {
		return false, false
	}
	var node yaml.Node
	if err := yaml.Load(data, &node); err != nil {
		return yamlRootKey.Match(data) || jsonKey.Match(data), true
	}
	if len(node.Content) == 1 && node.Content[0].Kind == yaml.MappingNode {
		for i, key := range node.Content[0].Content {
			is = is || i%2 == 0 && (key.Value == "openapi" || key.Value == "swagger")
		}
	}
	return is, false
}

// load parses and validates the document. Its errors name the file's line, if it is
// known, and what to do.
func (d document) load(ctx context.Context) (*openapi3.T, error) {
	// Blank lines before the document make the parsers count the file's lines.
	data := append(bytes.Repeat([]byte("\n"), d.line-1), d.data...)
	var root map[string]any
	if err := yaml.Load(data, &root); err != nil {
		return nil, d.failure("does not parse", err)
	}
	if version, ok := root["swagger"]; ok {
		return nil, d.failure("has an unsupported version", fmt.Errorf("swagger %v; convert it to OpenAPI 3 first", version))
	}
	if version, ok := root["openapi"]; !ok {
		return nil, d.failure("is not OpenAPI", errors.New(`no key "openapi" at its root`))
	} else if !strings.HasPrefix(fmt.Sprint(version), "3.") {
		return nil, d.failure("has an unsupported version", fmt.Errorf("openapi %v; it must be 3.x", version))
	}
	loaded, err := openapi3.NewLoader().LoadFromData(data) // follows no reference to another document
	if err == nil {
		// Nothing uses the examples. The overlay can replace a pattern that Go's
		// regexp does not support; package server refuses it if it does not.
		err = loaded.Validate(ctx, openapi3.DisableExamplesValidation(), openapi3.DisableSchemaPatternValidation())
	}
	if err != nil {
		return nil, d.failure("is not valid", err)
	}
	return loaded, nil
}

// failure returns the error of an invalid document, with the line of err, or else
// the line where the document starts.
func (d document) failure(what string, err error) error {
	line, why := d.line, err.Error()
	var at *yaml.LoadError
	if errors.As(err, &at) {
		line, why = max(line, at.Mark.Line), at.Message
	}
	return fmt.Errorf("%s:%d: the OpenAPI document %s: %s; correct it at its source, or fetch it again; nothing is replaced", d.file, line, what, why)
}
