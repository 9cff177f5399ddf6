//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMakeRunEndsQuietlyOnInterrupt does what Ctrl-C in a terminal does: it
// sends SIGINT to make and to all that make has started.
func TestMakeRunEndsQuietlyOnInterrupt(t *testing.T) {
	findTool(t, "make", true)
	dir := t.TempDir()
	program := filepath.Join(dir, "registryusers")
	cmd := exec.Command("make", "run", "BINARY="+program, "ARGS=--listen 127.0.0.1:0 --data "+filepath.Join(dir, "data"))
	cmd.Dir = filepath.Join("..", "..")
	for _, entry := range os.Environ() { // make test has run this test: make run must not see that it runs in make test
		if !strings.HasPrefix(entry, "MAKE") && !strings.HasPrefix(entry, "MFLAGS") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := start(t, cmd)
	p.exited = true // stop would signal only make
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.read.Wait()
	_ = cmd.Wait()
	if got := p.stdout.String(); !strings.HasPrefix(got, "Building ") || !strings.Contains(got, "a few minutes the first time") {
		t.Errorf("output: got %q, want it to begin by saying that it builds", got)
	}
	if !strings.Contains(p.stdout.String(), "  "+program+" user create ") {
		t.Errorf("output: got %q, want lines with the program that make built, %s", p.stdout.String(), program)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	isInterrupted := status.Signaled() && status.Signal() == syscall.SIGINT
	if !isInterrupted && status.ExitStatus() != 0 {
		t.Errorf("make run after Ctrl-C: got %v, want the end by the interrupt or success", cmd.ProcessState)
	}
	for name, out := range map[string]string{"output": p.stdout.String(), "errors": p.stderr.String()} {
		if strings.Contains(out, "***") || strings.Contains(out, "Error") {
			t.Errorf("%s after Ctrl-C: got %s, want no error of make's", name, out)
		}
	}
	if !strings.Contains(p.stderr.String(), "shutting down") {
		t.Errorf("errors: got %s, want the server to have ended in order", p.stderr.String())
	}
}
