package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
)

// document returns a copy of the embedded document, to change.
func document(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := apiserver.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

const requestRef = "#/components/schemas/RegistryUserCreateSerializer"

const createPath = "/cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users"

func createOperation(doc *openapi3.T) *openapi3.Operation { return doc.Paths.Value(createPath).Post }

// inPlace puts the request body's schema into the operation, not into the components.
func inPlace(doc *openapi3.T, schema *openapi3.Schema) {
	createOperation(doc).RequestBody.Value.Content["application/json"].Schema = schema.NewRef()
}

// objectOf returns a schema of an object with one field.
func objectOf(field string) *openapi3.SchemaRef {
	return openapi3.NewObjectSchema().WithProperty(field, openapi3.NewStringSchema()).NewRef()
}

// intOrString returns a schema that the generator turns into a union.
func intOrString() *openapi3.Schema {
	return openapi3.NewOneOfSchema(openapi3.NewIntegerSchema(), openapi3.NewStringSchema())
}

// built returns a server of doc with the routes that mount registers.
func built(t *testing.T, doc *openapi3.T, mount func(apiserver.ServeMux), edits ...func(*Options)) *service {
	t.Helper()
	s := &service{log: &logBuffer{}}
	handler, err := build(doc, s.options(edits...), mount)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = handler
	return s
}

// mountCreate registers the operation of the embedded document.
func mountCreate(next http.HandlerFunc) func(apiserver.ServeMux) {
	return func(mux apiserver.ServeMux) {
		mux.HandleFunc("POST /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users", next)
	}
}

func TestNewWithoutAuthenticatorIsRefused(t *testing.T) {
	handler, err := New(creator{create: created}, Options{})
	if handler != nil || err == nil || !strings.Contains(err.Error(), "Authenticator") {
		t.Errorf("got %v, %v; want an error that names Authenticator", handler, err)
	}
}

func TestDocumentThatCannotBeServedIsRefused(t *testing.T) {
	apiKey := func(in, name string) *openapi3.SecuritySchemeRef {
		return &openapi3.SecuritySchemeRef{Value: openapi3.NewSecurityScheme().WithType("apiKey").WithIn(in).WithName(name)}
	}
	schemes := func(doc *openapi3.T) openapi3.SecuritySchemes { return doc.Components.SecuritySchemes }
	requestSchema := func(doc *openapi3.T) *openapi3.Schema {
		return createOperation(doc).RequestBody.Value.Content["application/json"].Schema.Value
	}
	for _, test := range []struct {
		name string
		edit func(*openapi3.T)
		want []string // in the error
	}{
		{"a choice of security schemes", func(doc *openapi3.T) {
			schemes(doc)["Session"] = apiKey("cookie", "sid")
			doc.Security = append(doc.Security, openapi3.SecurityRequirement{"Session": {}})
		}, []string{"CreateUser", "APIKey", "Session"}},
		{"two security schemes together", func(doc *openapi3.T) {
			schemes(doc)["Session"] = apiKey("header", "X-Session")
			doc.Security[0]["Session"] = []string{}
		}, []string{"CreateUser", "APIKey", "Session"}},
		{"no security", func(doc *openapi3.T) { doc.Security = nil }, []string{"CreateUser", "security"}},
		{"optional security", func(doc *openapi3.T) { doc.Security = openapi3.SecurityRequirements{{}} }, []string{"CreateUser", "security"}},
		{"an operation without security", func(doc *openapi3.T) {
			createOperation(doc).Security = openapi3.NewSecurityRequirements()
		}, []string{"CreateUser", "security"}},
		{"an operation with a scheme of its own", func(doc *openapi3.T) {
			schemes(doc)["Session"] = apiKey("cookie", "sid")
			createOperation(doc).Security = openapi3.NewSecurityRequirements().With(openapi3.SecurityRequirement{"Session": {}})
		}, []string{"CreateUser", "Session"}},
		{"a cookie", func(doc *openapi3.T) { schemes(doc)["APIKey"] = apiKey("cookie", "Authorization") }, []string{"CreateUser", "APIKey"}},
		{"a query parameter", func(doc *openapi3.T) { schemes(doc)["APIKey"] = apiKey("query", "Authorization") }, []string{"APIKey"}},
		{"another header", func(doc *openapi3.T) { schemes(doc)["APIKey"] = apiKey("header", "X-Api-Key") }, []string{"APIKey"}},
		{"a bearer token", func(doc *openapi3.T) {
			schemes(doc)["APIKey"] = &openapi3.SecuritySchemeRef{Value: openapi3.NewJWTSecurityScheme()}
		}, []string{"APIKey"}},
		{"a scheme that is not declared", func(doc *openapi3.T) { delete(schemes(doc), "APIKey") }, []string{"APIKey", "not declared"}},
		{"a body of text", func(doc *openapi3.T) {
			content := createOperation(doc).RequestBody.Value.Content
			content["text/plain"] = content["application/json"]
			delete(content, "application/json")
		}, []string{"CreateUser", "request body"}},
		{"a choice of bodies", func(doc *openapi3.T) {
			content := createOperation(doc).RequestBody.Value.Content
			content["text/plain"] = content["application/json"]
		}, []string{"CreateUser", "request body"}},
		{"a body without a schema", func(doc *openapi3.T) {
			createOperation(doc).RequestBody.Value.Content["application/json"].Schema = nil
		}, []string{"CreateUser", "request body"}},
		{"a pattern that does not compile", func(doc *openapi3.T) {
			requestSchema(doc).Properties["name"].Value.Pattern = "^[a-z"
		}, []string{"CreateUser", "request body"}},
		{"a pattern that does not compile, for the engine", func(doc *openapi3.T) {
			requestSchema(doc).Const = map[string]any{}
			requestSchema(doc).Properties["name"].Value.Pattern = "^[a-z"
		}, []string{"CreateUser", "request body"}},
		{"a pattern of a parameter that does not compile", func(doc *openapi3.T) {
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(openapi3.NewStringSchema().WithPattern("(")))
		}, []string{"CreateUser", "filter"}},
		{"a body written in place that is one of several", func(doc *openapi3.T) {
			inPlace(doc, &openapi3.Schema{OneOf: openapi3.SchemaRefs{objectOf("a"), objectOf("b")}})
		}, []string{"CreateUser", "request body", "oneOf", "components"}},
		{"a body written in place that is any of several", func(doc *openapi3.T) {
			inPlace(doc, &openapi3.Schema{AnyOf: openapi3.SchemaRefs{objectOf("a"), objectOf("b")}})
		}, []string{"CreateUser", "request body", "anyOf", "components"}},
		{"a body written in place that has one of several in it", func(doc *openapi3.T) {
			inPlace(doc, &openapi3.Schema{AllOf: openapi3.SchemaRefs{objectOf("z"), {
				Ref: requestRef, Value: &openapi3.Schema{OneOf: openapi3.SchemaRefs{objectOf("a"), objectOf("b")}},
			}}})
		}, []string{"CreateUser", "request body", "oneOf", "components"}},
		{"a body written in place with fields of any name", func(doc *openapi3.T) {
			schema := objectOf("a").Value
			schema.AdditionalProperties.Schema = openapi3.NewIntegerSchema().NewRef()
			inPlace(doc, schema)
		}, []string{"CreateUser", "request body", "additionalProperties", "components"}},
		{"a body written in place with a field that is one of several", func(doc *openapi3.T) {
			schema := objectOf("a").Value
			schema.Properties["b"] = (&openapi3.Schema{OneOf: openapi3.SchemaRefs{objectOf("a"), objectOf("b")}}).NewRef()
			inPlace(doc, schema)
		}, []string{"CreateUser", "request body", "/properties/b", "oneOf", "components"}},
		{"a file of base64 in a body", func(doc *openapi3.T) {
			schema := openapi3.NewStringSchema()
			schema.ContentMediaType, schema.ContentEncoding = "image/png", "base64"
			inPlace(doc, openapi3.NewObjectSchema().WithProperty("photo", schema))
		}, []string{"CreateUser", "request body", "photo", "contentMediaType"}},
		{"a file in a body", func(doc *openapi3.T) {
			requestSchema(doc).Properties["name"].Value.ContentMediaType = "text/plain"
		}, []string{"CreateUser", "request body", "name", "contentMediaType"}},
		{"a file deep in a body", func(doc *openapi3.T) {
			files := openapi3.NewArraySchema().WithItems(openapi3.NewStringSchema().WithFormat("binary"))
			requestSchema(doc).WithProperty("files", files)
		}, []string{"CreateUser", "request body", "files", "binary"}},
		{"a parameter that is a file", func(doc *openapi3.T) {
			schema := openapi3.NewStringSchema()
			schema.ContentMediaType = "application/json"
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(schema))
		}, []string{"CreateUser", "filter", "contentMediaType"}},
		{"a parameter that is a list of files", func(doc *openapi3.T) {
			schema := openapi3.NewStringSchema()
			schema.ContentMediaType, schema.ContentEncoding = "application/json", "base64"
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(openapi3.NewArraySchema().WithItems(schema)))
		}, []string{"CreateUser", "filter", "contentMediaType"}},
		{"a parameter of binary data", func(doc *openapi3.T) {
			createOperation(doc).AddParameter(openapi3.NewHeaderParameter("X-Photo").WithSchema(openapi3.NewStringSchema().WithFormat("binary")))
		}, []string{"CreateUser", "X-Photo", "binary"}},
		{"a parameter that is one of several", func(doc *openapi3.T) {
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(intOrString()))
		}, []string{"CreateUser", "filter", "oneOf"}},
		{"a parameter among the components that is one of several", func(doc *openapi3.T) {
			parameter := openapi3.NewHeaderParameter("X-Filter")
			parameter.Schema = &openapi3.SchemaRef{Ref: requestRef, Value: intOrString()}
			createOperation(doc).AddParameter(parameter)
		}, []string{"CreateUser", "X-Filter", "oneOf"}},
		{"a parameter that is any of several", func(doc *openapi3.T) {
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(&openapi3.Schema{AnyOf: intOrString().OneOf}))
		}, []string{"CreateUser", "filter", "anyOf"}},
		{"a parameter that is a list of one of several", func(doc *openapi3.T) {
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(openapi3.NewArraySchema().WithItems(intOrString())))
		}, []string{"CreateUser", "filter", "items", "oneOf"}},
		{"a parameter with a field that is one of several", func(doc *openapi3.T) {
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(openapi3.NewObjectSchema().WithProperty("age", intOrString())))
		}, []string{"CreateUser", "filter", "age", "oneOf"}},
		{"a parameter with fields of any name", func(doc *openapi3.T) {
			schema := objectOf("a").Value
			schema.AdditionalProperties.Schema = openapi3.NewIntegerSchema().NewRef()
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(schema))
		}, []string{"CreateUser", "filter", "additionalProperties"}},
		{"no components", func(doc *openapi3.T) { doc.Components = nil }, []string{"CreateUser", "APIKey", "not declared"}},
		{"no paths", func(doc *openapi3.T) { doc.Paths = nil }, []string{"POST " + createPath}},
		{"two paths that differ only in names", func(doc *openapi3.T) {
			item := *doc.Paths.Value(createPath)
			post := *item.Post
			post.OperationID, post.Parameters, item.Post = "CreateOther", slices.Clip(post.Parameters[:2]), &post
			post.AddParameter(openapi3.NewPathParameter("registry_name").WithSchema(openapi3.NewStringSchema()))
			doc.Paths.Set(strings.Replace(createPath, "{registry_id}", "{registry_name}", 1), &item)
		}, []string{"CreateUser", "CreateOther", createPath}},
		{"a parameter that is a part of a segment", func(doc *openapi3.T) {
			doc.Paths.Set("/things/{thing_id}:cancel", doc.Paths.Value(createPath))
		}, []string{"/things/{thing_id}:cancel", "{thing_id}:cancel", "complete segment"}},
		{"a parameter that is in a path twice", func(doc *openapi3.T) {
			doc.Paths.Set("/things/{thing_id}/of/{thing_id}", doc.Paths.Value(createPath))
		}, []string{"/things/{thing_id}/of/{thing_id}", "twice"}},
		{"a path parameter that is not in the path", func(doc *openapi3.T) {
			createOperation(doc).AddParameter(openapi3.NewPathParameter("user_id").WithSchema(openapi3.NewInt64Schema()))
		}, []string{"CreateUser", "user_id"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := document(t)
			test.edit(doc)
			handler, err := build(doc, Options{Authenticator: anyone}, mountCreate(func(http.ResponseWriter, *http.Request) {}))
			if err == nil {
				t.Fatalf("got %T and no error, want an error with %q", handler, test.want)
			}
			for _, want := range append(test.want, "server: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error: got %q, want %q in it", err, want)
				}
			}
		})
	}
}

// A document is served if the generated code reads each value as it was sent.
func TestDocumentThatCanBeServedIsNotRefused(t *testing.T) {
	for name, edit := range map[string]func(*openapi3.T){
		"a body among the components that is one of several": func(doc *openapi3.T) {
			inPlace(doc, &openapi3.Schema{OneOf: openapi3.SchemaRefs{objectOf("a"), objectOf("b")}})
			createOperation(doc).RequestBody.Value.Content["application/json"].Schema.Ref = requestRef
		},
		"a body written in place that may be null": func(doc *openapi3.T) {
			inPlace(doc, &openapi3.Schema{AnyOf: openapi3.SchemaRefs{objectOf("a"), (&openapi3.Schema{Type: &openapi3.Types{"null"}}).NewRef()}})
		},
		"a body written in place that is a map": func(doc *openapi3.T) {
			schema := openapi3.NewObjectSchema()
			schema.AdditionalProperties.Schema = openapi3.NewIntegerSchema().NewRef()
			inPlace(doc, schema)
		},
		"an operation without responses": func(doc *openapi3.T) { createOperation(doc).Responses = nil },
		"a parameter that may be null": func(doc *openapi3.T) {
			null := &openapi3.Schema{Type: &openapi3.Types{"null"}}
			createOperation(doc).AddParameter(openapi3.NewQueryParameter("filter").WithSchema(openapi3.NewAnyOfSchema(openapi3.NewStringSchema(), null)))
		},
		"a body that has itself in it": func(doc *openapi3.T) {
			schema := objectOf("a").Value
			schema.Properties["next"] = &openapi3.SchemaRef{Ref: requestRef, Value: schema}
			createOperation(doc).RequestBody.Value.Content["application/json"].Schema = &openapi3.SchemaRef{Ref: requestRef, Value: schema}
		},
	} {
		t.Run(name, func(t *testing.T) {
			doc := document(t)
			edit(doc)
			if _, err := build(doc, Options{Authenticator: anyone}, mountCreate(func(http.ResponseWriter, *http.Request) {})); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRoutesAndOperationsMustFindEachOther(t *testing.T) {
	nothing := func(http.ResponseWriter, *http.Request) {}
	create := mountCreate(nothing)
	for _, test := range []struct {
		name  string
		mount func(apiserver.ServeMux)
		want  string // in the error
	}{
		{"an operation without a route", func(apiserver.ServeMux) {}, "CreateUser"},
		{"a route without an operation", func(mux apiserver.ServeMux) { create(mux); mux.HandleFunc("GET /health", nothing) }, "GET /health"},
		{"a route of another method", func(mux apiserver.ServeMux) {
			create(mux)
			mux.HandleFunc("PUT /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users", nothing)
		}, "PUT /cloud/v1/registries/{project_id}/{region_id}/{registry_id}/users"},
		{"a route without a method", func(mux apiserver.ServeMux) { create(mux); mux.HandleFunc("/", nothing) }, `"/"`},
		{"a route given twice", func(mux apiserver.ServeMux) { create(mux); create(mux) }, "POST /cloud"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := build(document(t), Options{Authenticator: anyone}, test.mount); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error: got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestRouteMayNameItsWildcardsAsGoDoes(t *testing.T) {
	s := built(t, document(t), func(mux apiserver.ServeMux) {
		mux.HandleFunc("POST /cloud/v1/registries/{projectID}/{regionID}/{registryID}/users", func(w http.ResponseWriter, _ *http.Request) {
			failHandling(w, nil, registryusers.ErrUserExists)
		})
	})
	s.wantError(t, s.send(call{path: "/cloud/v1/registries/1/x/3/users"}), 400, "ValidationError", "region_id")
	s.wantError(t, s.send(call{}), 409, "ConflictError")
}

// A response that does not conform to the document becomes a 500. The log says where
// and which rule it violates, and does not quote it.
func TestResponseThatDoesNotFitTheDocument(t *testing.T) {
	user := func(replace ...string) string {
		return strings.NewReplacer(replace...).Replace(`{"id":7,"name":"m0rk3r","read_only":false,"duration":14,` +
			`"created_at":"2026-05-07T20:33:46.548242Z","expires_at":"2026-05-21T20:33:46.548242Z","secret":"m0rk3r"}`)
	}
	for _, test := range []struct {
		name        string
		status      int
		contentType string
		body        string
		want        []string // in the log
	}{
		{"missing field", 201, "application/json", user(`"id":7,`, ``), []string{"201", "/: required"}},
		{"wrong type", 201, "application/json", user(`"id":7`, `"id":"m0rk3r"`), []string{"/id", "type"}},
		{"null", 201, "application/json", user(`"secret":"m0rk3r"`, `"secret":null`), []string{"/secret", "type"}},
		{"wrong format", 201, "application/json", user(`2026-05-07T`, `m0rk3r`), []string{"/created_at", "format"}},
		{"two places", 201, "application/json", user(`"id":7`, `"id":1.5`, `14`, `"90210987"`), []string{"/id", "/duration"}},
		{"not an object", 201, "application/json", `["m0rk3r"]`, []string{"201", "type"}},
		{"not JSON", 201, "application/json", `m0rk3r`, []string{"201", "decode"}},
		{"empty", 201, "application/json", ``, []string{"201"}},
		{"not JSON by its header", 201, "text/plain", user(), []string{"201", "Content-Type"}},
		{"no Content-Type", 201, "", user(), []string{"201", "Content-Type"}},
		{"undeclared status", 202, "application/json", user(), []string{"202"}},
		{"undeclared status of another kind", 302, "application/json", user(), []string{"302"}},
		{"undeclared status that is never validated", 301, "application/json", user(), []string{"301"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := built(t, document(t), mountCreate(func(w http.ResponseWriter, _ *http.Request) {
				if test.contentType != "" {
					w.Header().Set("Content-Type", test.contentType)
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			w := s.send(call{})
			got := s.wantError(t, w, 500, "InternalServerError")
			line := s.log.line(t, got.RequestID)
			for _, want := range test.want {
				if !strings.Contains(line.Error, want) {
					t.Errorf("error in the log: got %q, want %q in it", line.Error, want)
				}
			}
		})
	}
}

func TestResponseWithAHeaderThatDoesNotFit(t *testing.T) {
	s := built(t, document(t), mountCreate(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "soon")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	got := s.wantError(t, s.send(call{}), 500, "InternalServerError")
	if line := s.log.line(t, got.RequestID); !strings.Contains(line.Error, "Retry-After") || strings.Contains(line.Error, "soon") {
		t.Errorf("error in the log: got %q, want it to name Retry-After, and not to quote it", line.Error)
	}
}

func TestErrorsUndeclaredByTheDocumentAreFoundToo(t *testing.T) {
	doc := document(t)
	createOperation(doc).Responses.Delete("default")
	s := built(t, doc, mountCreate(func(w http.ResponseWriter, r *http.Request) { failHandling(w, r, registryusers.ErrForbidden) }))
	got := s.wantError(t, s.send(call{}), 500, "InternalServerError")
	if line := s.log.line(t, got.RequestID); !strings.Contains(line.Error, "403") {
		t.Errorf("error in the log: got %q, want it to name the status", line.Error)
	}
}
