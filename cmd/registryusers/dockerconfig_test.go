package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// createInto returns a command that creates a user and adds its login to a file.
func (p *process) createInto(t *testing.T, data, name, config string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, "user", "create", name, "--registry", "1", "--days", "1", "--docker-config", config)
	cmd.Env = append(os.Environ(), "GCORE_BASE_URL="+p.url, "GCORE_API_KEY="+readDev(t, data).APIKey, "GCORE_CLOUD_PROJECT_ID=1", "GCORE_CLOUD_REGION_ID=1")
	return cmd
}

// Concurrent commands do not lose each other's logins.
func TestDockerConfigOfManyCommands(t *testing.T) {
	data, dir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, "--dev", "--data", data)
	const commands = 20
	var wg sync.WaitGroup
	for i := range commands {
		cmd := p.createInto(t, data, fmt.Sprint("user", i), filepath.Join(dir, "config.json"))
		cmd.Args = append(cmd.Args, "--registry-host", fmt.Sprintf("host%d.example", i))
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Auths map[string]any }
	if err := json.Unmarshal(text, &config); err != nil || len(config.Auths) != commands {
		t.Errorf("the file has %d logins, %v; want %d", len(config.Auths), err, commands)
	}
}
