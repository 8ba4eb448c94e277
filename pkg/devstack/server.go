package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startAttempts and retryAfter, doubled each time, give a predecessor three
// seconds to be gone.
const (
	startAttempts = 5
	retryAfter    = 200 * time.Millisecond
)

// server is what PostgreSQL and Redis have in common: one process at a time
// on a port that stays. Safe for concurrent use.
type server struct {
	name string
	log  string // path
	stop syscall.Signal
	// freePort finds a port at the first start.
	freePort func() (int, error)

	mu   sync.Mutex
	port int
	used bool // it has been up, so clients know the port
	proc *process
}

// start starts the server and returns when ping succeeds.
func (s *server) start(ctx context.Context, command func() *exec.Cmd, ping func(context.Context) error) error {
	if s.pid() != 0 {
		return fmt.Errorf("%s runs already", s.name)
	}
	err := s.startOnce(ctx, command, ping)
	for wait, n := retryAfter, 1; errors.Is(err, errExited) && s.inTheWay() && n < startAttempts; wait, n = 2*wait, n+1 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
			err = s.startOnce(ctx, command, ping)
		}
	}
	if errors.Is(err, errExited) {
		return fmt.Errorf("starting %s: %w; its log %s ends with:\n%s", s.name, err, s.log, logTail(s.log))
	}
	return err
}

// inTheWay tells whether the log says that something held what the server
// needs: its port, lost between choosing and using it, or its data, which a
// predecessor that was killed has not quite let go.
func (s *server) inTheWay() bool {
	tail := logTail(s.log)
	for _, sign := range []string{"Address already in use", `lock file "postmaster.pid" already exists`, "is still in use"} {
		if strings.Contains(tail, sign) {
			return true
		}
	}
	return false
}

func (s *server) startOnce(ctx context.Context, command func() *exec.Cmd, ping func(context.Context) error) error {
	if err := s.choosePort(); err != nil {
		return err
	}
	log, err := openLog(s.log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := command()
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := startProcess(cmd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.proc = proc
	s.mu.Unlock()
	if err := proc.waitReady(ctx, ping); err != nil {
		return errors.Join(err, proc.kill())
	}
	s.mu.Lock()
	s.used = true
	s.mu.Unlock()
	return nil
}

// choosePort keeps a port that clients know.
func (s *server) choosePort() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used {
		return nil
	}
	var err error
	s.port, err = s.freePort()
	return err
}

func (s *server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

func (s *server) hostPort() (host, port string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "127.0.0.1", strconv.Itoa(s.port)
}

func (s *server) addr() string { return net.JoinHostPort(s.hostPort()) }

func (s *server) pid() int {
	p := s.current()
	if p == nil || !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

func (s *server) exited() <-chan struct{} {
	p := s.current()
	if p == nil {
		return nil
	}
	return p.done
}

// end stops the server in good order; when ctx ends first it kills.
func (s *server) end(ctx context.Context) error { return s.endBy(ctx, s.stop) }

func (s *server) endBy(ctx context.Context, sig syscall.Signal) error {
	if p := s.current(); p != nil {
		return p.stop(ctx, sig)
	}
	return nil
}

func (s *server) kill() error {
	if p := s.current(); p != nil {
		return p.kill()
	}
	return nil
}
