package server

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/server/internal/validation"
)

// operation checks the requests of one operation of the document.
type operation struct {
	id         string
	route      *routers.Route
	parameters []parameter
	general    bool // kin-openapi may have to validate a parameter

	body         *validation.Schema // nil: the operation has no body
	bodyRequired bool
	decode       func(data []byte) (body any, violations []apiserver.Violation, unknown []string, ok bool) // generated code; may be nil

	successes []int // the statuses below 400 that the document declares

	next      http.HandlerFunc // the generated code
	matched   *http.Request    // the path of next, as http.ServeMux matched it
	pathNames []string         // of the path's segments that are parameters, as the generated code spells them; else ""
}

func newOperation(doc *openapi3.T, compiler *validation.Compiler, path, method string, pathNames []string) (*operation, error) {
	item := doc.Paths.Value(path)
	spec := item.GetOperation(method)
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
		p, err := newParameter(compiler, pathNames, ref.Value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", ref.Value.Name, err)
		}
		op.parameters = append(op.parameters, p)
		op.general = op.general || p.rules == nil || p.hasDefault || p.In == openapi3.ParameterInQuery
	}
	if spec.RequestBody != nil {
		body := spec.RequestBody.Value
		media := body.Content["application/json"]
		if media == nil || len(body.Content) != 1 || media.Schema == nil {
			return nil, errors.New("request body: the server supports only application/json with a schema")
		}
		err := checkSchema(media.Schema, media.Schema.Ref == "")
		if err == nil {
			op.body, err = compiler.Compile(media.Schema)
		}
		if err != nil {
			return nil, fmt.Errorf("request body: %w", err)
		}
		op.bodyRequired = body.Required
		op.decode = apiserver.Decoder(op.id)
	}
	for status := 200; status < 400; status++ {
		if spec.Responses.Status(status) != nil {
			op.successes = append(op.successes, status)
		}
	}
	return op, nil
}

// serve serves a request, whose path has these segments. The generated code gets of the
// request what a document can describe.
func (op *operation) serve(resp *response, from *http.Request, segments []string) {
	r := op.matched.Clone(&resp.context)
	r.Method, r.URL, r.Header, r.Body, r.ContentLength = from.Method, from.URL, from.Header, from.Body, from.ContentLength
	for i, name := range op.pathNames {
		if name != "" {
			r.SetPathValue(name, segments[i])
		}
	}
	resp.operation, resp.request = op, r
	if violations := op.checkParameters(r, segments); len(violations) > 0 {
		resp.failFields(violations)
		return
	}
	if op.validateBody(resp, r) {
		op.next(resp, r)
	}
}

type parameter struct {
	*openapi3.Parameter
	position   int                // among the path's segments; else -1
	header     string             // the name of a header
	rules      *validation.Schema // of one integer or string without an encoding; else nil: kin-openapi validates it
	integer    bool
	anyInteger bool // every integer of 64 bits is valid, as for most ids
	hasDefault bool
}

func newParameter(compiler *validation.Compiler, pathNames []string, spec *openapi3.Parameter) (parameter, error) {
	p := parameter{Parameter: spec, position: slices.Index(pathNames, spec.Name), header: http.CanonicalHeaderKey(spec.Name)}
	if spec.In != openapi3.ParameterInPath {
		p.position = -1
	} else if p.position < 0 {
		return p, errors.New("the path has no segment for it")
	}
	if spec.Schema == nil {
		return p, nil
	}
	schema := spec.Schema.Value
	if err := checkSchema(spec.Schema, true); err != nil {
		return p, err
	}
	rules, err := compiler.Compile(spec.Schema)
	if err != nil {
		return p, err
	}
	p.integer, p.hasDefault = schema.Type.Is("integer"), schema.Default != nil
	if bare := *schema; bare.Format == "" || bare.Format == "int64" {
		bare.Format, bare.Title, bare.Description, bare.Default, bare.Example, bare.Examples = "", "", "", nil, nil, nil
		p.anyInteger = p.integer && reflect.DeepEqual(bare, openapi3.Schema{Type: schema.Type})
	}
	plainStyle := map[string]string{"path": "simple", "header": "simple", "query": "form"}[spec.In]
	if (p.integer || schema.Type.Is("string")) && plainStyle != "" && (spec.Style == "" || spec.Style == plainStyle) && !spec.AllowReserved {
		p.rules = rules
	}
	if n, ok := schema.Default.(float64); ok && p.integer && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
		schema.Default = int64(n) // kin-openapi would fill in 1e+06 for a million
	}
	return p, nil
}

// checkParameters validates the parameters and fills in their defaults. The path has
// these segments.
func (op *operation) checkParameters(r *http.Request, segments []string) (violations []validation.Violation) {
	var input *openapi3filter.RequestValidationInput
	if op.general {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return []validation.Violation{{Field: "query", Why: "must be percent-encoded name=value pairs"}}
		}
		input = &openapi3filter.RequestValidationInput{Request: r, Route: op.route, QueryParams: query, PathParams: map[string]string{}}
	}
	for i := range op.parameters {
		p := &op.parameters[i]
		var sent []string
		switch p.In {
		case openapi3.ParameterInPath:
			sent = segments[p.position : p.position+1]
			if input != nil {
				input.PathParams[p.Name] = sent[0]
			}
		case openapi3.ParameterInHeader:
			sent = r.Header[p.header]
		case openapi3.ParameterInQuery:
			sent = input.QueryParams[p.Name]
		}
		for _, v := range p.check(sent, input) {
			violations = append(violations, validation.Violation{Field: p.Name, Why: v.Why})
		}
	}
	return violations
}

// check returns the violations of the values that were sent for a parameter.
func (p *parameter) check(sent []string, input *openapi3filter.RequestValidationInput) []validation.Violation {
	violation := func(why string) []validation.Violation { return []validation.Violation{{Why: why}} }
	switch {
	case p.rules != nil && len(sent) == 1 && p.integer:
		n, err := strconv.ParseInt(sent[0], 10, 64)
		digits := strings.TrimPrefix(sent[0], "-")
		if err != nil || digits[0] == '+' || digits[0] == '0' && sent[0] != "0" { // an id has one spelling
			return violation("must be an integer in canonical decimal digits, of 64 bits at most")
		}
		if p.anyInteger {
			return nil
		}
		return p.rules.Check(n)
	case p.rules != nil && len(sent) == 1:
		return p.rules.Check(sent[0])
	case len(sent) > 1 && p.Schema != nil && !p.Schema.Value.Type.Includes("array") && !p.Schema.Value.Type.Includes("object"):
		return violation("must be given once")
	case p.rules != nil && !p.hasDefault && p.Required:
		return violation("is required")
	case p.rules != nil && !p.hasDefault:
		return nil
	}
	err := openapi3filter.ValidateParameter(input.Request.Context(), input, p.Parameter)
	var invalid *openapi3.SchemaError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, openapi3filter.ErrInvalidRequired):
		return violation("is required")
	case errors.As(err, &invalid):
		return violation(validation.Why(invalid.SchemaField, p.Schema.Value))
	}
	return violation("must be encoded as the document declares")
}
