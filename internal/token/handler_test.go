package token_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/apptest"
	"github.com/registryusers/registryusers/internal/oci"
	"github.com/registryusers/registryusers/internal/store/storetest"
)

// rights returns a token's access to one repository.
func rights(name string, actions ...string) oci.Access {
	return oci.Access{Type: "repository", Name: name, Actions: actions}
}

// wantDenied checks a response that is no token: its form, and that it was
// logged once, without a secret.
func (e *env) wantDenied(t testing.TB, what string, a tokenResponse, status int, code string, secrets ...string) {
	t.Helper()
	if a.status != status || len(a.Errors) != 1 || a.Errors[0].Code != code || a.Errors[0].Message == "" || a.Token+a.AccessToken+a.RefreshToken != "" {
		t.Errorf("%s: got %d %s, want %d and one error %s with a message", what, a.status, a.body, status, code)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s: Cache-Control: got %q, want no-store", what, got)
	}
	challenge := a.header.Get("WWW-Authenticate")
	if (status == http.StatusUnauthorized) != strings.HasPrefix(challenge, "Basic realm=") {
		t.Errorf("%s: WWW-Authenticate of a %d: got %q, want Basic with a realm only for a 401", what, status, challenge)
	}
	e.wantLogged(t, what, a, secrets...)
}

// wantLogged checks that one line was logged since the last call, and that nothing
// in it is secret.
func (e *env) wantLogged(t testing.TB, what string, a tokenResponse, secrets ...string) {
	t.Helper()
	logged := e.Log.Take()
	if got := strings.Count(logged, "\n"); got != 1 || !strings.Contains(logged, fmt.Sprintf(`"status":%d,`, a.status)) {
		t.Errorf("%s: logged %q; want one line with the status %d", what, logged, a.status)
	}
	for _, secret := range append(secrets, a.Token, a.RefreshToken) {
		if secret == "" {
			continue
		}
		if strings.Contains(logged, secret) {
			t.Errorf("%s: logged %q; want nothing of %q", what, logged, secret)
		}
		if a.status != http.StatusOK && strings.Contains(a.body, secret) {
			t.Errorf("%s: got %s; want nothing of %q", what, a.body, secret)
		}
	}
}

func TestTokenResponse(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	u, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	e.Clock.Set(noon.Add(1500 * time.Millisecond))
	for _, test := range []struct {
		what    string
		request *http.Request
		refresh bool
	}{
		{"GET", get(t, base, "ci", secret, scope("repository:1-1-demo/app:pull,push")), false},
		{"GET, offline", get(t, base, "ci", secret, url.Values{"scope": {"repository:1-1-demo/app:pull,push"}, "offline_token": {"true"}}), false},
		{"GET, not offline", get(t, base, "ci", secret, url.Values{"scope": {"repository:1-1-demo/app:pull,push"}, "offline_token": {"false"}}), false},
		{"POST", post(t, base, url.Values{
			"grant_type": {"password"}, "username": {"ci"}, "password": {secret}, "scope": {"repository:1-1-demo/app:pull,push"},
		}), false},
		{"POST, offline", post(t, base, url.Values{
			"grant_type": {"password"}, "username": {"ci"}, "password": {secret}, "scope": {"repository:1-1-demo/app:pull,push"}, "access_type": {"offline"},
		}), true},
		{"POST, online", post(t, base, url.Values{
			"grant_type": {"password"}, "username": {"ci"}, "password": {secret}, "scope": {"repository:1-1-demo/app:pull,push"}, "access_type": {"online"},
		}), false},
	} {
		a := do(t, test.request)
		if a.status != http.StatusOK || a.Token == "" || a.Token != a.AccessToken {
			t.Fatalf("%s: got %d %s, want 200, and a token that is also the access_token", test.what, a.status, a.body)
		}
		if a.ExpiresIn != 300 || strings.Contains(a.body, "issued_at") {
			t.Errorf("%s: got %s, want expires_in 300 and no issued_at", test.what, a.body)
		}
		if got, want := a.Scope, "repository:1-1-demo/app:pull,push"; got != want {
			t.Errorf("%s: scope: got %q, want %q", test.what, got, want)
		}
		if (a.RefreshToken != "") != test.refresh || strings.Contains(a.body, "refresh_token") != test.refresh {
			t.Errorf("%s: refresh_token: got %q, want one: %t", test.what, a.RefreshToken, test.refresh)
		}
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control: got %q, want no-store", test.what, got)
		}
		claims, err := e.issuer.Verify(a.Token)
		if err != nil || claims.UserID != u.ID || claims.Incarnation != u.Incarnation || claims.Subject != "1-1-demo+ci" {
			t.Errorf("%s: the token: %+v, %v; want it of the user %d", test.what, claims, err, u.ID)
		}
		e.wantLogged(t, test.what, a, secret)
	}
}

func TestScopes(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	users := map[string]string{}
	for _, n := range []accounts.NewUser{{Name: "full", Duration: 1}, {Name: "ro", Duration: 1, ReadOnly: true}} {
		_, users[n.Name] = e.create(t, e.demo, n)
	}
	e.create(t, e.demo, accounts.NewUser{Name: "custom", Duration: 1, Secret: custom("pw")})
	users["custom"], users["1-1-demo+custom"] = "pw", "pw"
	const app, web = "1-1-demo/app", "1-1-demo/web"
	longClass := strings.Repeat("x", 33)
	for _, test := range []struct {
		what   string
		user   string
		scopes []string
		want   []oci.Access
	}{
		{"none", "full", nil, nil},
		{"an empty one", "full", []string{""}, nil},
		{"pull", "full", []string{"repository:1-1-demo/app:pull"}, []oci.Access{rights(app, "pull")}},
		{"pull, push", "full", []string{"repository:1-1-demo/app:pull,push"}, []oci.Access{rights(app, "pull", "push")}},
		{"push, pull", "full", []string{"repository:1-1-demo/app:push,pull"}, []oci.Access{rights(app, "pull", "push")}},
		{"all", "full", []string{"repository:1-1-demo/app:delete,push,pull"}, []oci.Access{rights(app, "pull", "push", "delete")}},
		{"a star", "full", []string{"repository:1-1-demo/app:*"}, []oci.Access{rights(app, "pull", "push", "delete")}},
		{"a star, read-only", "ro", []string{"repository:1-1-demo/app:*"}, []oci.Access{rights(app, "pull")}},
		{"pull, push, read-only", "ro", []string{"repository:1-1-demo/app:pull,push"}, []oci.Access{rights(app, "pull")}},
		{"push, read-only", "ro", []string{"repository:1-1-demo/app:push"}, nil},
		{"delete, read-only", "ro", []string{"repository:1-1-demo/app:delete"}, nil},
		{"pull twice", "full", []string{"repository:1-1-demo/app:pull,pull"}, []oci.Access{rights(app, "pull")}},
		{"unknown actions", "full", []string{"repository:1-1-demo/app:admin,PULL, ,,"}, nil},
		{"no actions", "full", []string{"repository:1-1-demo/app:"}, nil},
		{"repeated", "full", []string{"repository:1-1-demo/app:pull", "repository:1-1-demo/web:pull,push"}, []oci.Access{rights(app, "pull"), rights(web, "pull", "push")}},
		{"spaces", "full", []string{"repository:1-1-demo/app:pull repository:1-1-demo/web:pull,push"}, []oci.Access{rights(app, "pull"), rights(web, "pull", "push")}},
		{"both, and more spaces", "full", []string{"  repository:1-1-demo/app:pull   repository:1-1-demo/web:pull ", "repository:1-1-demo/web:push"}, []oci.Access{rights(app, "pull"), rights(web, "pull", "push")}},
		{"one repository twice", "full", []string{"repository:1-1-demo/app:push", "repository:1-1-demo/app:pull"}, []oci.Access{rights(app, "push", "pull")}},
		{"many levels", "full", []string{"repository:1-1-demo/a/b/c:pull"}, []oci.Access{rights("1-1-demo/a/b/c", "pull")}},
		{"none, a custom secret", "1-1-demo+custom", nil, nil},
		{"ours, a custom secret", "custom", []string{"repository:1-1-demo/app:pull"}, []oci.Access{rights(app, "pull")}},
		{"another registry, a custom secret", "1-1-demo+custom", []string{"repository:1-1-other/app:pull"}, nil},
		{"another registry, then ours, a custom secret", "1-1-demo+custom", []string{"repository:1-1-other/app:pull", "repository:1-1-demo/app:pull"}, []oci.Access{rights(app, "pull")}},
		{"another registry", "full", []string{"repository:1-1-other/app:pull"}, nil},
		{"a mount from another registry", "full", []string{"repository:1-1-demo/app:pull,push", "repository:1-1-other/app:pull"}, []oci.Access{rights(app, "pull", "push")}},
		{"a registry whose name begins the same", "full", []string{"repository:1-1-demo2/app:pull", "repository:1-1-dem/app:pull"}, nil},
		{"the registry itself", "full", []string{"repository:1-1-demo:pull"}, nil},
		{"the registry deeper down", "full", []string{"repository:x/1-1-demo/app:pull"}, nil},
		{"a port", "full", []string{"repository:1-1-demo:80/app:pull"}, nil},
		{"no registry", "full", []string{"repository:app:pull"}, nil},
		{"the catalog", "full", []string{"registry:catalog:*"}, nil},
		{"the catalog, as a repository", "full", []string{"repository:catalog:*", "repository:_catalog:*"}, nil},
		{"a class", "full", []string{"repository(plugin):1-1-demo/app:pull,push"}, []oci.Access{plugin(app, "pull", "push")}},
		{"a class and none", "full", []string{"repository(plugin):1-1-demo/app:pull", "repository:1-1-demo/app:push", "repository(plugin):1-1-demo/app:push"}, []oci.Access{plugin(app, "pull", "push"), rights(app, "push")}},
		{"a long class", "full", []string{"repository(" + longClass + "):1-1-demo/app:pull"}, []oci.Access{{Type: "repository", Class: longClass, Name: app, Actions: []string{"pull"}}}},
		{"a class, another registry", "full", []string{"repository(plugin):1-1-other/app:pull"}, nil},
		{"a class of no form", "full", []string{"repository():1-1-demo/app:pull", "repository(plugin:1-1-demo/app:pull", "repository(Plugin):1-1-demo/app:pull", "repository(plugin)x:1-1-demo/app:pull", "repositoryplugin):1-1-demo/app:pull"}, nil},
		{"a host", "full", []string{"repository:registry.example.com/1-1-demo/app:pull"}, []oci.Access{rights(app, "pull")}},
		{"a host and a port", "full", []string{"repository:registry.example.com:5000/1-1-demo/app:pull,push", "repository:localhost:5000/1-1-demo/web:pull"}, []oci.Access{rights(app, "pull", "push"), rights(web, "pull")}},
		{"localhost without a port", "full", []string{"repository:localhost/1-1-demo/app:pull"}, []oci.Access{rights(app, "pull")}},
		{"a name that begins as localhost does", "full", []string{"repository:localhosts/1-1-demo/app:pull"}, nil},
		{"a host, another registry", "full", []string{"repository:registry.example.com:5000/1-1-other/app:pull"}, nil},
		{"two hosts", "full", []string{"repository:one.example:5000/two.example:5000/1-1-demo/app:pull", "repository:one.example/two.example/1-1-demo/app:pull"}, nil},
		{"a class, a host and a star", "full", []string{"repository(plugin):registry.example.com:5000/1-1-demo/app:*"}, []oci.Access{plugin(app, "pull", "push", "delete")}},
		{"another type", "full", []string{"Repository:1-1-demo/app:pull", "image:1-1-demo/app:pull", ":1-1-demo/app:pull"}, nil},
		{"no form", "full", []string{"repository", "repository:", "repository::", ":::", "pull", "repository:pull"}, nil},
		{"valid among invalid", "full", []string{"registry:catalog:* repository:1-1-demo/../other:pull repository:1-1-demo/app:pull"}, []oci.Access{rights(app, "pull")}},
	} {
		secret := users[test.user]
		form := url.Values{"grant_type": {"password"}, "username": {test.user}, "password": {secret}}
		if test.scopes != nil {
			form["scope"] = test.scopes
		}
		for method, r := range map[string]*http.Request{
			"GET": get(t, base, test.user, secret, scope(test.scopes...)), "POST": post(t, base, form),
		} {
			a := do(t, r)
			got := e.granted(t, a)
			if len(got)+len(test.want) > 0 && !reflect.DeepEqual(got, test.want) {
				t.Errorf("%s: %s as %s with %q: got %v, want %v", test.what, method, test.user, test.scopes, got, test.want)
			}
			if !strings.Contains(string(segment(t, a.Token, 1)), `"access":[`) {
				t.Errorf("%s: %s: the token's access is no array; want one, if empty", test.what, method)
			}
			e.wantLogged(t, test.what, a, secret)
		}
	}
}

// plugin returns rights on a repository for plugins.
func plugin(repository string, actions ...string) oci.Access {
	access := rights(repository, actions...)
	access.Class = "plugin"
	return access
}

// refreshToken returns a refresh token, which only POST gives.
func refreshToken(t *testing.T, base, name, secret string) string {
	t.Helper()
	a := do(t, post(t, base, url.Values{"grant_type": {"password"}, "username": {name}, "password": {secret}, "access_type": {"offline"}}))
	if a.RefreshToken == "" {
		t.Fatalf("POST, offline: got %d %s, want a refresh token", a.status, a.body)
	}
	return a.RefreshToken
}

func TestScopeSelectsTheUser(t *testing.T) {
	e := newEnv(t)
	first, _ := e.create(t, e.demo, accounts.NewUser{Name: "same", Duration: 1, Secret: custom("pw")})
	second, _ := e.create(t, e.other, accounts.NewUser{Name: "same", Duration: 1, Secret: custom("pw")})
	base := e.URL
	for _, test := range []struct {
		account, scope string
		want           int64
	}{
		{"same", "repository:1-1-demo/app:pull", first.ID},
		{"same", "repository:1-1-other/app:pull", second.ID},
		{"same", "registry:catalog:* repository:1-1-other/app:pull repository:1-1-demo/app:pull", second.ID}, // the first repository
		{"1-1-demo+same", "repository:1-1-other/app:pull", first.ID},
		{"1-1-other+same", "", second.ID},
		{"1-1-none+same", "", 0},
	} {
		a := do(t, get(t, base, test.account, "pw", scope(test.scope)))
		if test.want == 0 {
			e.wantDenied(t, test.account+" for "+test.scope, a, http.StatusUnauthorized, "UNAUTHORIZED")
			continue
		}
		claims, err := e.issuer.Verify(a.Token)
		if err != nil || claims.UserID != test.want {
			t.Errorf("%s for %q: %+v, %v; want the user %d", test.account, test.scope, claims, err, test.want)
		}
		e.Log.Take()
	}
}

func TestTokenNeverOutlivesItsUser(t *testing.T) {
	e := newEnv(t)
	e.Clock.Set(noon.Add(123_456 * time.Microsecond))
	u, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	base := e.URL
	for _, test := range []struct {
		left time.Duration
		want int // seconds
	}{
		{10 * time.Minute, 300},
		{301 * time.Second, 300},
		{299 * time.Second, 299},
		{90 * time.Second, 90},
		{1500 * time.Millisecond, 2}, // both ends are truncated to seconds: 122.6 to 124.1 are 122 to 124
		{time.Second, 1},
		{time.Microsecond, 0},
	} {
		e.Clock.Set(u.ExpiresAt.Add(-test.left))
		a := do(t, get(t, base, "ci", secret, scope("repository:1-1-demo/app:pull")))
		if a.status != http.StatusOK || a.ExpiresIn != test.want {
			t.Errorf("a user with %v left: got %d %s, want expires_in %d", test.left, a.status, a.body, test.want)
			continue
		}
		claims, err := e.issuer.Verify(a.Token)
		if err != nil || claims.Expiry.Time().After(u.ExpiresAt) {
			t.Errorf("a token issued with %v left: %+v, %v; want it to expire with the user, at %v", test.left, claims, err, u.ExpiresAt)
		}
	}
	e.Log.Take()
	e.Clock.Set(u.ExpiresAt)
	e.wantDenied(t, "at its end", do(t, get(t, base, "ci", secret, nil)), http.StatusUnauthorized, "UNAUTHORIZED", secret)

	// If the user expires between login and signature, the token is already expired.
	text, issued, expires, err := e.issuer.Sign(accounts.Account{User: u, Namespace: "1-1-demo"}, nil)
	if err != nil || expires.After(u.ExpiresAt) {
		t.Errorf("Sign for a user that has ended: issued %v, ends %v, %v; want it to end with the user, at %v", issued, expires, err, u.ExpiresAt)
	}
	if claims, err := e.issuer.Verify(text); err != nil || claims.Expiry.Time().After(u.ExpiresAt) {
		t.Errorf("that token: %+v, %v; want it to have expired with the user", claims, err)
	}
}

func TestRefreshToken(t *testing.T) {
	const app = "1-1-demo/app"
	day := 24 * time.Hour
	for _, test := range []struct {
		what   string
		change func(t *testing.T, e *env, u accounts.User) error
		want   []oci.Access // nil: denied
	}{
		{"nothing", func(*testing.T, *env, accounts.User) error { return nil }, []oci.Access{rights(app, "pull", "push")}},
		{"a day less a moment", func(_ *testing.T, e *env, _ accounts.User) error {
			e.Clock.Advance(day - time.Microsecond)
			return nil
		}, []oci.Access{rights(app, "pull", "push")}},
		{"has expired", func(_ *testing.T, e *env, _ accounts.User) error { e.Clock.Advance(day); return nil }, nil},
		{"its duration is reduced", func(t *testing.T, e *env, u accounts.User) error {
			_, _, err := e.Accounts.UpdateUser(t.Context(), accounts.Administrator, e.demo, u.ID, accounts.UserUpdate{Days: new(int64(0))})
			return err
		}, nil},
		{"deleted", func(t *testing.T, e *env, u accounts.User) error {
			return e.Accounts.DeleteUser(t.Context(), accounts.Administrator, e.demo, u.ID)
		}, nil},
		{"narrowed", func(t *testing.T, e *env, u accounts.User) error {
			_, _, err := e.Accounts.UpdateUser(t.Context(), accounts.Administrator, e.demo, u.ID, accounts.UserUpdate{ReadOnly: new(true)})
			return err
		}, []oci.Access{rights(app, "pull")}},
		{"a new secret", func(t *testing.T, e *env, u accounts.User) error {
			_, _, err := e.Accounts.UpdateUser(t.Context(), accounts.Administrator, e.demo, u.ID, accounts.UserUpdate{NewSecret: true})
			return err
		}, nil},
		{"deleted, and another of its name", func(t *testing.T, e *env, u accounts.User) error {
			err := e.Accounts.DeleteUser(t.Context(), accounts.Administrator, e.demo, u.ID)
			e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
			return err
		}, nil},
	} {
		t.Run(test.what, func(t *testing.T) {
			e := newEnv(t)
			base := e.URL
			u, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
			refresh := refreshToken(t, base, "ci", secret)
			if refresh == "" || strings.Contains(refresh, secret) {
				t.Fatalf("the refresh token is %q; want one, and without the secret", refresh)
			}
			if err := test.change(t, e, u); err != nil {
				t.Fatal(err)
			}
			e.Log.Take()
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "scope": {"repository:1-1-demo/app:pull,push"}}
			a := do(t, post(t, base, form))
			if test.want == nil {
				e.wantDenied(t, test.what, a, http.StatusUnauthorized, "UNAUTHORIZED", refresh, secret)
				return
			}
			if got := e.granted(t, a); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%s: got %v, want %v", test.what, got, test.want)
			}
			e.wantLogged(t, test.what, a, refresh, secret)
		})
	}
}

func TestRefreshTokenMisused(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	valid := do(t, post(t, base, url.Values{"grant_type": {"password"}, "username": {"ci"}, "password": {secret}, "access_type": {"offline"}}))
	payload := valid.RefreshToken[:strings.LastIndexByte(valid.RefreshToken, '.')]
	mac := valid.RefreshToken[len(payload)+1:]

	elsewhere := &env{Env: apptest.New(t, apptest.Options{Data: e.Dir.Path})} // the same accounts and keys
	elsewhere.Stop()
	elsewhere.AppOptions.Service = "other.example.com"
	elsewhere.Open()
	elsewhere.Log.Take()
	a := do(t, post(t, elsewhere.URL, url.Values{"service": {"other.example.com"}, "grant_type": {"refresh_token"}, "refresh_token": {valid.RefreshToken}}))
	elsewhere.wantDenied(t, "at another service", a, http.StatusUnauthorized, "UNAUTHORIZED", valid.RefreshToken)

	e.Log.Take()
	for what, text := range map[string]string{
		"empty":                    "",
		"cut":                      valid.RefreshToken[:len(valid.RefreshToken)-1],
		"longer":                   valid.RefreshToken + "A",
		"no code":                  payload,
		"no code, a dot":           payload + ".",
		"only the code":            "." + mac,
		"another user":             "2" + payload[1:] + "." + mac,
		"another incarnation":      "1." + strings.Repeat("A", 22) + "." + mac,
		"an access token":          valid.Token,
		"the secret":               secret,
		"garbage":                  strings.Repeat("\x00\xff", 100),
		"dots":                     "...",
		"numbers beyond the range": "99999999999999999999.99999999999999999999." + mac,
	} {
		a := do(t, post(t, base, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {text}}))
		secrets := []string{valid.RefreshToken, secret}
		if len(text) > 4 {
			secrets = append(secrets, text)
		}
		e.wantDenied(t, what, a, http.StatusUnauthorized, "UNAUTHORIZED", secrets...)
	}
}

// containerd sends a POST first, and a GET where POST is not supported, in this form
// (remotes/docker/auth, FetchTokenWithOAuth and FetchToken).
func TestContainerdTokenRequests(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	send := func(method, query, body string, basic bool) tokenResponse {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, base+"/token"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User-Agent", "containerd/v2.1.4")
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		}
		if basic {
			r.SetBasicAuth("ci", secret)
		}
		return do(t, r)
	}
	const scopes = "repository%3A1-1-demo%2Fapp%3Apull+repository%3A1-1-demo%2Fbase%3Apull"
	want := []oci.Access{rights("1-1-demo/app", "pull"), rights("1-1-demo/base", "pull")}
	first := send(http.MethodPost, "", "client_id=containerd-client&grant_type=password&password="+secret+"&scope="+scopes+"&service="+service+"&username=ci&access_type=offline", false)
	if got := e.granted(t, first); !reflect.DeepEqual(got, want) {
		t.Errorf("POST password: got %v, want %v", got, want)
	}
	second := send(http.MethodPost, "", "client_id=containerd-client&grant_type=refresh_token&refresh_token="+url.QueryEscape(first.RefreshToken)+"&scope="+scopes+"&service="+service, false)
	if got := e.granted(t, second); !reflect.DeepEqual(got, want) || second.RefreshToken != "" {
		t.Errorf("POST refresh_token: got %v and %q, want %v and no refresh token, which was not requested", got, second.RefreshToken, want)
	}
	third := send(http.MethodGet, "?client_id=containerd-client&offline_token=true&scope=repository%3A1-1-demo%2Fapp%3Apull&scope=repository%3A1-1-demo%2Fbase%3Apull&service="+service, "", true)
	if got := e.granted(t, third); !reflect.DeepEqual(got, want) {
		t.Errorf("GET: got %v, want %v", got, want)
	}
	e.Log.Take()
	wrong := "client_id=containerd-client&grant_type=password&password=wrong&scope=" + scopes + "&service=" + service + "&username=ci"
	e.wantDenied(t, "POST with a wrong secret", send(http.MethodPost, "", wrong, false), http.StatusUnauthorized, "UNAUTHORIZED")
}

func TestOtherMethods(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, "get", "BREW"} {
		r := get(t, base, "ci", secret, nil)
		r.Method = method
		a := do(t, r)
		if got, want := a.header.Get("Allow"), "GET, POST"; got != want {
			t.Errorf("%s: Allow: got %q, want %q", method, got, want)
		}
		if method == http.MethodHead {
			if a.status != http.StatusMethodNotAllowed || a.body != "" {
				t.Errorf("HEAD: got %d %q, want 405 without a body", a.status, a.body)
			}
			e.wantLogged(t, method, a, secret)
			continue
		}
		e.wantDenied(t, method, a, http.StatusMethodNotAllowed, "UNSUPPORTED", secret)
	}
}

func TestStoreThatIsClosed(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	refresh := refreshToken(t, base, "ci", secret)
	e.Log.Take()
	if err := e.Dir.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]*http.Request{
		"GET":              get(t, base, "ci", secret, nil),
		"POST":             post(t, base, url.Values{"grant_type": {"password"}, "username": {"ci"}, "password": {secret}}),
		"POST, refreshing": post(t, base, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}),
	} {
		a := do(t, r)
		if got := a.header.Get("Retry-After"); got != "1" {
			t.Errorf("%s: Retry-After: got %q, want 1", what, got)
		}
		if strings.Contains(a.body, "database") || strings.Contains(a.body, "sql") {
			t.Errorf("%s: got %s; want no internal error", what, a.body)
		}
		if text := e.Log.String(); !strings.Contains(text, `"level":"ERROR"`) || !strings.Contains(text, "closed") {
			t.Errorf("%s: logged %q; want an error that says what broke", what, text)
		}
		e.wantDenied(t, what, a, http.StatusServiceUnavailable, "UNAVAILABLE", secret, refresh)
	}
}

func TestKeysThatAreLost(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	removeKeys(t, e.Dir.Keys.Dir)
	e.wantDenied(t, "no key", do(t, get(t, base, "ci", secret, nil)), http.StatusServiceUnavailable, "UNAVAILABLE", secret)
}

func TestFailuresAreLimitedOverHTTP(t *testing.T) {
	e := newEnv(t)
	e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1, Secret: custom("pw")})
	_, generatedSecret := e.create(t, e.demo, accounts.NewUser{Name: "generated", Duration: 1})
	// fail fails from ten addresses, by GET and POST in turn.
	fail := func(what string, addresses func(i int) string) {
		t.Helper()
		for i := range 10 {
			guess := fmt.Sprint("a-guess", i)
			r := get(t, "", "1-1-demo+ci", guess, nil)
			if i%2 == 1 {
				r = post(t, "", url.Values{"grant_type": {"password"}, "username": {"1-1-demo+ci"}, "password": {guess}})
			}
			a := e.call(t, r, addresses(i))
			e.wantDenied(t, fmt.Sprintf("%s: failure %d", what, i), a, http.StatusUnauthorized, "UNAUTHORIZED", "a-guess")
		}
	}
	// want logs in with the right secret, or a wrong one where a 401 shows that there
	// is no limit: after a right one, the same secret is never limited.
	want := func(what, from string, status int) tokenResponse {
		t.Helper()
		secret := "pw"
		if status == http.StatusUnauthorized {
			secret = "a-guess of " + what
		}
		r := get(t, "", "1-1-demo+ci", secret, nil)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		r.Header.Set("Forwarded", "for=203.0.113.9")
		a := e.call(t, r, from)
		if a.status != status {
			t.Errorf("%s: a login from %s: got %d %s, want %d", what, from, a.status, a.body, status)
		}
		return a
	}
	fail("IPv4", func(i int) string { return "192.0.2.1:" + strconv.Itoa(1000+i) })
	e.Log.Take()
	limited := want("IPv4", "192.0.2.1:9", http.StatusTooManyRequests)
	if got := limited.header.Get("Retry-After"); got != "300" {
		t.Errorf("Retry-After: got %q, want 300", got)
	}
	e.wantDenied(t, "IPv4", limited, http.StatusTooManyRequests, "TOOMANYREQUESTS", "pw")
	want("IPv4, as IPv6", "[::ffff:192.0.2.1]:9", http.StatusTooManyRequests)
	want("IPv4, another", "192.0.2.2:9", http.StatusUnauthorized)
	if a := e.call(t, get(t, "", "generated", generatedSecret, nil), "192.0.2.1:9"); a.status != http.StatusOK {
		t.Errorf("a generated secret from the limited address: got %d %s, want 200", a.status, a.body)
	}
	e.Log.Take()
	fail("IPv6", func(i int) string { return fmt.Sprintf("[2001:db8:1:2:%x::%x]:%d", 7*i, i+1, 1000+i) })
	want("IPv6", "[2001:db8:1:2::ffff]:9", http.StatusTooManyRequests)
	want("IPv6, with a zone", "[2001:db8:1:2::1%eth0]:9", http.StatusTooManyRequests)
	want("IPv6, another /64", "[2001:db8:1:3::1]:9", http.StatusUnauthorized)

	e.Clock.Advance(100*time.Second + 500*time.Millisecond)
	if got := want("later", "192.0.2.1:9", http.StatusTooManyRequests).header.Get("Retry-After"); got != "200" {
		t.Errorf("Retry-After with 199.5 s left: got %q, want 200", got)
	}
	e.Clock.Set(noon.Add(5 * time.Minute))
	want("IPv4, after the window", "192.0.2.1:9", http.StatusUnauthorized)
	want("IPv6, after the window", "[2001:db8:1:2::1]:9", http.StatusUnauthorized)
	want("after the window", "192.0.2.1:9", http.StatusOK)
}

func TestRemoteAddressOfNoKnownForm(t *testing.T) {
	e := newEnv(t)
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	for _, from := range []string{"", "@", "/run/socket", "192.0.2.1", "::1", "[::1]", "host:80", "fe80::1%eth0", "[fe80::1%eth0]:80", ":::"} {
		if a := e.call(t, get(t, "", "ci", secret, nil), from); a.status != http.StatusOK {
			t.Errorf("from %q: got %d %s, want 200", from, a.status, a.body)
		}
	}
}

// A canceled request is logged once.
func TestCanceledRequest(t *testing.T) {
	e := newEnv(t)
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := e.call(t, get(t, "", "ci", secret, nil).WithContext(ctx), "192.0.2.1:9")
	e.wantDenied(t, "canceled", a, http.StatusServiceUnavailable, "UNAVAILABLE", secret)
}

func TestManyTokensAtOnce(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	ids := make([]string, 64)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			r := get(t, base, "ci", secret, scope("repository:1-1-demo/app:pull"))
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("request %d: got %d, want 200", i, response.StatusCode)
				return
			}
			ids[i], err = idOf(response.Body, e.issuer)
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if got := len(slices.Compact(ids)); got != 64 {
		t.Errorf("64 tokens have %d different ids; want 64", got)
	}
}

var errNoID = errors.New("the token has no id")

// A login with a generated secret reads one account from the store, once.
func TestALoginReadsOneAccount(t *testing.T) {
	e := newEnv(t)
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	counting := &storetest.Counting{Store: e.Dir.Store}
	e.Stop()
	e.AppOptions.Store = counting
	e.Open()
	base := e.URL
	for _, query := range []url.Values{nil, scope("repository:1-1-demo/app:pull,push")} {
		if a := do(t, get(t, base, "ci", secret, query)); a.status != http.StatusOK {
			t.Fatalf("GET /token?%v: got %d %s, want 200", query, a.status, a.body)
		}
		if request, want := counting.Take(), []string{"AccountBySecret"}; !slices.Equal(request, want) {
			t.Errorf("GET /token?%v read %q from the store, want %q", query, request, want)
		}
	}
}
