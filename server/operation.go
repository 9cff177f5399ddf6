package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/server/internal/validation"
)

// operation checks the requests of one operation of the document.
type operation struct {
	id   string
	next http.HandlerFunc // the generated code

	route      *routers.Route
	pathNames  []string // of the parameters in the path, in order, as the generated code spells them
	parameters []parameter

	body         *validation.Schema // nil: the operation has no body
	bodyRequired bool
	decodes      bool // the generated code decodes and validates the body

	successes []int // the statuses below 400 that the document declares
}

type parameter struct {
	*openapi3.Parameter
	position int                // in the path, or -1
	scalar   *validation.Schema // of a parameter that is one integer or string without an encoding; else nil
	integer  bool
}

func newOperation(doc *openapi3.T, compiler *validation.Compiler, path string, item *openapi3.PathItem, method string, spec *openapi3.Operation) (*operation, error) {
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
		op.decodes = apiserver.Decodes(op.id)
	}
	for status := 200; status < 400; status++ {
		if spec.Responses.Status(status) != nil {
			op.successes = append(op.successes, status)
		}
	}
	return op, nil
}

func newParameter(compiler *validation.Compiler, path string, spec *openapi3.Parameter) (parameter, error) {
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
		resp.context.body = apiserver.BoundBody{}
	} else if !op.validateBody(resp, r) {
		return
	}
	op.next(resp, r)
}

func (op *operation) checkParameters(r *http.Request) []validation.Violation {
	if len(op.parameters) == 0 {
		return nil
	}
	var violations []validation.Violation
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
				return []validation.Violation{{Field: "query", Why: "must be percent-encoded name=value pairs"}}
			}
			input = &openapi3filter.RequestValidationInput{Request: r, Route: op.route, QueryParams: query, PathParams: op.pathParameters(r)}
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
func (p *parameter) checkScalar(violations []validation.Violation, sent []string) []validation.Violation {
	switch {
	case len(sent) == 0 && p.Required:
		return append(violations, validation.Violation{Field: p.Name, Why: "is required"})
	case len(sent) == 0:
		return violations
	case len(sent) > 1:
		return append(violations, validation.Violation{Field: p.Name, Why: "must be given once"})
	case p.integer:
		return p.checkInteger(violations, sent[0])
	}
	return p.checkValue(violations, sent[0])
}

// checkParameter validates a parameter of any form and fills in its default. It
// uses kin-openapi for every parameter that checkScalar cannot validate.
func (op *operation) checkParameter(violations []validation.Violation, p *parameter, input *openapi3filter.RequestValidationInput) []validation.Violation {
	sent := op.sent(p, input.Request, input.QueryParams)
	single := p.Schema != nil && !p.Schema.Value.Type.Includes("array") && !p.Schema.Value.Type.Includes("object")
	if p.scalar != nil && (len(sent) > 0 || p.Schema.Value.Default == nil) {
		return p.checkScalar(violations, sent)
	}
	if single && len(sent) > 1 {
		return append(violations, validation.Violation{Field: p.Name, Why: "must be given once"})
	}
	err := openapi3filter.ValidateParameter(input.Request.Context(), input, p.Parameter)
	var invalid *openapi3.SchemaError
	switch {
	case err == nil:
		return violations
	case errors.Is(err, openapi3filter.ErrInvalidRequired):
		return append(violations, validation.Violation{Field: p.Name, Why: "is required"})
	case errors.As(err, &invalid):
		return append(violations, validation.Violation{Field: p.Name, Why: validation.Why(invalid.SchemaField, p.Schema.Value)})
	default:
		return append(violations, validation.Violation{Field: p.Name, Why: "must be encoded as the document declares"})
	}
}

// checkInteger validates an integer. It accepts only the canonical decimal form, so
// that an id has one spelling.
func (p *parameter) checkInteger(violations []validation.Violation, text string) []validation.Violation {
	n, err := strconv.ParseInt(text, 10, 64)
	var canonical [20]byte
	if err != nil || string(strconv.AppendInt(canonical[:0], n, 10)) != text {
		return append(violations, validation.Violation{Field: p.Name, Why: "must be an integer in canonical decimal digits, of 64 bits at most"})
	}
	if p.scalar.AnyInt() {
		return violations
	}
	return p.checkValue(violations, n)
}

func (p *parameter) checkValue(violations []validation.Violation, value any) []validation.Violation {
	for _, v := range p.scalar.Check(value) {
		violations = append(violations, validation.Violation{Field: p.Name, Why: v.Why})
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

// validateBody reads, decodes and validates the body. It keeps the value in the
// request's context, or in r.Body for the generated code to bind, and reports whether
// the body is valid; if not, resp is an error.
func (op *operation) validateBody(resp *response, r *http.Request) bool {
	resp.context.body = apiserver.BoundBody{}
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
	buffer := buffers.Get().(*bytes.Buffer)
	_, err := buffer.ReadFrom(http.MaxBytesReader(resp.ResponseWriter, r.Body, MaxBodyBytes))
	defer release(buffer, buffer.Bytes())
	if err != nil {
		resp.failBody(err)
		return false
	}
	violations, err := op.decodeBody(resp, buffer.Bytes())
	switch {
	case err != nil:
		resp.failBody(err)
	case len(violations) > 0:
		resp.failFields(violations)
	default:
		r.Body = &resp.bound
		return true
	}
	return false
}

// decodeBody sets the value of a valid body, or returns its violations, or an error if it is
// not acceptable JSON.
func (op *operation) decodeBody(resp *response, data []byte) (violations []validation.Violation, err error) {
	if op.decodes {
		if body, found, ok := apiserver.DecodeBody(op.id, data); ok {
			for _, v := range found {
				violations = append(violations, validation.Violation(v))
			}
			resp.context.body, resp.bound.value = body, map[string]any(nil)
			return violations, nil
		}
	}
	value, err := validation.Decode(data)
	if err != nil {
		return nil, err
	}
	if violations = op.body.Check(value); len(violations) == 0 {
		op.body.FillDefaults(value)
		resp.bound.value = value
	}
	return violations, nil
}

// buffers has buffers that bodies are read into.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// release returns a buffer to the pool. It clears the body, which may have a secret.
func release(buffer *bytes.Buffer, body []byte) {
	clear(body)
	const kept = 64 << 10
	if buffer.Reset(); buffer.Cap() <= kept {
		buffers.Put(buffer)
	}
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
// binds its value by the runtime; no second parser can read it.
type validatedBody struct{ value any }

// ValidatedValue implements the interface that the generator's runtime looks for. The
// value is empty if the implementation gets the body from the request's context.
func (b *validatedBody) ValidatedValue() any { return b.value }

var errBodyWasRead = errors.New("the body was already read")

// Read fails: the runtime reads a body whose value it cannot bind.
func (*validatedBody) Read([]byte) (int, error) { return 0, errBodyWasRead }
func (*validatedBody) Close() error             { return nil }

// requestContext is the context of a request in the generated code.
type requestContext struct {
	context.Context     // the authenticator's
	body            any // the validated body
}

// Value implements [context.Context].
func (c *requestContext) Value(key any) any {
	if key == (apiserver.BodyKey{}) {
		return c.body
	}
	return c.Context.Value(key)
}
