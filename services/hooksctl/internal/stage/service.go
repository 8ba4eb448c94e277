package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	readyTimeout = 20 * time.Second
	readyEvery   = 10 * time.Millisecond
)

// Service is one api or worker: a process that may end and start again, on one
// address. Its methods may be called concurrently.
type Service struct {
	// Addr serves the probes, and the api's requests.
	Addr string
	// Log is the file with all that the process said since its first start.
	Log string

	name, path string
	env        []string

	mu   sync.Mutex
	proc *process
}

// Name tells the service from the others of its system.
func (s *Service) Name() string { return s.name }

// PID is the process id of the last start, also when that process has ended.
func (s *Service) PID() int {
	if p := s.current(); p != nil {
		return p.pid()
	}
	return 0
}

// Running tells whether the process of the last start has not ended.
func (s *Service) Running() bool {
	p := s.current()
	return p != nil && p.running()
}

// Start starts the process and returns when it is ready.
func (s *Service) Start(ctx context.Context) error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(s.path) //nolint:noctx // it outlives the context of its start
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GOMAXPROCS=" + os.Getenv("GOMAXPROCS")}, s.env...)
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := startProcess(s.name, cmd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.proc = proc
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := poll(ctx, readyEvery, s.ready); err != nil {
		return errors.Join(fmt.Errorf("%s is not ready, see %s: %w", s.name, s.Log, err), proc.kill())
	}
	return nil
}

func (s *Service) ready(ctx context.Context) error {
	_, err := s.get(ctx, "/readyz")
	return err
}

// Metrics is what /metrics says now.
func (s *Service) Metrics(ctx context.Context) (string, error) { return s.get(ctx, "/metrics") }

func (s *Service) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+path, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", s.name, err)
	}
	probe := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := probe.Do(req)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", s.name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking %s: %s answers %s", s.name, path, resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", s.name, err)
	}
	return string(text), nil
}

// Stop is SIGTERM, and waiting for the end.
func (s *Service) Stop(ctx context.Context) error {
	if p := s.current(); p != nil {
		return p.stop(ctx)
	}
	return nil
}

// Kill is SIGKILL.
func (s *Service) Kill() error {
	if p := s.current(); p != nil {
		return p.kill()
	}
	return nil
}

// Freeze is SIGSTOP: the process stands still and does not know it.
func (s *Service) Freeze() error { return s.signal(syscall.SIGSTOP) }

// Thaw is SIGCONT.
func (s *Service) Thaw() error { return s.signal(syscall.SIGCONT) }

func (s *Service) signal(sig syscall.Signal) error {
	if p := s.current(); p != nil {
		return p.signal(sig)
	}
	return nil
}

// CPU is what the process has used since its last start.
func (s *Service) CPU() time.Duration {
	if p := s.current(); p != nil && p.running() {
		return CPUTime(p.pid())
	}
	return 0
}

// Memory is what the process holds.
func (s *Service) Memory() Memory {
	if p := s.current(); p != nil && p.running() {
		return MemoryOf(p.pid())
	}
	return Memory{}
}

func (s *Service) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// freeAddr finds a free loopback port below the range that systems take for
// outgoing connections, so that it stays free while its owner is down.
func freeAddr() (string, error) {
	const lowest, highest = 15000, 32000
	var last error
	for range 100 {
		port := lowest + rand.IntN(highest-lowest) //nolint:gosec // no secret
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr) //nolint:noctx // it binds, it does not wait
		if err != nil {
			last = err
			continue
		}
		return addr, l.Close()
	}
	return "", fmt.Errorf("finding a free port: %w", last)
}
