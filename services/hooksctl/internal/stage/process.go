package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	// killGrace is how long a process may take to be gone after SIGKILL.
	killGrace = 5 * time.Second
	// dumpGrace is how long a process may take to say where it hangs.
	dumpGrace = time.Second
)

// process is a running child in a process group of its own.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has been waited for
}

// startProcess starts cmd. Its goroutine keeps its thread until the child ends:
// the kernel sends the parent-death signal when that thread ends.
func startProcess(name string, cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = childAttr()
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() { // ends with the child; kill and stop wait for it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in ProcessState
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop asks the child to end and waits; when ctx ends first it has the child say
// in its log where it hangs, kills it, and returns an error.
func (p *process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		err := fmt.Errorf("%s did not stop: %w", p.name, context.Cause(ctx))
		err = errors.Join(err, p.signal(syscall.SIGQUIT))
		p.awaitEnd(dumpGrace)
		return errors.Join(err, p.kill())
	}
}

// awaitEnd gives a child that was told to end a while to do so.
func (p *process) awaitEnd(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !p.awaitEnd(killGrace) {
		return fmt.Errorf("%s outlived SIGKILL by %s", p.name, killGrace)
	}
	return nil
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", p.name, err)
	}
	return nil
}

// Part is this program, started anew to play a part of its own.
type Part struct{ proc *process }

// StartPart starts this program with one argument, and with the environment env
// and no other.
func StartPart(argument string, env ...string) (*Part, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(self, argument) //nolint:noctx // Kill ends it
	cmd.Env = append([]string{"GOMAXPROCS=" + os.Getenv("GOMAXPROCS")}, env...)
	cmd.Stderr = os.Stderr
	proc, err := startProcess(argument, cmd)
	if err != nil {
		return nil, err
	}
	return &Part{proc}, nil
}

// CPU is what the part has used so far.
func (p *Part) CPU() time.Duration { return CPUTime(p.proc.pid()) }

// Kill ends the part.
func (p *Part) Kill() error { return p.proc.kill() }

// poll calls ready every so often until it returns nil or ctx ends.
func poll(ctx context.Context, every time.Duration, ready func(context.Context) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
