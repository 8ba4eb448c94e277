package devstack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// killGrace is how long a server may take to die after SIGKILL.
	killGrace = 5 * time.Second
	// pollEvery is the pause between two attempts to connect while a server starts.
	pollEvery = 10 * time.Millisecond
)

// process is a running child. It is never restarted: a new start is a new process.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has been waited for
	err  error         // of Wait; read only after done
}

// startProcess starts cmd in a process group of its own, so that Ctrl-C in a
// terminal reaches us and not the child.
//
// The goroutine stays on its thread until the child ends, because the kernel
// sends the parent-death signal when the *thread* that started the child ends.
// It ends with the child; stop and kill wait for it.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop sends sig and waits; when ctx ends first it kills. How the child ended is of no interest.
func (p *process) stop(ctx context.Context, sig syscall.Signal) error {
	if err := p.signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.kill())
	}
}

func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(killGrace):
		return fmt.Errorf("process %d outlived SIGKILL by %s", p.cmd.Process.Pid, killGrace)
	}
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// errExited says that a child ended before it was ready.
var errExited = errors.New("server ended while starting")

// waitReady calls ping until it succeeds, the child ends, or ctx ends.
func (p *process) waitReady(ctx context.Context, ping func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errExited
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for %s: %w", p.cmd.Path, context.Cause(ctx)), err)
		case <-tick.C:
		}
	}
}

// cleanEnv keeps settings of other servers (PGPORT, PGDATA, ...) away from ours
// and makes their messages the same everywhere.
func cleanEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}

// freePort finds a free loopback port below the range that systems take for
// outgoing connections: a client redialling a stopped server must not take the
// server's port away as its own.
func freePort() (int, error) { return freePortIn(15000, 32000) }

func freePortIn(lowest, highest int) (int, error) {
	var last error
	for range 100 {
		port := lowest + rand.IntN(highest-lowest) //nolint:gosec // no secret
		if last = tryPort(port); last == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("finding a free port: %w", last)
}

func tryPort(port int) error {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return err
	}
	return l.Close()
}

// logTail returns the end of a log, to be part of an error.
func logTail(path string) string {
	const lines, maxBytes = 5, 4096
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	b = b[max(0, len(b)-maxBytes):]
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// openLog opens a server's log to append to, empty at first.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening server log: %w", err)
	}
	return f, nil
}
