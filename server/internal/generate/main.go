// Command generate writes OUTPUT for the strict server that oapi-codegen generates from the
// same CONFIGURATION and DOCUMENT: decoders of the request bodies with the document's rules
// in them, encoders of the responses, and Validated, which connects both to the strict handler.
//
// It is oapi-codegen with a template of ours. A body with anything that it does not know
// completely gets no decoder: package server then validates it by the document. It is inside
// package server because the texts of violations are those of server/internal/validation.
//
// With aliases as its first argument, it writes to OUTPUT the aliases in package server of
// what an implementation names of the generated FILES; with logvalues, the methods LogValue
// of the types in the last of the FILES.
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/oapi-codegen/oapi-codegen/v2/pkg/codegen"
	"github.com/oapi-codegen/oapi-codegen/v2/pkg/util"
	"go.yaml.in/yaml/v3"
)

//go:embed header.tmpl
var header string

//go:embed adapter.tmpl
var adapter string

func main() {
	var err error
	switch {
	case len(os.Args) > 3 && os.Args[1] == "aliases":
		err = aliases(os.Args[2], os.Args[3:]...)
	case len(os.Args) > 2 && os.Args[1] == "logvalues":
		err = logValues(os.Args[2:]...)
	case len(os.Args) == 4:
		err = run(os.Args[1], os.Args[2], os.Args[3])
	default:
		err = errors.New("usage: generate CONFIGURATION DOCUMENT OUTPUT, generate aliases OUTPUT FILES, or generate logvalues FILES")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(configuration, document, output string) error {
	var config codegen.Configuration
	text, err := os.ReadFile(configuration) //nolint:gosec // the file that the caller names
	if err = errors.Join(err, yaml.Unmarshal(text, &config)); err != nil {
		return fmt.Errorf("%s: %w", configuration, err)
	}
	doc, err := util.LoadSwaggerWithOverlay(document, util.LoadSwaggerWithOverlayOpts{Path: config.OutputOptions.Overlay.Path, Strict: true})
	if err != nil {
		return err
	}
	const nothing = "{{print}}\n" // an empty text would leave oapi-codegen's template in place
	config.Generate = codegen.GenerateOptions{StdHTTPServer: true}
	config.OutputOptions.UserTemplates = map[string]string{
		"imports.tmpl": header, "stdhttp/std-http-interface.tmpl": adapter, "stdhttp/std-http-middleware.tmpl": nothing, "stdhttp/std-http-handler.tmpl": nothing,
	}
	requests, responses := &walk{decodes: true, Objects: map[string]*form{}}, &walk{Objects: map[string]*form{}}
	codegen.TemplateFunctions["requests"] = func() *walk { return requests }
	codegen.TemplateFunctions["responses"] = func() *walk { return responses }
	codegen.TemplateFunctions["copied"] = copied
	code, err := codegen.Generate(doc, config)
	if err != nil {
		return err
	}
	return os.WriteFile(output, []byte(code), 0o644) //nolint:gosec // source code is readable by all
}

// copied returns the declarations of a file, which follow its list of imports.
func copied(file string) (string, error) {
	text, err := os.ReadFile(file)
	_, declarations, _ := strings.Cut(string(text), "\n)\n")
	return declarations, err
}

// body is that of a request or a response.
type body struct {
	*form
	codegen.ResponseDefinition // of a response

	Unknown error // why it has no form
}

// Request returns the body of an operation's request.
func (w *walk) Request(op codegen.OperationDefinition) body {
	media := op.Spec.RequestBody.Value.Content["application/json"]
	if len(op.Bodies) > 1 || media == nil || media.Schema == nil {
		return body{Unknown: errors.New("its media types")}
	}
	f, err := w.form(media.Schema, op.Bodies[0].Schema, "v", op.OperationId)
	if err == nil && f.Name == "" {
		err = errors.New("the type " + f.Kind)
	}
	return body{form: f, Unknown: err}
}

// Success returns the bodies of an operation's responses of success that are of JSON.
func (w *walk) Success(op codegen.OperationDefinition) (all []body) {
	for _, r := range op.Responses {
		media := op.Spec.Responses.Value(r.StatusCode).Value.Content["application/json"]
		if r.StatusCode[0] != '2' || !r.HasFixedStatusCode() || r.IsRef() || len(r.Contents) > 1 || media == nil || media.Schema == nil {
			continue
		}
		f, err := w.form(media.Schema, r.Contents[0].Schema, "response", op.OperationId+r.StatusCode)
		switch {
		case err == nil && len(r.Headers) > 0:
			f.Place = "response.Body"
		case err == nil && f.Name != "": // the response is of another type with the same fields
			f.Pointer, f.Place = true, "(*"+f.Go+")(&response)"
		}
		all = append(all, body{f, r, err})
	}
	return all
}
