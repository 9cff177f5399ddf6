package server

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/registryusers/registryusers/gen/apiserver"
)

// routed serves all operations of a document and returns a function that sends
// a request without a body, and returns the operation it reached, with the values in
// its path, or the status if it reached none.
func routed(t *testing.T, document string) (*service, func(method, target string) string) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var reached string
	s := &env{}
	s.service = built(t, doc, func(mux apiserver.ServeMux) {
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
					reached = op.OperationID
					for _, name := range parameterNames(path) {
						reached += " " + r.PathValue(name)
					}
					for status := range op.Responses.Map() {
						if code := 0; status != "default" {
							_, _ = fmt.Sscan(status, &code)
							w.WriteHeader(code)
						}
					}
				})
			}
		}
	}, func(o *Options) { o.ValidateResponses = false })
	return s.service, func(method, target string) string {
		t.Helper()
		reached = ""
		w := s.sendThing(method, target, http.Header{"Content-Type": nil}, "")
		if reached == "" {
			reached = strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Header().Get("Allow")))
		}
		return reached
	}
}

// parameterNames returns the names of a template's parameters, in order.
func parameterNames(template string) (names []string) {
	for _, found := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(template, -1) {
		names = append(names, found[1])
	}
	return names
}

// Each of the vendor's seventeen operations on registries gets its own requests.
func TestAllOperationsAreRouted(t *testing.T) {
	document, err := os.ReadFile("testdata/registries.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, send := routed(t, string(document))
	const base = "/cloud/v1/registries/1/2"
	for _, test := range []struct{ method, path, want string }{
		{"POST", "", "RegistriesHandler.post 1 2"},
		{"GET", "?limit=0&offset=0", "RegistriesHandler.get 1 2"},
		{"HEAD", "", "RegistriesHandler.get 1 2"},
		{"POST", "/check_limits", "RegistyCheckLimitsHandler.post 1 2"},
		{"GET", "/3", "RegistryHandler.get 1 2 3"},
		{"DELETE", "/3", "RegistryHandler.delete 1 2 3"},
		{"PATCH", "/3/resize", "RegistryResizeHandler.patch 1 2 3"},
		{"POST", "/3/users", "RegistryUsersHandler.post 1 2 3"},
		{"GET", "/3/users", "RegistryUsersHandler.get 1 2 3"},
		{"POST", "/3/users/batch", "RegistryBatchUsersHandler.post 1 2 3"},
		{"PATCH", "/3/users/4", "RegistryUserHandler.patch 1 2 3 4"},
		{"DELETE", "/3/users/4", "RegistryUserHandler.delete 1 2 3 4"},
		{"POST", "/3/users/4/refresh_secret", "RegistryRefreshSecretHandler.post 1 2 3 4"},
		{"GET", "/3/repositories", "RegistryRepositoriesHandler.get 1 2 3"},
		{"DELETE", "/3/repositories/app", "RegistryRepositoryHandler.delete 1 2 3 app"},
		{"DELETE", "/3/repositories/team%2Fapp", "RegistryRepositoryHandler.delete 1 2 3 team/app"},
		{"DELETE", "/3/repositories/team%252Fapp", "RegistryRepositoryHandler.delete 1 2 3 team%2Fapp"},
		{"GET", "/3/repositories/team%2Fapp/artifacts", "RegistryArtifactsHandler.get 1 2 3 team/app"},
		{"GET", "/3/repositories/artifacts/artifacts", "RegistryArtifactsHandler.get 1 2 3 artifacts"},
		{"DELETE", "/3/repositories/app/artifacts/sha256:ab", "RegistryArtifactHandler.delete 1 2 3 app sha256:ab"},
		{"DELETE", "/3/repositories/app/artifacts/sha256%3Aab/tags/v1", "RegistryTagHandler.delete 1 2 3 app sha256:ab v1"},
		// Requests of none of them.
		{"DELETE", "/3/", "404"},                // a repository or user of no name, as a client may spell it
		{"DELETE", "/3/repositories/..", "404"}, // which some clients remove from the path
		{"DELETE", "/3/repositories/", "404"},
		{"DELETE", "/3//app", "404"},
		{"GET", "/check_limits", "400"}, // no id
		{"DELETE", "/3/users/batch", "400"},
		{"PUT", "/3/users/batch", "405 DELETE, PATCH, POST"},
		{"PUT", "/check_limits", "405 DELETE, GET, HEAD, POST"},
		{"POST", "/3/repositories/app", "405 DELETE"},
		{"POST", "/3/repositories/app/artifacts/sha256:ab/tags", "404"},
	} {
		if got := send(test.method, base+test.path); got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.method, test.path, got, test.want)
		}
	}
}

// conflicts returns paths of up to five segments that each have one literal, in
// another place: each pair matches some of the same requests, and neither matches all of the
// other's. The vendor's document has seventeen such paths.
func conflicts() (paths []string) {
	for length := 2; length <= 5; length++ {
		for literal := range length {
			path := fmt.Sprintf("/of%d", length)
			for i := range length {
				if i == literal {
					path += fmt.Sprintf("/is%d", i)
				} else {
					path += fmt.Sprintf("/{a%d}", i)
				}
			}
			paths = append(paths, path)
		}
	}
	return append(paths, "/of2/is0/is2/end", "/slash/", "/slash", "/slash/{a}", "/tilde~/b:c,d")
}

func TestPathsThatServeMuxCannotHoldTogether(t *testing.T) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("http.ServeMux accepts these paths together: they prove nothing")
			}
		}()
		mux := http.NewServeMux()
		for _, path := range conflicts() {
			mux.HandleFunc("GET "+path, http.NotFound)
		}
	}()
	var document strings.Builder
	document.WriteString("openapi: 3.1.0\ninfo: {title: Conflicts, version: '1'}\nsecurity: [{Key: []}]\n" +
		"components: {securitySchemes: {Key: {type: apiKey, in: header, name: Authorization}}}\npaths:\n")
	for _, path := range conflicts() {
		fmt.Fprintf(&document, "  %s:\n    get:\n      operationId: %q\n      responses: {'204': {description: Done}}\n", path, path)
		if names := parameterNames(path); len(names) > 0 {
			document.WriteString("      parameters:\n")
			for _, name := range names {
				fmt.Fprintf(&document, "        - {in: path, name: %s, required: true, schema: {type: string}}\n", name)
			}
		}
	}
	_, send := routed(t, document.String())
	for _, path := range conflicts() {
		n := 0
		target := regexp.MustCompile(`\{\w+\}`).ReplaceAllStringFunc(path, func(string) string { n++; return fmt.Sprint("v", n) })
		want := path
		for i := range n {
			want += fmt.Sprint(" v", i+1)
		}
		if got := send("GET", target); got != want {
			t.Errorf("GET %s: got %s, want %s", target, got, want)
		}
	}
	for target, want := range map[string]string{
		"/of2/is0/is1":           "/of2/is0/{a1} is1", // both match: the first literal decides
		"/of4/x/is1/is2/is3":     "/of4/{a0}/is1/{a2}/{a3} x is2 is3",
		"/of2/is0/is2/end":       "/of2/is0/is2/end",
		"/of2/is0/is2":           "/of2/is0/{a1} is2",
		"/of2/x/x":               "404",
		"/of2/is0/is2/end/more":  "404",
		"/of5/is0/is1/is2/is3/4": "/of5/is0/{a1}/{a2}/{a3}/{a4} is1 is2 is3 4",
	} {
		if got := send("GET", target); got != want {
			t.Errorf("GET %s: got %s, want %s", target, got, want)
		}
	}
}
