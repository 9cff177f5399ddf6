//go:build unix

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// otherUID is a user other than root, which runs the tests.
const otherUID = 65534

// A link stays a link; the file that it leads to keeps its owner and mode.
func TestDockerConfigBehindALink(t *testing.T) {
	data, dir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, "--dev", "--data", data)
	file, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	uid := os.Getuid()
	if uid == 0 {
		uid = otherUID
		if err := os.Chown(file, otherUID, otherUID); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	if out, err := p.createInto(t, data, "user1", link).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if target, err := os.Readlink(link); err != nil || target != "real.json" {
		t.Errorf("the link leads to %q, %v; want real.json", target, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); info.Mode() != 0o640 || int(stat.Uid) != uid {
		t.Errorf("the file has the mode %v and the owner %d; want 0640 and %d, as before", info.Mode(), stat.Uid, uid)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"auth"`) {
		t.Errorf("the file holds %s, %v; want a login", text, err)
	}
}

// A file that cannot be written is refused before the user is created.
func TestDockerConfigThatCannotBeWritten(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, "--dev", "--data", data)
	open, err := os.MkdirTemp("", "registryusers") // unlike t.TempDir, in a directory that others can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for what, mode := range map[string]os.FileMode{"directory not writable": 0o555, "file of another": 0o777} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(open, strings.ReplaceAll(what, " ", "-"))
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			config := filepath.Join(dir, "config.json")
			if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(config, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
			cmd := p.createInto(t, data, "user1", config)
			if os.Getuid() == 0 {
				cmd = runAsOtherUser(t, cmd, open)
			} else if what == "file of another" {
				t.Skip("only root can create a file of another user")
			}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "cannot be written") {
				t.Errorf("%v\n%s\nwant exit code 2, and that the file cannot be written", err, out)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("the directory holds %v, %v; want only the file", entries, err)
			}
		})
	}
	p.user(t, data, "user1", `"duration":1`) // no refused command created it
}

// runAsOtherUser runs a command as another user, with a copy of the binary in dir.
func runAsOtherUser(t *testing.T, cmd *exec.Cmd, dir string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(dir, "registryusers")
	from, err := os.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args[0] = path, path
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUID, Gid: otherUID}}
	return cmd
}
