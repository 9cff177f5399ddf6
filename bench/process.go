package main

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// A process is a child that listens on loopback.
type process struct {
	address string
	command *exec.Cmd
	ended   chan struct{} // closed when it has
}

// start starts a command in a process group of its own, which stop ends whole.
func start(command *exec.Cmd) (*process, error) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{command: command, ended: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends the process. A command that is started by another, as npx does,
// has its group's number.
func (p *process) stop() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// await tries again and again until the process is ready.
func (p *process) await(longest time.Duration, ready func() error) error {
	for end := time.Now().Add(longest); ; {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("it did not come up in %s: %w", longest, err)
		}
		select {
		case <-p.ended: // or the context did, which ends it
			return fmt.Errorf("it ended: %s", p.command.ProcessState)
		case <-time.After(time.Millisecond / 2):
		}
	}
}
