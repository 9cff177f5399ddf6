package registryusers_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata from what there is")

// A change of what the public packages offer shows in review, as a change of
// a golden file. Run "go test . -run Surface -update" to accept it.
func TestPublicSurfaceIsTheGoldenOne(t *testing.T) {
	for _, tt := range []struct{ pkg, golden string }{
		{".", "registryusers.txt"},
		{"./client", "client.txt"},
		{"./client/clienttest", "clienttest.txt"},
		{"./server", "server.txt"},
		{"./gen/models", "models.txt"},
		{"./gen/apiclient", "apiclient.txt"},
		{"./gen/apiserver", "apiserver.txt"},
	} {
		t.Run(tt.pkg, func(t *testing.T) {
			golden := filepath.Join("testdata", "surface", tt.golden)
			got := goCommand(t, "doc", "-all", tt.pkg)
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if at := firstDifference(got, string(want)); at != "" {
				t.Errorf("go doc -all %s differs from %s: %s\nif the change is intended: go test . -run Surface -update", tt.pkg, golden, at)
			}
		})
	}
}

// firstDifference names the first line in which two texts differ, or is "".
func firstDifference(got, want string) string {
	if got == want {
		return ""
	}
	gots, wants := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(gots), len(wants)) {
		g, w := "(end)", "(end)"
		if i < len(gots) {
			g = gots[i]
		}
		if i < len(wants) {
			w = wants[i]
		}
		if g != w {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g, w)
		}
	}
	return "in nothing visible"
}
