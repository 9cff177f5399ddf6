package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var updateClients = flag.Bool("update-clients", false, "write docs/clients.md anew; every client must be installed")

// A registryClient is a program that works with a registry, and how it does
// each operation: a shell script, or "" if it does not support it. The scripts have
// HOST, REPOSITORY (of the client alone), NAME and SECRET of a user, LAYOUT (an
// OCI layout with the image "latest"), IMAGE (its configuration's digest) and WORK, a
// directory of the client's own, which is also HOME.
type registryClient struct {
	name, from                         string
	isLarge                            bool // takes long to build: required only with TEST_ALL
	login, push, pull, attach, deletes string
}

const (
	podmanStore  = ` --root "$WORK/root" --runroot "$WORK/runroot" --storage-driver vfs `
	containerd   = `ctr -a "$WORK/containerd.sock" `
	startRuntime = `
		printf 'version = 2\nroot = "%s/c/root"\nstate = "%s/c/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s/containerd.sock"\n' "$WORK" "$WORK" "$WORK" >"$WORK/c.toml"
		containerd --config "$WORK/c.toml" >"$WORK/c.log" 2>&1 & trap "kill $!; wait" EXIT
		for i in $(seq 100); do ` + containerd + `version >/dev/null 2>&1 && break; sleep 0.1; done
	`
)

var registryClients = []registryClient{
	{
		name: "docker", from: "Debian 12",
		login: `docker login -u "$NAME" --password-stdin "$HOST" <<<"$SECRET"`, // everything else needs an engine
	},
	{
		name: "podman", from: "Debian 12",
		login: `podman login --tls-verify=false -u "$NAME" --password-stdin "$HOST" <<<"$SECRET"`,
		push:  `podman` + podmanStore + `pull "oci:$LAYOUT:latest" && podman` + podmanStore + `push --tls-verify=false "$IMAGE" "docker://$REPOSITORY:v1"`,
		pull:  `podman` + podmanStore + `rmi -f "$IMAGE" && podman` + podmanStore + `pull --tls-verify=false "$REPOSITORY:v1"`,
	},
	{
		name: "buildah", from: "Debian 12",
		login: `buildah login --tls-verify=false -u "$NAME" --password-stdin "$HOST" <<<"$SECRET"`,
		push:  `buildah` + podmanStore + `pull "oci:$LAYOUT:latest" && buildah` + podmanStore + `push --tls-verify=false "$IMAGE" "docker://$REPOSITORY:v1"`,
		pull:  `buildah` + podmanStore + `rmi -f "$IMAGE" && buildah` + podmanStore + `pull --tls-verify=false "$REPOSITORY:v1"`,
	},
	{
		name: "skopeo", from: "Debian 12",
		login:   `skopeo login --tls-verify=false -u "$NAME" --password-stdin "$HOST" <<<"$SECRET"`,
		push:    `skopeo copy --dest-tls-verify=false "oci:$LAYOUT:latest" "docker://$REPOSITORY:v1"`,
		pull:    `skopeo copy --src-tls-verify=false "docker://$REPOSITORY:v1" "dir:$WORK/pulled"`,
		deletes: `skopeo delete --tls-verify=false "docker://$REPOSITORY:v1"`,
	},
	{
		name: "ctr (containerd)", from: "Debian 12",
		push: startRuntime + `tar -C "$LAYOUT" -cf - . | ` + containerd + `images import --no-unpack --base-name "$REPOSITORY" - &&
			` + containerd + `images push --plain-http --user "$NAME:$SECRET" "$REPOSITORY:latest"`,
		pull: startRuntime + containerd + `images rm "$REPOSITORY:latest" && ` + containerd + `content fetch --plain-http --user "$NAME:$SECRET" "$REPOSITORY:latest"`,
	},
	{
		name: "crane", from: "v0.22.1",
		login:   `crane auth login "$HOST" -u "$NAME" --password-stdin --insecure <<<"$SECRET"`,
		push:    `crane push --insecure "$LAYOUT" "$REPOSITORY:v1"`,
		pull:    `crane pull --insecure "$REPOSITORY:v1" "$WORK/pulled.tar"`,
		deletes: `crane delete --insecure "$REPOSITORY:v1"`,
	},
	{
		name: "oras", from: "v1.3.6",
		login:   `oras login --plain-http -u "$NAME" --password-stdin "$HOST" <<<"$SECRET"`,
		push:    `oras cp --from-oci-layout "$LAYOUT:latest" --to-plain-http "$REPOSITORY:v1"`,
		pull:    `oras cp --from-plain-http "$REPOSITORY:v1" --to-oci-layout "$WORK/pulled:v1"`,
		attach:  `cd "$WORK" && echo note >note.txt && oras attach --plain-http --artifact-type example/note "$REPOSITORY:v1" note.txt:text/plain && oras discover --plain-http "$REPOSITORY:v1" | grep example/note`,
		deletes: `oras manifest delete --plain-http -f "$REPOSITORY:v1"`,
	},
	{
		name: "regctl", from: "v0.11.7",
		login:   `regctl registry set --skip-check --tls disabled "$HOST" && regctl registry login -u "$NAME" -p "$SECRET" "$HOST"`,
		push:    `regctl image copy "ocidir://$LAYOUT:latest" "$REPOSITORY:v1"`,
		pull:    `regctl image copy "$REPOSITORY:v1" "ocidir://$WORK/pulled"`,
		attach:  `echo note | regctl artifact put --artifact-type example/note --subject "$REPOSITORY:v1" && regctl artifact list "$REPOSITORY:v1" | grep example/note`,
		deletes: `regctl tag delete "$REPOSITORY:v1"`,
	},
	{
		name: "helm", from: "v3.22.0", isLarge: true,
		login: `helm registry login --plain-http -u "$NAME" --password-stdin "$HOST" <<<"$SECRET"`,
		push:  `cd "$WORK" && helm create chart && helm package chart && helm push --plain-http chart-0.1.0.tgz "oci://$REPOSITORY"`,
		pull:  `cd "$WORK" && rm chart-0.1.0.tgz && helm pull --plain-http "oci://$REPOSITORY/chart" --version 0.1.0 && test -s chart-0.1.0.tgz`,
	},
	{
		name: "cosign", from: "v2.6.5", isLarge: true,
		login: `cosign login "$HOST" -u "$NAME" -p "$SECRET"`,
		attach: `cd "$WORK" && export COSIGN_PASSWORD= && crane push --insecure "$LAYOUT" "$REPOSITORY:v1" && cosign generate-key-pair && digest=$(crane digest --insecure "$REPOSITORY:v1") &&
			cosign sign --yes --key cosign.key --tlog-upload=false --allow-http-registry "$REPOSITORY@$digest" &&
			cosign verify --key cosign.pub --insecure-ignore-tlog --allow-http-registry "$REPOSITORY@$digest"`,
	},
}

const clientsHeader = `# Registry clients

A test runs these clients against the server at every change. Each logs in as a user, pushes an image, pulls it, attaches an artifact to it or signs
it, and deletes it. A dash means that the client has no such command, or that the command needs an engine, which the test does not have.

| client | from | login | push | pull | attach, sign | delete |
|---|---|---|---|---|---|---|
`

// TestClients runs every client that is installed against the binary, and
// compares the results with docs/clients.md.
func TestClients(t *testing.T) {
	layout, err := filepath.Abs(filepath.Join("..", "..", "testdata", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	const page = "../../docs/clients.md"
	documented, err := os.ReadFile(page)
	if err != nil && !*updateClients {
		t.Fatal(err)
	}
	if !*updateClients && !strings.HasPrefix(string(documented), clientsHeader) {
		t.Errorf("%s does not begin with this text; write it anew with -update-clients:\n%s", page, clientsHeader)
	}
	data := t.TempDir()
	server := serve(t, "--dev", "--data", data)
	var written bytes.Buffer
	written.WriteString(clientsHeader)
	for i, client := range registryClients {
		program, _, _ := strings.Cut(client.name, " ")
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil && *updateClients {
				t.Fatalf("%s is not installed, and docs/clients.md has a row for it", program)
			}
			findTool(t, program, !client.isLarge || os.Getenv("TEST_ALL") != "")
			secret := server.user(t, data, fmt.Sprintf("client%d", i), `"duration":1`)
			work, err := os.MkdirTemp("", "client") // a short path, because paths of sockets are limited
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(work) })
			row := fmt.Sprintf("| %s | %s |", client.name, client.from)
			for _, step := range []struct{ name, script string }{
				{"login", client.login}, {"push", client.push}, {"pull", client.pull}, {"attach", client.attach}, {"delete", client.deletes},
			} {
				if step.script == "" {
					row += " – |"
					continue
				}
				cmd := exec.Command("bash", "-ec", step.script)
				cmd.Env = append(os.Environ(),
					"HOST="+server.host(), fmt.Sprintf("REPOSITORY=%s/1-1-demo/client%d", server.host(), i),
					fmt.Sprintf("NAME=client%d", i), "SECRET="+secret, "LAYOUT="+layout,
					"IMAGE=470b5633e1dcb7249f3ebccddea151de03ca1ec08ec80b428c2ebcbd6def4fb6",
					"WORK="+work, "HOME="+work, "XDG_RUNTIME_DIR="+work, "DOCKER_CONFIG="+filepath.Join(work, ".docker"))
				out, err := cmd.CombinedOutput()
				result := "yes"
				if err != nil {
					result = "no"
					t.Errorf("%s: %v\n%s", step.name, err, out)
				}
				row += " " + result + " |"
				if bytes.Contains(out, []byte(secret)) {
					t.Errorf("%s prints the secret", step.name)
				}
			}
			written.WriteString(row + "\n")
			if !*updateClients && !strings.Contains(string(documented), row+"\n") {
				t.Errorf("docs/clients.md does not have the row %q; write it anew with -update-clients", row)
			}
		})
	}
	if *updateClients && !t.Failed() {
		if err := os.WriteFile(page, written.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if log := server.stderr.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log has errors:\n%s", log)
	}
}
