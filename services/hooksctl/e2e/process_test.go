package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is far beyond what anything takes on an idle machine.
const patience = 60 * time.Second

// process is a child: an api, a worker or a monitor.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended and been waited for
	log  logText
	told time.Time // to stop
}

// start starts a service. The child is killed when the test ends.
func start(t *testing.T, service string, env []string) *process {
	t.Helper()
	p := &process{t: t, name: service, done: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(os.Getenv(binariesVar), service))
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = childAttr()
	started := make(chan error)
	go func() { // waited for through done; the death signal is tied to its thread
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in ProcessState
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", service, err)
	}
	t.Cleanup(func() {
		p.kill()
		if line := p.log.fault(); line != "" {
			t.Errorf("%s logs a fault of its own: %s", service, line)
		}
		if t.Failed() {
			t.Logf("log of %s, process %d, its end:\n%s", service, p.cmd.Process.Pid, p.log.tail())
		}
	})
	return p
}

// kill is kill -9, and returns when the process is gone.
func (p *process) kill() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended already
	p.awaitEnd()
}

// terminate is SIGTERM; awaitEnd says how that ended.
func (p *process) terminate() {
	p.t.Helper()
	p.told = time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("stopping %s: %v", p.name, err)
	}
}

// awaitEnd returns the exit code, -1 after a signal.
func (p *process) awaitEnd() int {
	p.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-timer.C:
		p.t.Errorf("%s did not end within %s", p.name, patience)
		return -1
	}
}

// awaitLog waits for a line that holds all of the texts.
func (p *process) awaitLog(texts ...string) string {
	p.t.Helper()
	var line string
	await(p.t, p.name+" to log "+strings.Join(texts, ", "), func() bool {
		var found bool
		line, found = p.log.line(texts...)
		return found
	})
	return line
}

// awaitAddr waits for the line that says where a part of the process listens.
func (p *process) awaitAddr(component string) string {
	p.t.Helper()
	var said struct{ Addr string }
	line := p.awaitLog(`"msg":"listening"`, `"component":"`+component+`"`)
	if err := json.Unmarshal([]byte(line), &said); err != nil || said.Addr == "" {
		p.t.Fatalf("%s listens at an address that its log does not tell: %s", p.name, line)
	}
	return said.Addr
}

// logText collects what a child writes.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// line finds the first complete line that holds all of the texts.
func (l *logText) line(texts ...string) (string, bool) {
	for line := range strings.Lines(l.String()) {
		found := strings.HasSuffix(line, "\n")
		for _, text := range texts {
			found = found && strings.Contains(line, text)
		}
		if found {
			return line, true
		}
	}
	return "", false
}

// fault returns a line that tells of a fault of the process: whatever a test
// does to the system, there is to be none. asynq is louder than we are when
// Redis is away.
func (l *logText) fault() string {
	for line := range strings.Lines(l.String()) {
		ours := strings.Contains(line, `"level":"ERROR"`) && !strings.Contains(line, `"msg":"asynq"`)
		if ours || strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") {
			return line
		}
	}
	return ""
}

func (l *logText) tail() string {
	const most = 6 << 10
	text := l.String()
	return text[max(0, len(text)-most):]
}

// await polls until done says so.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}
