package server

import (
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/schema"
)

// operation checks the requests of one operation of the document.
type operation struct {
	id   string
	next http.HandlerFunc // the generated code

	route      *routers.Route
	pathNames  []string // of the parameters in the path, in order, as the generated code spells them
	parameters []parameter

	body         *schema.Schema // nil: the operation has no body
	bodyRequired bool

	declared [600]bool // by status: the document declares this response, not only the default one
}

type parameter struct {
	*openapi3.Parameter
	position int            // in the path, or -1
	scalar   *schema.Schema // of a parameter that is one integer or string without an encoding; else nil
	integer  bool
	engine   bool // kin-openapi validates it as OpenAPI 3.1, which is slow
}

func newOperation(doc *openapi3.T, compiler *schema.Compiler, path string, item *openapi3.PathItem, method string, spec *openapi3.Operation) (*operation, error) {
	op := &operation{
		id:    spec.OperationID,
		route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: spec},
	}
	if err := checkSecurity(doc, spec); err != nil {
		return nil, err
	}
	parameters := slices.Clone(spec.Parameters)
	for _, ref := range item.Parameters {
		if spec.Parameters.GetByInAndName(ref.Value.In, ref.Value.Name) == nil { // else the operation's parameter overrides the path's
			parameters = append(parameters, ref)
		}
	}
	for _, ref := range parameters {
		p, err := newParameter(compiler, path, ref.Value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", ref.Value.Name, err)
		}
		op.parameters = append(op.parameters, p)
	}
	if spec.RequestBody != nil {
		body := spec.RequestBody.Value
		media := body.Content["application/json"]
		if media == nil || len(body.Content) != 1 || media.Schema == nil {
			return nil, errors.New("request body: the server supports only application/json with a schema")
		}
		err := checkBody(media.Schema)
		if err == nil {
			op.body, err = compiler.Compile(media.Schema)
		}
		if err != nil {
			return nil, fmt.Errorf("request body: %w", err)
		}
		op.bodyRequired = body.Required
	}
	for code := range op.declared {
		op.declared[code] = spec.Responses.Status(code) != nil
	}
	return op, nil
}

func newParameter(compiler *schema.Compiler, path string, spec *openapi3.Parameter) (parameter, error) {
	p := parameter{Parameter: spec, position: -1}
	if spec.In == openapi3.ParameterInPath {
		for i, name := range wildcards(path) {
			if name == spec.Name {
				p.position = i
			}
		}
		if p.position < 0 {
			return p, errors.New("the path has no segment for it")
		}
	}
	if spec.Schema == nil {
		return p, nil
	}
	if err := checkParameter(spec.Schema.Value); err != nil {
		return p, err
	}
	compiled, err := compiler.Compile(spec.Schema)
	if err != nil {
		return p, err
	}
	p.engine = !compiled.Simple()
	p.integer = spec.Schema.Value.Type.Is("integer")
	if (p.integer || spec.Schema.Value.Type.Is("string")) && isPlain(spec) {
		p.scalar = compiled
	}
	if p.integer {
		if n, ok := spec.Schema.Value.Default.(float64); ok && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
			spec.Schema.Value.Default = int64(n) // kin-openapi would fill in 1e+06 for a million
		}
	}
	return p, nil
}

// isPlain reports whether a parameter's style sends a single value without an encoding.
func isPlain(spec *openapi3.Parameter) bool {
	switch spec.In {
	case openapi3.ParameterInPath, openapi3.ParameterInHeader:
		return spec.Style == "" || spec.Style == openapi3.SerializationSimple
	case openapi3.ParameterInQuery:
		return (spec.Style == "" || spec.Style == openapi3.SerializationForm) && !spec.AllowReserved
	}
	return false
}

func (op *operation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resp := w.(*response)
	resp.operation = op
	if violations := op.checkParameters(r); len(violations) > 0 {
		resp.failFields(violations)
		return
	}
	if op.body == nil {
		r.Body = http.NoBody
	} else if !op.validateBody(resp, r) {
		return
	}
	op.next(resp, r)
}

func (op *operation) checkParameters(r *http.Request) []schema.Violation {
	if len(op.parameters) == 0 {
		return nil
	}
	var violations []schema.Violation
	var input *openapi3filter.RequestValidationInput
	for i := range op.parameters {
		p := &op.parameters[i]
		switch {
		case p.integer && p.scalar != nil && p.position >= 0:
			violations = p.checkInteger(violations, r.PathValue(op.pathNames[p.position]))
			continue
		case p.scalar != nil && p.In != openapi3.ParameterInQuery && p.Schema.Value.Default == nil:
			violations = p.checkScalar(violations, op.sent(p, r, nil))
			continue
		}
		if input == nil {
			query, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil {
				return []schema.Violation{{Field: "query", Why: "must be percent-encoded name=value pairs"}}
			}
			input = &openapi3filter.RequestValidationInput{Request: r, QueryParams: query, PathParams: op.pathParameters(r)}
		}
		violations = op.checkParameter(violations, p, input)
	}
	return violations
}

// sent returns the values that a request has for a parameter, not decoded by its style.
func (op *operation) sent(p *parameter, r *http.Request, query url.Values) []string {
	switch p.In {
	case openapi3.ParameterInPath:
		return []string{r.PathValue(op.pathNames[p.position])}
	case openapi3.ParameterInHeader:
		return r.Header.Values(p.Name)
	case openapi3.ParameterInQuery:
		return query[p.Name]
	}
	return nil
}

// checkScalar validates a parameter that is one integer or one string.
func (p *parameter) checkScalar(violations []schema.Violation, sent []string) []schema.Violation {
	switch {
	case len(sent) == 0 && p.Required:
		return append(violations, schema.Violation{Field: p.Name, Why: "is required"})
	case len(sent) == 0:
		return violations
	case len(sent) > 1:
		return append(violations, schema.Violation{Field: p.Name, Why: "must be given once"})
	case p.integer:
		return p.checkInteger(violations, sent[0])
	}
	return p.checkValue(violations, sent[0])
}

// checkParameter validates a parameter of any form and fills in its default. It
// uses kin-openapi for every parameter that checkScalar cannot validate.
func (op *operation) checkParameter(violations []schema.Violation, p *parameter, input *openapi3filter.RequestValidationInput) []schema.Violation {
	sent := op.sent(p, input.Request, input.QueryParams)
	single := p.Schema != nil && !p.Schema.Value.Type.Includes("array") && !p.Schema.Value.Type.Includes("object")
	if p.scalar != nil && (len(sent) > 0 || p.Schema.Value.Default == nil) {
		return p.checkScalar(violations, sent)
	}
	if single && len(sent) > 1 {
		return append(violations, schema.Violation{Field: p.Name, Why: "must be given once"})
	}
	// Without a route kin-openapi uses its fast visitor. With the route of an
	// OpenAPI 3.1 document it uses an engine that it compiles for every call.
	input.Route = nil
	if p.engine {
		input.Route = op.route
	}
	err := openapi3filter.ValidateParameter(input.Request.Context(), input, p.Parameter)
	var invalid *openapi3.SchemaError
	switch {
	case err == nil:
		return violations
	case errors.Is(err, openapi3filter.ErrInvalidRequired):
		return append(violations, schema.Violation{Field: p.Name, Why: "is required"})
	case errors.As(err, &invalid):
		return append(violations, schema.Violation{Field: p.Name, Why: schema.Why(invalid.SchemaField, p.Schema.Value)})
	default:
		return append(violations, schema.Violation{Field: p.Name, Why: "must be encoded as the document declares"})
	}
}

// checkInteger validates an integer. It accepts only the canonical decimal form, so
// that an id has one spelling.
func (p *parameter) checkInteger(violations []schema.Violation, text string) []schema.Violation {
	n, err := strconv.ParseInt(text, 10, 64)
	var canonical [20]byte
	if err != nil || string(strconv.AppendInt(canonical[:0], n, 10)) != text {
		return append(violations, schema.Violation{Field: p.Name, Why: "must be an integer in canonical decimal digits, of 64 bits at most"})
	}
	if p.scalar.AnyInt() {
		return violations
	}
	return p.checkValue(violations, n)
}

func (p *parameter) checkValue(violations []schema.Violation, value any) []schema.Violation {
	for _, v := range p.scalar.Check(value) {
		violations = append(violations, schema.Violation{Field: p.Name, Why: v.Why})
	}
	return violations
}

func (op *operation) pathParameters(r *http.Request) map[string]string {
	values := make(map[string]string, len(op.pathNames))
	for _, p := range op.parameters {
		if p.position >= 0 {
			values[p.Name] = r.PathValue(op.pathNames[p.position])
		}
	}
	return values
}

// validateBody reads, decodes and validates the body, and sets r.Body to a
// validatedBody for the generated code to bind. It reports whether the body is
// valid; if not, resp is an error.
func (op *operation) validateBody(resp *response, r *http.Request) bool {
	if r.ContentLength == 0 && !op.bodyRequired && r.Header.Get("Content-Type") == "" {
		r.Body = http.NoBody
		return true
	}
	if !isJSON(r.Header) {
		resp.fail(http.StatusUnsupportedMediaType, apierror.Body{Message: `the body must be JSON in UTF-8, with the header "Content-Type: application/json" and no Content-Encoding`}, nil)
		return false
	}
	if r.ContentLength > MaxBodyBytes {
		resp.fail(http.StatusRequestEntityTooLarge, apierror.Body{Message: tooLarge}, nil)
		return false
	}
	value, violations, err := op.body.Parse(http.MaxBytesReader(resp.ResponseWriter, r.Body, MaxBodyBytes))
	if err != nil {
		resp.failBody(err)
		return false
	}
	if len(violations) > 0 {
		resp.failFields(violations)
		return false
	}
	r.Body = validatedBody{value}
	return true
}

var tooLarge = fmt.Sprintf("the body must have at most %d bytes", MaxBodyBytes)

// isJSON reports whether the header declares a JSON body in UTF-8, not compressed.
func isJSON(header http.Header) bool {
	values := header["Content-Type"]
	if len(values) != 1 || header.Get("Content-Encoding") != "" {
		return false
	}
	if values[0] == "application/json" {
		return true
	}
	mediaType, parameters, err := mime.ParseMediaType(values[0])
	if err != nil || mediaType != "application/json" {
		return false
	}
	charset, ok := parameters["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// validatedBody is a body that was read, decoded and validated. The generated code
// binds its value through [schema.BindBody]; no second parser can read it.
type validatedBody struct{ schema.Value }

var errBodyWasRead = errors.New("the body was already read")

func (validatedBody) Read([]byte) (int, error) { return 0, errBodyWasRead }
func (validatedBody) Close() error             { return nil }
