package token_test

import (
	"bytes"
	"encoding/base64"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/registryusers/registryusers/internal/accounts"
)

// marker is in the input, and must be in no log and no response.
const marker = "xmarkerx"

func TestGarbledBasicHeader(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	encode := base64.StdEncoding.EncodeToString
	valid := encode([]byte("ci:" + secret))
	for what, header := range map[string]string{
		"none":                     "",
		"no scheme":                valid,
		"another scheme":           "Bearer " + valid,
		"the scheme alone":         "Basic",
		"nothing behind the space": "Basic ",
		"bad base64":               "Basic !" + marker + "!",
		"cut base64":               "Basic " + valid[:len(valid)-1],
		"base64 with a space":      "Basic " + valid[:8] + " " + valid[8:],
		"two in one":               "Basic " + valid + ", Basic " + valid,
		"no colon":                 "Basic " + encode([]byte("ci"+marker)),
		"a NUL in the name":        "Basic " + encode([]byte("ci\x00"+marker+":"+secret)),
		"a NUL behind the name":    "Basic " + encode([]byte("ci\x00:"+secret)),
		"a NUL in the secret":      "Basic " + encode([]byte("ci:"+secret+"\x00")),
		"8-bit, not encoded":       "Basic ci\xff" + marker,
		"8-bit in the name":        "Basic " + encode([]byte("ci\xff\xfe"+marker+":"+secret)),
		"8-bit in the secret":      "Basic " + encode([]byte("ci:\xff"+marker)),
		"a line break in the name": "Basic " + encode([]byte("ci\nlevel=ERROR msg="+marker+":x")),
		"a long name":              "Basic " + encode([]byte(strings.Repeat(marker, 5_000)+":x")),
		"an empty secret":          "Basic " + encode([]byte("ci:")),
		"empty":                    "Basic " + encode([]byte(":")),
		"name and secret swapped":  "Basic " + encode([]byte(secret+":ci")),
	} {
		t.Run(what, func(t *testing.T) {
			r := get(t, base, "", "", scope("repository:1-1-demo/app:pull"))
			r.Header.Del("Authorization")
			if header != "" {
				r.Header.Set("Authorization", header)
			}
			e.wantDenied(t, what, do(t, r), http.StatusUnauthorized, "UNAUTHORIZED", secret, marker, valid)
		})
	}
}

func TestScopeWithAPathTrick(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	for what, name := range map[string]string{
		"dots":                      "1-1-demo/../1-1-other/" + marker,
		"dots at the end":           "1-1-demo/" + marker + "/..",
		"dots at the front":         "../1-1-demo/" + marker,
		"one dot":                   "1-1-demo/./" + marker,
		"two slashes":               "1-1-demo//" + marker,
		"a slash at the front":      "/1-1-demo/" + marker,
		"a slash at the end":        "1-1-demo/" + marker + "/",
		"a backslash":               `1-1-demo\..\1-1-other\` + marker,
		"encoded dots":              "1-1-demo/%2e%2e/1-1-other/" + marker,
		"an encoded slash":          "1-1-demo%2F" + marker,
		"capitals":                  "1-1-demo/X" + marker,
		"capitals in the registry":  "1-1-DEMO/" + marker,
		"a NUL":                     "1-1-demo/" + marker + "\x00",
		"a NUL behind the registry": "1-1-demo\x00/" + marker,
		"8-bit":                     "1-1-demo/" + marker + "\xff",
		"a letter that looks alike": "1-1-dem\u043e/" + marker,
		"a wide slash":              "1-1-demo\uff0f" + marker,
		"a colon":                   "1-1-demo/" + marker + ":latest",
		"a digest":                  "1-1-demo/" + marker + "@sha256",
		"empty":                     "",
		"only the registry":         "1-1-demo/",
		"a star":                    "1-1-demo/*",
		"only a star":               "*",
		"a name of 300 letters":     "1-1-demo/" + strings.Repeat("a", 300),
		"a line break":              "1-1-other/" + marker + "\n1-1-demo/" + marker,
		"an internal name":          "1-1-demo/_manifests",
	} {
		t.Run(what, func(t *testing.T) {
			for method, r := range map[string]*http.Request{
				"GET": get(t, base, "ci", secret, scope("repository:"+name+":pull,push,delete")),
				"POST": post(t, base, url.Values{
					"grant_type": {"password"}, "username": {"ci"}, "password": {secret}, "scope": {"repository:" + name + ":pull,push,delete"},
				}),
			} {
				a := do(t, r)
				if got := e.granted(t, a); len(got) != 0 || a.Scope != "" {
					t.Errorf("%s for the repository %q: got %v and the scope %q, want nothing granted", method, name, got, a.Scope)
				}
				e.wantLogged(t, what, a, secret, marker)
			}
		})
	}
}

func TestTenThousandScopes(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	many := func(n int) []string {
		scopes := make([]string, n)
		for i := range scopes {
			scopes[i] = "repository:1-1-demo/" + marker + strconv.Itoa(i) + ":pull"
		}
		return scopes
	}
	if got := e.granted(t, do(t, get(t, base, "ci", secret, scope(many(50)...)))); len(got) != 50 {
		t.Errorf("50 scopes: %d granted, want 50", len(got))
	}
	e.Log.Take()
	form := url.Values{"grant_type": {"password"}, "username": {"ci"}, "password": {secret}}
	short := url.Values{"scope": {strings.Repeat("a ", 10_000)}}
	for key, value := range form {
		short[key] = value
	}
	for what, r := range map[string]*http.Request{
		"51":                      get(t, base, "ci", secret, scope(many(51)...)),
		"10,000":                  get(t, base, "ci", secret, scope(many(10_000)...)),
		"10,000, spaces":          get(t, base, "ci", secret, scope(strings.Join(many(10_000), " "))),
		"10,000 by POST":          post(t, base, short),
		"10,000 that are invalid": get(t, base, "ci", secret, scope(strings.Repeat("x ", 10_000))),
	} {
		// Without a network: net/http would refuse the longest of them itself.
		e.wantDenied(t, what, e.call(t, r, "192.0.2.1:9"), http.StatusBadRequest, "UNSUPPORTED", secret, marker)
	}
}

func TestServiceOfAnotherRegistry(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	for what, services := range map[string][]string{
		"another":           {marker + ".example.com"},
		"capitals":          {"REGISTRY.example.com"},
		"a dot at the end":  {service + "."},
		"a NUL":             {service + "\x00"},
		"with a space":      {" " + service},
		"another before it": {marker, service},
	} {
		t.Run(what, func(t *testing.T) {
			for method, r := range map[string]*http.Request{
				"GET":  get(t, base, "ci", secret, url.Values{"service": services}),
				"POST": post(t, base, url.Values{"service": services, "grant_type": {"password"}, "username": {"ci"}, "password": {secret}}),
			} {
				a := do(t, r)
				e.wantDenied(t, method+" for "+what, a, http.StatusBadRequest, "UNSUPPORTED", secret, marker)
				if !strings.Contains(a.body, "service") || !strings.Contains(a.body, service) {
					t.Errorf("%s for %s: got %s, want an error that names the service %s", method, what, a.body, service)
				}
			}
		})
	}
}

func TestAbsentServiceIsOurs(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	refresh := refreshToken(t, base, "ci", secret)
	for what, services := range map[string][]string{"none": nil, "an empty one": {""}} {
		for method, r := range map[string]*http.Request{
			"GET":              get(t, base, "ci", secret, url.Values{"service": services}),
			"POST":             post(t, base, url.Values{"service": services, "grant_type": {"password"}, "username": {"ci"}, "password": {secret}}),
			"POST, refreshing": post(t, base, url.Values{"service": services, "grant_type": {"refresh_token"}, "refresh_token": {refresh}}),
		} {
			if a := do(t, r); a.status != http.StatusOK || a.Token == "" {
				t.Errorf("%s with the service %s: got %d %s, want 200 and a token", method, what, a.status, a.body)
			}
		}
	}
}

func TestBadForm(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	valid := url.Values{"service": {service}, "grant_type": {"password"}, "username": {"ci"}, "password": {secret}}.Encode()
	var parts bytes.Buffer
	writer := multipart.NewWriter(&parts)
	for key, value := range map[string]string{"service": service, "grant_type": "password", "username": "ci", "password": secret} {
		if err := writer.WriteField(key, value); err != nil {
			t.Fatal(err)
		}
	}
	writer.Close()
	const form = "application/x-www-form-urlencoded"
	for what, test := range map[string]struct{ query, kind, body string }{
		"over 64 KiB":                  {"", form, valid + "&pad=" + strings.Repeat(marker, 64<<10/len(marker))},
		"over 64 KiB of one name":      {"", form, strings.Repeat(marker, 64<<10/len(marker)+1)},
		"an unknown grant_type":        {"", form, strings.Replace(valid, "=password&", "="+marker+"&", 1)},
		"an unknown grant_type, known": {"", form, strings.Replace(valid, "=password&", "=authorization_code&", 1)},
		"grant_type in capitals":       {"", form, strings.Replace(valid, "=password&", "=PASSWORD&", 1)},
		"no grant_type":                {"", form, strings.Replace(valid, "grant_type", "grant", 1)},
		"no body":                      {"", form, ""},
		"all in the query":             {"?" + valid, form, ""},
		"a bad escape":                 {"", form, valid + "&x=%" + marker},
		"a bad escape in the query":    {"?x=%" + marker, form, valid},
		"a semicolon":                  {"", form, strings.ReplaceAll(valid, "&", ";")},
		"JSON":                         {"", "application/json", `{"grant_type":"password","username":"ci","password":"` + secret + `"}`},
		"no content type":              {"", "", valid},
		"a garbled content type":       {"", "application/" + marker + "; =;;", valid},
		"multipart":                    {"", writer.FormDataContentType(), parts.String()},
	} {
		t.Run(what, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/token"+test.query, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.kind != "" {
				r.Header.Set("Content-Type", test.kind)
			}
			e.wantDenied(t, what, do(t, r), http.StatusBadRequest, "UNSUPPORTED", secret, marker)
		})
	}
}

func TestBadQuery(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	for _, query := range []string{"service=%" + marker, "service=" + service + "&scope=%zz" + marker, "service=" + service + ";" + marker, "%"} {
		r := get(t, base, "ci", secret, nil)
		r.URL.RawQuery = query
		e.wantDenied(t, query, do(t, r), http.StatusBadRequest, "UNSUPPORTED", secret, marker)
	}
}

// The secret belongs into the header, not where proxies log it.
func TestSecretInTheQueryIsNoLogin(t *testing.T) {
	e := newEnv(t)
	base := e.URL
	_, secret := e.create(t, e.demo, accounts.NewUser{Name: "ci", Duration: 1})
	query := url.Values{"account": {"ci"}, "username": {"ci"}, "password": {secret}, "grant_type": {"password"}}
	r := get(t, base, "", "", query)
	r.Header.Del("Authorization")
	e.wantDenied(t, "the secret in the query", do(t, r), http.StatusUnauthorized, "UNAUTHORIZED", secret)
}
