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
	ended   chan struct{} // closed when the process has ended
}

// start starts a command in a new process group, so that stop can end the group.
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

// stop ends the process and its children: npx, for example, starts another command,
// in the same process group.
func (p *process) stop() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// await calls ready until it succeeds, the process ends or the time is over.
func (p *process) await(longest time.Duration, ready func() error) error {
	for end := time.Now().Add(longest); ; {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("it was not ready after %s: %w", longest, err)
		}
		select {
		case <-p.ended: // by itself or with the context
			return fmt.Errorf("it ended before it was ready: %s", p.command.ProcessState)
		case <-time.After(time.Millisecond / 2):
		}
	}
}
