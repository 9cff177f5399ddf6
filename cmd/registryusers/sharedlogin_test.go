package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// One configuration file serves all clients, as ~/.docker/config.json does:
// docker writes it, podman, skopeo, buildah, crane and oras read it.
func TestClientsShareOneLogin(t *testing.T) {
	docker, podman := findTool(t, "docker", true), findTool(t, "podman", true)
	findTool(t, "skopeo", true)
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "user1", `"duration":1`)
	layout, _, _ := imagesOf(t)
	dir := t.TempDir()
	config, reference := filepath.Join(dir, "config.json"), p.host()+"/1-1-demo/app"
	step := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir, "REGISTRY_AUTH_FILE="+config)
		cmd.Stdin = strings.NewReader(secret)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %q: %v\n%s", filepath.Base(name), args, err, out)
		}
	}
	for range 2 { // docker finds podman's login, and podman finds docker's
		step(docker, "login", p.host(), "-u", "user1", "--password-stdin")
		text, err := os.ReadFile(config)
		if err != nil || strings.Contains(string(text), "identitytoken") || !strings.Contains(string(text), basic("user1", secret)) {
			t.Errorf("docker's configuration: got %v, identitytoken in it: %t; want the name and the secret",
				err, strings.Contains(string(text), "identitytoken"))
		}
		step("skopeo", "copy", "--dest-tls-verify=false", "oci:"+layout+":image", "docker://"+reference+":v1")
		step("skopeo", "inspect", "--tls-verify=false", "docker://"+reference+":v1")
		step(podman, "login", "--tls-verify=false", p.host()) // with the stored login
		step(podman, "login", "--tls-verify=false", "-u", "user1", "--password-stdin", p.host())
		step("skopeo", "inspect", "--tls-verify=false", "docker://"+reference+":v1")
		for name, args := range map[string][]string{
			"buildah": {"login", "--tls-verify=false", p.host()},
			"crane":   {"digest", reference + ":v1"},
			"oras":    {"manifest", "fetch", "--plain-http", reference + ":v1"},
		} {
			if path, err := exec.LookPath(name); err == nil {
				step(path, args...)
			}
		}
	}
}

// A client may keep an identity token, which is our refresh token, in place of
// the secret. Each of them sends it to POST /token.
func TestClientsUseAStoredIdentityToken(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--dev", "--data", data)
	secret := p.user(t, data, "user1", `"duration":1`)
	layout, _, _ := imagesOf(t)
	dir := t.TempDir()
	config, reference := filepath.Join(dir, "config.json"), p.host()+"/1-1-demo/app"
	login := fmt.Sprintf(`{"auths":{%q:{"auth":%q,"identitytoken":%q}}}`, p.host(), basic("user1", ""), p.tokens(t, "user1", secret).Refresh)
	if err := os.WriteFile(config, []byte(login), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, client := range []struct{ name, push, pull string }{
		{"skopeo", `skopeo copy --dest-tls-verify=false "oci:$LAYOUT:image" "docker://$REFERENCE"`, `skopeo inspect --tls-verify=false "docker://$REFERENCE"`},
		{"crane", `crane push --insecure --index "$LAYOUT" "$REFERENCE"`, `crane manifest --insecure "$REFERENCE"`},
		{"oras", `oras cp --from-oci-layout "$LAYOUT:image" --to-plain-http "$REFERENCE"`, `oras manifest fetch --plain-http "$REFERENCE"`},
	} {
		t.Run(client.name, func(t *testing.T) {
			findTool(t, client.name, true)
			for _, script := range []string{client.push, client.pull} {
				cmd := exec.Command("bash", "-ec", script)
				cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir, "REGISTRY_AUTH_FILE="+config, "HOME="+dir,
					"LAYOUT="+layout, fmt.Sprintf("REFERENCE=%s:v%d", reference, i))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", script, err, out)
				}
			}
		})
	}
	if text, err := os.ReadFile(config); err != nil || string(text) != login {
		t.Errorf("the clients' configuration: got %v, want it as it was", err)
	}
}
