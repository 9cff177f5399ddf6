package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the command lines of testdata/script with the built binary.
// Besides testscript's commands they have "serve", which starts a server with
// --dev on the data directory $WORK/data and sets the client's environment.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Values["t"] = t
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve": func(ts *testscript.TestScript, _ bool, args []string) {
				data := ts.MkAbs("data")
				p := serve(t, append([]string{"--dev", "--data", data}, args...)...)
				ts.Defer(func() { p.stop(syscall.SIGTERM) })
				ts.Setenv("GCORE_BASE_URL", p.url)
				ts.Setenv("GCORE_API_KEY", readDev(t, data).APIKey)
				ts.Setenv("GCORE_CLOUD_PROJECT_ID", "1")
				ts.Setenv("GCORE_CLOUD_REGION_ID", "1")
				ts.Setenv("ADDRESS", strings.TrimPrefix(p.url, "http://"))
			},
			// losing: sends the client's requests through a proxy that loses
			// every response.
			"losing": func(ts *testscript.TestScript, _ bool, _ []string) {
				proxy := newFaultProxy(t, ts.Getenv("GCORE_BASE_URL"), func(int) fault { return dropResponse })
				ts.Setenv("GCORE_BASE_URL", proxy.URL)
			},
			// answering STATUS: lets the client call a server that responds so, and
			// is not the API.
			"answering": func(ts *testscript.TestScript, _ bool, args []string) {
				status, err := strconv.Atoi(args[0])
				ts.Check(err)
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "/login")
					w.WriteHeader(status)
				}))
				ts.Defer(s.Close)
				ts.Setenv("GCORE_BASE_URL", s.URL)
			},
			// tlsserver: lets the client call a server with an untrusted certificate.
			"tlsserver": func(ts *testscript.TestScript, _ bool, _ []string) {
				s := httptest.NewUnstartedServer(http.NotFoundHandler())
				s.Config.ErrorLog = log.New(io.Discard, "", 0)
				s.StartTLS()
				ts.Defer(s.Close)
				ts.Setenv("GCORE_BASE_URL", s.URL)
			},
			// exits CODE COMMAND...: runs a command line that must exit with the code.
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				got := "exit status 0"
				if err != nil {
					got = err.Error()
				}
				if got != "exit status "+args[0] {
					ts.Fatalf("got %s, want exit status %s", got, args[0])
				}
			},
		},
	})
}
