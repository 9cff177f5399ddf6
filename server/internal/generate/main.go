// Command generate writes a file beside the strict server that oapi-codegen generated
// before: decoders of the request bodies with the document's
// rules in them, encoders of the responses, and Validated, which connects both to the
// strict handler.
//
// It reads the rules from the document that is embedded in that code, so that both
// are of one document, and the Go types from the code itself. A body with anything
// that it does not know completely gets no decoder: package server then validates it
// by the document. It is inside package server because the texts of violations are
// those of server/internal/validation, of which two files are copied into the
// generated code.
package main

import (
	"bytes"
	"compress/flate"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed helpers.go.txt
var helpers string

// copiedFrom has the files that are copied into the generated code.
const copiedFrom = "server/internal/validation/"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: generate OUTPUT GENERATED...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]...); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(output string, inputs ...string) error {
	code, err := parseCode(inputs...)
	if err != nil {
		return err
	}
	doc, err := code.document()
	if err != nil {
		return fmt.Errorf("the embedded document: %w", err)
	}
	g := &generator{code: code, functions: map[string]string{}}
	if err := g.operations(doc); err != nil {
		return err
	}
	text, err := g.file()
	if err != nil {
		return err
	}
	return os.WriteFile(output, text, 0o644) //nolint:gosec // source code is readable by all
}

// code is what oapi-codegen generated.
type code struct {
	name    string // of the package
	files   *token.FileSet
	types   map[string]*ast.TypeSpec
	models  map[string]bool          // the types of package models
	methods map[string]*ast.FuncDecl // by "Type.Method"
	strict  *ast.InterfaceType       // StrictServerInterface
	spec    *ast.CompositeLit        // the embedded document
}

func parseCode(names ...string) (*code, error) {
	c := &code{files: token.NewFileSet(), types: map[string]*ast.TypeSpec{}, models: map[string]bool{}, methods: map[string]*ast.FuncDecl{}}
	for _, name := range names {
		file, err := parser.ParseFile(c.files, name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		c.name = file.Name.Name
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv != nil {
					receiver := strings.TrimPrefix(c.text(decl.Recv.List[0].Type), "*")
					c.methods[receiver+"."+decl.Name.Name] = decl
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					c.declare(spec, file.Name.Name == "models")
				}
			}
		}
	}
	if c.strict == nil || c.spec == nil {
		return nil, fmt.Errorf("%s have no StrictServerInterface or no embedded document", names)
	}
	return c, nil
}

func (c *code) declare(spec ast.Spec, isModel bool) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		c.types[spec.Name.Name] = spec
		c.models[spec.Name.Name] = isModel
		if spec.Name.Name == "StrictServerInterface" {
			c.strict, _ = spec.Type.(*ast.InterfaceType)
		}
	case *ast.ValueSpec:
		if spec.Names[0].Name == "swaggerSpec" {
			c.spec, _ = spec.Values[0].(*ast.CompositeLit)
		}
	}
}

// text returns the source of a node.
func (c *code) text(node any) string {
	var b strings.Builder
	if err := format.Node(&b, c.files, node); err != nil {
		panic(err) // the node was parsed
	}
	return b.String()
}

// document decodes the embedded document.
func (c *code) document() (*openapi3.T, error) {
	var encoded strings.Builder
	for _, chunk := range c.spec.Elts {
		literal, _ := chunk.(*ast.BasicLit)
		if literal == nil {
			return nil, errors.New("it is not a list of strings")
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			return nil, err
		}
		encoded.WriteString(text)
	}
	packed, err := base64.StdEncoding.DecodeString(encoded.String())
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(text)
}

// generator collects the generated text.
type generator struct {
	*code
	decoders  strings.Builder   // entries of the map decoders
	bodies    strings.Builder   // of validated, and the responses
	functions map[string]string // decoders and encoders of structs, by name; "" while one is being written
	patterns  []string
}

// route finds the operation in the comment of its method: "(POST /path)".
var route = regexp.MustCompile(`\((\w+) (\S+)\)\s*$`)

func (g *generator) operations(doc *openapi3.T) error {
	for _, method := range g.strict.Methods.List {
		name := method.Names[0].Name
		found := route.FindStringSubmatch(method.Doc.Text())
		if found == nil || doc.Paths.Value(found[2]) == nil || doc.Paths.Value(found[2]).GetOperation(found[1]) == nil {
			return fmt.Errorf("StrictServerInterface: the comment of method %s names no operation of the document", name)
		}
		g.operation(name, found[1]+" "+found[2], doc.Paths.Value(found[2]).GetOperation(found[1]))
	}
	return nil
}

func (g *generator) operation(name, route string, op *openapi3.Operation) {
	w := &g.bodies
	fmt.Fprintf(w, "\n// %s implements [StrictServerInterface]: %s.\n", name, route)
	fmt.Fprintf(w, "func (v validated) %[1]s(ctx context.Context, request %[1]sRequestObject) (%[1]sResponseObject, error) {\n", name)
	if op.RequestBody != nil {
		bind, set := "", ""
		body := name + "JSONRequestBody"
		if media := op.RequestBody.Value.Content["application/json"]; media != nil && len(op.RequestBody.Value.Content) == 1 && media.Schema != nil && g.types[body] != nil {
			var decode string
			err := g.attempt(func() (err error) {
				decode, err = g.decodeStruct(media.Schema, &ast.Ident{Name: body}, name)
				return err
			})
			if err == nil {
				bind, set = "body := ", "case *"+body+":\nrequest.Body = body\n"
				fmt.Fprintf(&g.decoders, "%q: func(d *bodyDecoder) any {\nv := new(%s)\n%s(d, v)\nreturn v\n},\n", op.OperationID, body, decode)
			} else {
				fmt.Fprintf(&g.decoders, "// %s: its body is validated by the document, because of %v\n", op.OperationID, err)
			}
		}
		fmt.Fprintf(w, "switch %sctx.Value(BodyKey{}).(type) {\n%s", bind, set)
		fmt.Fprintf(w, "case BoundBody:\ndefault:\nreturn nil, errNotValidated\n}\n")
	}
	responses := g.responses(name, op)
	if len(responses) == 0 {
		fmt.Fprintf(w, "return v.next.%s(ctx, request)\n}\n", name)
		return
	}
	types := slices.Sorted(maps.Keys(responses))
	fmt.Fprintf(w, "response, err := v.next.%s(ctx, request)\n", name)
	fmt.Fprintf(w, "switch response.(type) {\ncase %s:\nresponse = encoded%sResponse{newEncoding(response)}\n}\nreturn response, err\n}\n", strings.Join(types, ", "), name)
	fmt.Fprintf(w, "\n// encoded%[1]sResponse encodes the responses of success of %[1]s.\ntype encoded%[1]sResponse struct{ *encoding }\n", name)
	fmt.Fprintf(w, "\nfunc (e encoded%[1]sResponse) Visit%[1]sResponse(w http.ResponseWriter) error {\n", name)
	fmt.Fprintf(w, "b := e.buffer\nvar status int\nvar failure error\nfailed := &failure\nswitch response := e.response.(type) {\n")
	for _, typ := range types {
		fmt.Fprintf(w, "case %s:\n%s", typ, responses[typ])
	}
	fmt.Fprintf(w, "}\nreturn e.send(w, status, b, failure)\n}\n")
}

// attempt calls write, and drops the functions that it wrote if it fails.
func (g *generator) attempt(write func() error) error {
	before := maps.Clone(g.functions)
	err := write()
	if err != nil {
		g.functions = before
	}
	return err
}

// responses returns, for each type of a response of success that the generator can
// encode, the statements that set b, status and the headers.
func (g *generator) responses(name string, op *openapi3.Operation) map[string]string {
	all := map[string]string{}
	for status := range op.Responses.Map() {
		typ := name + status + "JSONResponse"
		visit := g.methods[typ+".Visit"+name+"Response"]
		if status[0] != '2' || visit == nil || g.types[typ] == nil {
			continue
		}
		structure, isStruct := g.types[typ].Type.(*ast.StructType)
		body, source := g.types[typ].Type, "response"
		if isStruct && len(structure.Fields.List) == 2 && g.text(structure.Fields.List[0].Names[0]) == "Body" {
			body, source = structure.Fields.List[0].Type, "response.Body"
		}
		var encode string
		err := g.attempt(func() (err error) {
			encode, err = g.encode(body, source, name)
			return err
		})
		if err != nil {
			fmt.Fprintf(&g.decoders, "// %s: its response %s is encoded by encoding/json, because of %v\n", op.OperationID, status, err)
			continue
		}
		all[typ] = encode + g.headers(visit) + "status = " + status + "\n"
	}
	return all
}

// headers returns the statements by which a generated method sets the headers that
// the implementation chose.
func (g *generator) headers(visit *ast.FuncDecl) string {
	var text string
	for _, statement := range visit.Body.List {
		if line := g.text(statement); strings.Contains(line, "response.Headers.") {
			text += line + "\n"
		}
	}
	return text
}

// file returns the complete file.
func (g *generator) file() ([]byte, error) {
	var b strings.Builder
	for i, pattern := range g.patterns {
		fmt.Fprintf(&b, "\nvar pattern%d = regexp.MustCompile(%s)\n", i, quote(pattern))
	}
	fmt.Fprintf(&b, "\n// decoders has the decoders of request bodies, by operationId.\nvar decoders = map[string]func(*bodyDecoder) any{\n%s}\n%s", g.decoders.String(), g.bodies.String())
	for _, name := range slices.Sorted(maps.Keys(g.functions)) {
		b.WriteString(g.functions[name])
	}
	b.WriteString("\n" + helpers)
	for _, name := range []string{"violation.go", "number.go"} {
		text, err := os.ReadFile(copiedFrom + name)
		if err != nil {
			return nil, err
		}
		_, declarations, found := strings.Cut(string(text), "\n)\n") // after the imports
		if !found {
			return nil, fmt.Errorf("%s%s: it has no list of imports", copiedFrom, name)
		}
		fmt.Fprintf(&b, "\n// Copied from %s%s.\n%s", copiedFrom, name, declarations)
	}
	imports, err := g.imports(b.String())
	if err != nil {
		return nil, err
	}
	return format.Source([]byte("// Code generated by server/internal/generate. DO NOT EDIT.\n\npackage " + g.name + "\n\nimport (\n" + imports + ")\n" + b.String()))
}

// imports returns the imports that a file's declarations use.
func (g *generator) imports(text string) (string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package apiserver\n"+text, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	used := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.SelectorExpr:
			if name, ok := node.X.(*ast.Ident); ok {
				used[name.Name] = true
			}
		case *ast.Ident:
			used["models"] = used["models"] || g.models[node.Name]
		}
		return true
	})
	const module = "github.com/registryusers/registryusers"
	var standard, others string
	for _, name := range []string{"bytes", "context", "errors", "fmt", "io", "math", "net/http", "regexp", "slices", "strconv", "strings", "sync", "time", "unicode/utf8"} {
		if used[path.Base(name)] {
			standard += strconv.Quote(name) + "\n"
		}
	}
	others = "\"github.com/go-json-experiment/json/jsontext\"\n\n"
	if used["registryusers"] {
		others += strconv.Quote(module) + "\n"
	}
	if used["models"] {
		others += ". " + strconv.Quote(module+"/gen/models") + "\n"
	}
	return standard + "\n" + others, nil
}

func quote(text string) string {
	if strconv.CanBackquote(text) {
		return "`" + text + "`"
	}
	return strconv.Quote(text)
}
