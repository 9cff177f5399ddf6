package ociregistry_test

import (
	"crypto/sha256"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/keys"
	"github.com/registryusers/registryusers/internal/oci"
)

const manifests = "/v2/1-1-demo/app/manifests/v1"

// begun begins an upload and returns its Location.
func (w *env) begun(repository, header string) string {
	w.t.Helper()
	got := w.send(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", header)
	if got.status != http.StatusAccepted {
		w.t.Fatalf("begin an upload in %s: got %v, want status 202", repository, got)
	}
	return got.header.Get("Location")
}

func sum(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

func withDigest(location, digest string) string {
	return location + "&digest=" + url.QueryEscape(digest)
}

// wantChallenge wants a 401 with the realm and the scope of the token to get.
func (w *env) wantChallenge(what string, got httpResponse, want string) {
	w.t.Helper()
	w.wantStatus(what, got, http.StatusUnauthorized, "UNAUTHORIZED")
	if header := got.header.Get("WWW-Authenticate"); header != want {
		w.t.Errorf("%s: got the challenge %q, want %q", what, header, want)
	}
}

func TestUnauthenticatedRequestGetsAChallenge(t *testing.T) {
	digest := sum("something")
	requests := []struct{ method, path, scope string }{
		{http.MethodGet, "/v2/", ""},
		{http.MethodHead, manifests, "repository:1-1-demo/app:pull"},
		{http.MethodGet, manifests, "repository:1-1-demo/app:pull"},
		{http.MethodPut, manifests, "repository:1-1-demo/app:pull,push"},
		{http.MethodDelete, manifests, "repository:1-1-demo/app:delete"},
		{http.MethodGet, "/v2/1-1-demo/app/tags/list", "repository:1-1-demo/app:pull"},
		{http.MethodGet, "/v2/1-1-demo/app/blobs/" + digest, "repository:1-1-demo/app:pull"},
		{http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/", "repository:1-1-demo/app:pull,push"},
		{http.MethodPatch, "/v2/1-1-demo/app/blobs/uploads/made-up", "repository:1-1-demo/app:pull,push"},
		{http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/?mount=" + digest + "&from=1-1-demo/other",
			"repository:1-1-demo/app:pull,push repository:1-1-demo/other:pull"},
		{http.MethodGet, "/v2/_catalog", "registry:catalog:*"},
	}
	for _, side := range []struct {
		apptest.Options
		host, realm string
	}{
		{apptest.Options{URL: "https://images.example"}, "", "https://images.example/token"},
		{apptest.Options{}, "seen-as.example:5000", "http://seen-as.example:5000/token"},
		{apptest.Options{TLS: true}, "seen-as.example", "https://seen-as.example/token"},
	} {
		w := newEnvWith(t, side.Options)
		var headers []string
		if side.host != "" {
			headers = append(headers, "Host: "+side.host)
		}
		for _, request := range requests {
			got := w.send(request.method, request.path, "", headers...)
			want := fmt.Sprintf("Bearer realm=%q,service=%q", side.realm, service)
			if request.scope != "" {
				want += fmt.Sprintf(",scope=%q", request.scope)
			}
			what := fmt.Sprintf("%s %s, as %q, with the URL %q", request.method, request.path, side.host, side.URL)
			if request.method == http.MethodHead {
				if header := got.header.Get("WWW-Authenticate"); got.status != http.StatusUnauthorized || header != want {
					t.Errorf("%s: got status %d and the challenge %q, want 401 and %q", what, got.status, header, want)
				}
				continue
			}
			w.wantChallenge(what, got, want)
		}
	}
}

func TestLocationsAreWhereClientsReachTheServer(t *testing.T) {
	for public, want := range map[string]string{"": "/v2/", "https://images.example": "https://images.example/v2/"} {
		w := newEnvWith(t, apptest.Options{URL: public})
		location := w.begun("1-1-demo/app", w.bearer(w.pusher(w.one), scope("1-1-demo/app", all)))
		if !strings.HasPrefix(location, want) {
			t.Errorf("with the URL %q: got the location %q, want it to begin with %q", public, location, want)
		}
	}
}

func TestTokenWithTooSmallAScope(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	image := newImage(t, 1)
	w.push(user, "1-1-demo/app:v1", image)
	for _, test := range []struct {
		method, path string
		scopes       []string
		want         string
	}{
		{http.MethodGet, manifests, nil, "repository:1-1-demo/app:pull"},
		{http.MethodGet, manifests, []string{scope("1-1-demo/other", all)}, "repository:1-1-demo/app:pull"},
		{http.MethodGet, manifests, []string{scope("1-1-demo/app", "push")}, "repository:1-1-demo/app:pull"},
		{http.MethodPut, manifests, []string{scope("1-1-demo/app", "pull")}, "repository:1-1-demo/app:pull,push"},
		{http.MethodPut, manifests, []string{scope("1-1-demo/app", "push")}, "repository:1-1-demo/app:pull,push"},
		{http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/", []string{scope("1-1-demo/app", "pull")}, "repository:1-1-demo/app:pull,push"},
		{http.MethodDelete, manifests, []string{scope("1-1-demo/app", "pull,push")}, "repository:1-1-demo/app:delete"},
		{http.MethodPost, "/v2/1-1-demo/new/blobs/uploads/?from=1-1-demo/app&mount=" + digestOf(t, image).String(),
			[]string{scope("1-1-demo/new", all)}, "repository:1-1-demo/new:pull,push repository:1-1-demo/app:pull"},
	} {
		got := w.send(test.method, test.path, "", w.bearer(user, test.scopes...))
		w.wantChallenge(fmt.Sprintf("%s %s with a token for %q", test.method, test.path, test.scopes), got,
			fmt.Sprintf("Bearer realm=%q,service=%q,scope=%q,error=%q", w.URL+"/token", service, test.want, "insufficient_scope"))
	}
	w.wantPulled(user, "1-1-demo/app:v1", image)
}

// A token has its holder's rights at the time it was signed. The accounts have
// the current rights, whichever process changed them: an upload that was
// begun does not continue.
func TestTokenEndsWithItsUser(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, admin *accounts.Service, l login) error
		status int // of changes; after 403, reads still work
		code   string
	}{
		"deleted": {func(t *testing.T, admin *accounts.Service, l login) error {
			return admin.DeleteUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID)
		}, http.StatusUnauthorized, "UNAUTHORIZED"},
		"deleted, and another created with its name": {func(t *testing.T, admin *accounts.Service, l login) error {
			if err := admin.DeleteUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID); err != nil {
				return err
			}
			_, err := admin.CreateUser(t.Context(), accounts.APIKey{}, l.RegistryRef, "", accounts.NewUser{Name: l.Name, Duration: 1})
			return err
		}, http.StatusUnauthorized, "UNAUTHORIZED"},
		"given a new secret": {func(t *testing.T, admin *accounts.Service, l login) error {
			_, _, err := admin.UpdateUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID, accounts.UserUpdate{NewSecret: true})
			return err
		}, http.StatusUnauthorized, "UNAUTHORIZED"},
		"ended": {func(t *testing.T, admin *accounts.Service, l login) error {
			_, _, err := admin.UpdateUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID, accounts.UserUpdate{Days: new(int64(0))})
			return err
		}, http.StatusUnauthorized, "UNAUTHORIZED"},
		"narrowed": {func(t *testing.T, admin *accounts.Service, l login) error {
			_, _, err := admin.UpdateUser(t.Context(), accounts.Administrator, l.RegistryRef, l.ID, accounts.UserUpdate{ReadOnly: new(true)})
			return err
		}, http.StatusForbidden, "DENIED"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t)
			user := w.newUser(w.one, accounts.NewUser{Name: "user", Duration: 1})
			admin := w.otherProcess()
			w.push(user, "1-1-demo/app:v1", newImage(t, 1))
			bearer := w.bearer(user, scope("1-1-demo/app", all))
			upload := w.begun("1-1-demo/app", bearer)
			w.wantStatus("before", w.send(http.MethodGet, manifests, "", bearer), http.StatusOK, "")
			if err := test.change(t, admin, user); err != nil {
				t.Fatal(err)
			}
			w.wantChangesRefused(bearer, upload, test.status, test.code)
			status, code := http.StatusUnauthorized, "UNAUTHORIZED"
			if test.status == http.StatusForbidden {
				status, code = http.StatusOK, ""
			}
			w.wantReads(bearer, status, code)
		})
	}
}

func (w *env) wantChangesRefused(bearer, upload string, status int, code string) {
	w.t.Helper()
	for _, request := range []struct{ method, target string }{
		{http.MethodPatch, upload},
		{http.MethodPut, withDigest(upload, sum("some"))},
		{http.MethodDelete, upload},
		{http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/"},
		{http.MethodPut, manifests},
		{http.MethodDelete, manifests},
	} {
		got := w.send(request.method, request.target, "some", bearer)
		w.wantStatus(request.method+" "+request.target, got, status, code)
	}
}

func (w *env) wantReads(bearer string, status int, code string) {
	w.t.Helper()
	for _, path := range []string{"/v2/", manifests, "/v2/1-1-demo/app/tags/list"} {
		w.wantStatus("GET "+path, w.send(http.MethodGet, path, "", bearer), status, code)
	}
}

func TestTokenEndsWhenItsUserExpires(t *testing.T) {
	w := newEnv(t)
	user := w.newUser(w.one, accounts.NewUser{Name: "user", Duration: 1})
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	w.Clock.Advance(24*time.Hour - time.Minute)
	endless := w.account(user)
	endless.ExpiresAt = accounts.Never // the service signs no token that is valid so long
	own := w.bearer(user, scope("1-1-demo/app", all))
	longer := w.signed(endless, oci.Access{Type: "repository", Name: "1-1-demo/app", Actions: []string{"pull", "push", "delete"}})
	upload := w.begun("1-1-demo/app", longer)
	w.wantReads(own, http.StatusOK, "")
	w.Clock.Advance(time.Minute - time.Microsecond)
	w.wantReads(longer, http.StatusOK, "")
	w.Clock.Advance(time.Microsecond)
	for _, bearer := range []string{own, longer} {
		w.wantChangesRefused(bearer, upload, http.StatusUnauthorized, "UNAUTHORIZED")
		w.wantReads(bearer, http.StatusUnauthorized, "UNAUTHORIZED")
	}
}

func TestUserOfDuration0IsRefusedAtOnceInRealTime(t *testing.T) {
	w := newEnvWith(t, apptest.Options{Now: time.Now})
	user := w.newUser(w.one, accounts.NewUser{Name: "brief", Duration: 0})
	account := accounts.Account{User: user.User, Namespace: user.namespace}
	account.ExpiresAt = accounts.Never
	bearer := w.signed(account, oci.Access{Type: "repository", Name: "1-1-demo/app", Actions: []string{"pull"}})
	w.wantReads(bearer, http.StatusUnauthorized, "UNAUTHORIZED")
}

func TestTokenOfARemovedKey(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	old, _, err := w.Keys.IDs()
	if err != nil {
		t.Fatal(err)
	}
	bearer := w.bearer(user)
	admin, err := keys.OpenTokenKeys(w.Dir.Keys.Dir, quiet) // another process
	if err != nil {
		t.Fatal(err)
	}
	added, err := admin.Add()
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Use(added); err != nil {
		t.Fatal(err)
	}
	w.wantStatus("before", w.send(http.MethodGet, "/v2/", "", bearer), http.StatusOK, "")
	if err := admin.Remove(old[0]); err != nil {
		t.Fatal(err)
	}
	got := w.send(http.MethodGet, "/v2/", "", bearer)
	w.wantChallenge("a token of the key that was removed", got,
		fmt.Sprintf("Bearer realm=%q,service=%q,error=%q", w.URL+"/token", service, "invalid_token"))
	w.wantStatus("a token of the new key", w.send(http.MethodGet, "/v2/", "", w.bearer(user)), http.StatusOK, "")
}

func TestHeadersWithoutAToken(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	valid := w.bearer(user, scope("1-1-demo/app", all))
	text := strings.TrimPrefix(valid, "Authorization: Bearer ")
	basic := "Authorization: Basic " + "cHVzaGVyOnNlY3JldA=="
	for _, headers := range [][]string{
		{valid, valid},
		{valid, basic},
		{basic, valid},
		{valid, "Authorization: "},
		{basic},
		{"Authorization: "},
		{"Authorization: Bearer"},
		{"Authorization: Bearer "},
		{"Authorization: " + text},
		{"Authorization: Bearer  " + text},
		{"Authorization: Bearer " + text + ", Bearer " + text},
		{"Authorization: Bearer " + text + " " + text},
		{"Authorization: Bearer " + text[:len(text)-1]},
		{"Authorization: Bearer " + strings.Repeat("x", 16<<10)},
		{"Authorization: Bearer " + strings.Repeat(".", 1000)},
		{"Authorization: Bearer null"},
		{"Authorization: apikey " + text},
		{"Proxy-Authorization: Bearer " + text},
	} {
		for _, path := range []string{"/v2/", manifests} {
			got := w.send(http.MethodGet, path, "", headers...)
			what := fmt.Sprintf("GET %s with %.80q", path, headers)
			w.wantStatus(what, got, http.StatusUnauthorized, "UNAUTHORIZED")
			if got := got.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
				t.Errorf("%s: got the challenge %q, want one for a bearer token", what, got)
			}
		}
	}
	w.wantStatus("a valid token with the scheme in lower case", w.send(http.MethodGet, "/v2/", "", "Authorization: bearer "+text), http.StatusOK, "")
}

// No token gives access to another registry, whatever its claims.
func TestTokenCannotReachAnotherRegistry(t *testing.T) {
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	image := newImage(t, 1)
	w.push(other, "2-1-demo/app:v1", image)
	bearer := w.signed(w.account(user),
		oci.Access{Type: "repository", Name: "1-1-demo/app", Actions: []string{"pull", "push", "delete", "*"}},
		oci.Access{Type: "repository", Name: "2-1-demo/app", Actions: []string{"pull", "push", "delete", "*"}},
		oci.Access{Type: "registry", Name: "catalog", Actions: []string{"*"}},
	)
	digest := digestOf(t, image).String()
	for _, request := range []struct{ method, path string }{
		{http.MethodGet, "/v2/_catalog"},
		{http.MethodGet, "/v2/2-1-demo/app/manifests/v1"},
		{http.MethodGet, "/v2/2-1-demo/app/blobs/" + digest},
		{http.MethodGet, "/v2/2-1-demo/app/tags/list"},
		{http.MethodPut, "/v2/2-1-demo/app/manifests/v1"},
		{http.MethodDelete, "/v2/2-1-demo/app/manifests/" + digest},
		{http.MethodPost, "/v2/2-1-demo/app/blobs/uploads/"},
	} {
		w.wantStatus(request.method+" "+request.path, w.send(request.method, request.path, "", bearer), http.StatusForbidden, "DENIED")
	}
	reader := w.newUser(w.one, accounts.NewUser{Name: "reader", Duration: 1, ReadOnly: true})
	bearer = w.signed(w.account(reader), oci.Access{Type: "repository", Name: "1-1-demo/app", Actions: []string{"pull", "push", "delete", "*"}})
	got := w.send(http.MethodPost, "/v2/1-1-demo/app/blobs/uploads/", "", bearer)
	w.wantStatus("a read-only user's token that has push", got, http.StatusForbidden, "DENIED", "read-only")
}

// A mount from a repository that the user may not pull from begins an ordinary
// upload, and does not reveal whether the blob exists.
func TestMountFromAnotherRegistryBeginsAnUpload(t *testing.T) {
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	image := newImage(t, 1)
	w.push(other, "2-1-demo/app:v1", image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(t, layers[0]).String()
	form := "Content-Type: application/x-www-form-urlencoded"
	for name, bearer := range map[string]string{
		"a token of the service's": w.bearer(user, scope("1-1-demo/new", all), scope("2-1-demo/app", all)),
		"one that says too much": w.signed(w.account(user),
			oci.Access{Type: "repository", Name: "1-1-demo/new", Actions: []string{"pull", "push"}},
			oci.Access{Type: "repository", Name: "2-1-demo/app", Actions: []string{"pull", "push"}}),
	} {
		for _, test := range []struct {
			query, body string
			headers     []string
		}{
			{"mount=" + digest + "&from=2-1-demo/app", "", nil},
			{"mount=" + digest + "&from=2-1-demo%2Fapp", "", nil},
			{"mount=" + digest + "&from=2-1-demo/none", "", nil},
			{"mount=" + sum("none") + "&from=2-1-demo/app", "", nil},
			{"mount=none&from=2-1-demo/app", "", nil},
			{"from=2-1-demo/app", "", nil},
			{"mount=" + digest + "&from=1-1-demo/new&from=2-1-demo/app", "", nil},
			{"mount=" + digest + "&from=2-1-demo/app&from=1-1-demo/new", "", nil},
			{"mount=" + digest + "&from=1-1-demo/../2-1-demo/app", "", nil},
			{"mount=" + digest + "&from=1-1-demo/new/../../2-1-demo/app", "", nil},
			{"mount=" + digest + "&from=2-1-DEMO/app", "", nil},
			{"mount=" + digest + "&from=%00", "", nil},
			{"mount=" + digest + "&from=", "", nil},
			{"mount=" + digest, "", nil},
			{"mount=" + digest + "&from=1-1-demo/new", "from=2-1-demo/app", []string{form}},
			{"mount=" + digest + "&from=2-1-demo/app", "from=1-1-demo/new", []string{form}},
			{"", "mount=" + digest + "&from=2-1-demo/app", []string{form}},
		} {
			what := fmt.Sprintf("%s, POST ?%s with the body %q", name, test.query, test.body)
			got := w.send(http.MethodPost, "/v2/1-1-demo/new/blobs/uploads/?"+test.query, test.body, append(test.headers, bearer)...)
			w.wantStatus(what, got, http.StatusAccepted, "")
			if location := got.header.Get("Location"); !strings.HasPrefix(location, "/v2/1-1-demo/new/blobs/uploads/") || got.body != "" {
				t.Errorf("%s: got the location %q, the body %q; want an upload's and no body", what, location, got.body)
			}
			if got := w.send(http.MethodGet, "/v2/1-1-demo/new/blobs/"+digest, "", bearer); got.status != http.StatusNotFound {
				t.Fatalf("%s, and then its GET: got %v, want status 404", what, got)
			}
		}
	}
}

// A digest gives no access: all images are in one store, but a user who has not pushed
// a blob to a registry cannot pull it there.
func TestBlobOfAnotherRegistryIsNotFoundByItsDigest(t *testing.T) {
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	image := newImage(t, 2)
	w.push(other, "2-1-demo/app:v1", image)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	digests := []v1.Hash{config, digestOf(t, image)}
	for _, layer := range layers {
		digests = append(digests, digestOf(t, layer))
	}
	for _, digest := range digests {
		for _, path := range []string{"blobs/", "manifests/"} {
			got := w.send(http.MethodGet, "/v2/1-1-demo/app/"+path+digest.String(), "", bearer)
			if got.status != http.StatusNotFound {
				t.Errorf("GET %s%s: got %v, want status 404", path, digest, got)
			}
		}
	}
	raw, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mediaType, err := image.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	got := w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/stolen", string(raw), bearer, "Content-Type: "+string(mediaType))
	w.wantStatus("push only the manifest", got, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		mediaType, digestOf(t, image), len(raw))
	got = w.send(http.MethodPut, "/v2/1-1-demo/app/manifests/stolen", index, bearer, "Content-Type: application/vnd.oci.image.index.v1+json")
	w.wantStatus("push an index over it", got, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
}

func TestForgedUploadIsUnknown(t *testing.T) {
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	bearer := w.bearer(user, scope("1-1-demo/app", all), scope("1-1-demo/other", all))
	theirs, err := url.Parse(w.URL + w.begun("2-1-demo/app", w.bearer(other, scope("2-1-demo/app", all))))
	if err != nil {
		t.Fatal(err)
	}
	mine := w.begun("1-1-demo/other", bearer)
	uuid := theirs.Path[strings.LastIndexByte(theirs.Path, '/')+1:]
	for _, rest := range []string{
		"made-up", "00000000-0000-0000-0000-000000000000", uuid, uuid + "?" + theirs.RawQuery, "made-up?" + theirs.RawQuery,
		"made-up?_state=", "made-up?_state=!!!", "made-up?_state=" + strings.Repeat("A", 8000), ".", "_state", "...",
		strings.TrimPrefix(mine, "/v2/1-1-demo/other/blobs/uploads/"), // of another repository
	} {
		for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete} {
			target := "/v2/1-1-demo/app/blobs/uploads/" + rest
			if method == http.MethodPut && strings.Contains(target, "?") {
				target = withDigest(target, sum("some"))
			}
			got := w.send(method, target, "some", bearer)
			if got.status < 300 || got.status >= 500 {
				t.Errorf("%s %.120s: got %v, want it refused", method, target, got)
			}
		}
	}
	got := w.send(http.MethodPatch, theirs.RequestURI(), "some", bearer)
	w.wantStatus("another registry's upload", got, http.StatusForbidden, "DENIED")
}

func TestUncleanPathsReachNoOtherRegistry(t *testing.T) {
	w := newEnv(t)
	user, other := w.pusher(w.one), w.pusher(w.two)
	image := newImage(t, 1)
	w.push(other, "2-1-demo/app:v1", image)
	w.push(user, "1-1-demo/app:v1", newImage(t, 1))
	bearer := w.signed(w.account(user),
		oci.Access{Type: "repository", Name: "1-1-demo/app", Actions: []string{"pull", "push", "delete"}},
		oci.Access{Type: "repository", Name: "2-1-demo/app", Actions: []string{"pull", "push", "delete"}})
	theirs := digestOf(t, image).String()
	for _, target := range []string{
		"/v2/2-1-demo/app/manifests/v1",
		"/v2//2-1-demo/app/manifests/v1",
		"/v2/./2-1-demo/app/manifests/v1",
		"/v2/%2e/2-1-demo/app/manifests/v1",
		"/v2/../v2/2-1-demo/app/manifests/v1",
		"/v2/1-1-demo/../2-1-demo/app/manifests/v1",
		"/v2/1-1-demo/%2e%2e/2-1-demo/app/manifests/v1",
		"/v2/1-1-demo%2f..%2f2-1-demo/app/manifests/v1",
		"/v2/1-1-demo/app/../../2-1-demo/app/manifests/v1",
		"/v2/1-1-demo/app/manifests/../../../2-1-demo/app/manifests/v1",
		"/v2/1-1-demo/app/manifests/..%2f..%2f..%2f2-1-demo%2fapp%2fmanifests%2fv1",
		"/v2/1-1-demo/%252e%252e/2-1-demo/app/manifests/v1",
		"/v2/2-1-demo%2fapp/manifests/v1",
		"/v2/%32-1-demo/app/manifests/v1",
		"/v2/2-1-demo/app/manifests/v1/",
		"/v2/2-1-demo/app//manifests//v1",
		"/v2/2-1-Demo/app/manifests/v1",
		"/v2/1-1-DEMO/app/manifests/v1",
		"/v2/1-1-demo\\..\\2-1-demo/app/manifests/v1",
		"/v2/1-1-demo/app%00/../../2-1-demo/app/manifests/v1",
		"/v2/2-1-demo/app%00/manifests/v1",
		"/v2/1-1-demo/app/manifests/v1%00",
		"/v2/%001-1-demo/app/manifests/v1",
		"/v2/1-1-demo%ff/app/manifests/v1",
		"/v2/1-1-demo\u200b/app/manifests/v1",
		"/v2/１-1-demo/app/manifests/v1",
		"/v2/2-1-demo;1-1-demo/app/manifests/v1",
		"/v2/2-1-demo/app/manifests/v1?name=1-1-demo/app",
		"/v2/1-1-demo/app/manifests/" + theirs,
		"/v2/1-1-demo/app/blobs/" + theirs,
		"/v2/1-1-demo/app/blobs/..%2f..%2f..%2f2-1-demo%2fapp%2fmanifests%2fv1",
		"/v2/1-1-demo/app/blobs/uploads/..",
		"/v2/1-1-demo/app/blobs/uploads/%2e%2e",
		"/v2/1-1-demo/app/blobs/uploads/..%2f..%2f..%2f..%2f..%2fkeys%2fserver.json",
		"/v2/../../../../etc/passwd",
		"/v2/1-1-demo/_manifests/manifests/v1",
		"/v2/1-1-demo/app/_uploads/x",
		"/v2/1-1-demo/" + strings.Repeat("a/", 2000) + "manifests/v1",
		"/v2/1-1-demo/" + strings.Repeat("a", 8000) + "/manifests/v1",
		"/v2/1-1-demo/app/manifests/" + strings.Repeat("a", 8000),
		"/v2/1-1-demo/app/tags/list/..",
		"/v2/1-1-demo/app/tags/list?last=../../2-1-demo/app&n=1",
		"/v2/_catalog/", "/v2/_catalog?n=5", "/v2//_catalog", "/v2/%5fcatalog",
		"http://" + w.host() + "/v2/2-1-demo/app/manifests/v1",
		"/v2/1-1-demo/app/manifests/v1#/../../2-1-demo/app",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "FROB"} {
			if method == "FROB" && len(target) > 255 {
				continue // the library responds 500, without a check of rights
			}
			got, at := w.sendRaw(method, target, bearer), target
			for n := 0; n < 5 && got.status >= 300 && got.status < 400; n++ { // as clients do
				at = got.header.Get("Location")
				got = w.sendRaw(method, at, bearer)
			}
			isMine := strings.Contains(at, "/1-1-demo/app/tags/list")
			if got.status < 300 && !isMine || got.status >= 500 || strings.Contains(got.body, "2-1-demo/app") && got.status < 300 {
				t.Errorf("%s %.120q, at last %.120q: got %.200v, want it refused", method, target, at, got)
			}
		}
	}
	w.wantPulled(other, "2-1-demo/app:v1", image)
}

func TestAccountsThatCannotBeReadAre503(t *testing.T) {
	w := newEnv(t)
	user := w.pusher(w.one)
	bearer := w.bearer(user, scope("1-1-demo/app", all))
	if err := w.Dir.Close(); err != nil {
		t.Fatal(err)
	}
	got := w.send(http.MethodGet, manifests, "", bearer)
	w.wantStatus("with the database closed", got, http.StatusServiceUnavailable, "UNAVAILABLE")
	if got.header.Get("Retry-After") == "" {
		t.Errorf("with the database closed: got the header %v, want Retry-After in it", got.header)
	}
}

// The library parses a form in any request before authentication,
// and keeps its files.
func TestUnauthenticatedFormLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	w := newEnv(t)
	bearer := w.bearer(w.pusher(w.one), scope("1-1-demo/app", all))
	var body strings.Builder
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "file")
	if err == nil {
		_, err = part.Write(make([]byte, 40<<20))
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, headers := range [][]string{nil, {bearer}} {
		// A request that is refused while its body is sent may be cut off.
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+"/v2/1-1-demo/app/blobs/uploads/", strings.NewReader(body.String()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", form.FormDataContentType())
		for _, header := range headers {
			request.Header.Set("Authorization", strings.TrimPrefix(header, "Authorization: "))
		}
		if response, err := w.Client().Do(request); err == nil {
			response.Body.Close()
		}
	}
	w.Close()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 0 {
		t.Errorf("after forms with files: got %v, %v left behind, want nothing", files, err)
	}
}
