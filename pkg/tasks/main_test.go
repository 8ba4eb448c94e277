package tasks

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what takes asynq a second or two.
const patience = 20 * time.Second

// connect returns a client for an empty database and its URL.
func connect(t *testing.T) (redis.UniversalClient, string) {
	t.Helper()
	raw := redistest.New(t)
	return connectTo(t, raw), raw
}

func connectTo(t *testing.T, raw string) redis.UniversalClient {
	t.Helper()
	c, err := Connect(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing client: %v", err)
		}
	})
	return c
}

// serve runs a server until the test ends or stop is called, which waits.
func serve(t *testing.T, c redis.UniversalClient, h Handler) (stop func()) {
	t.Helper()
	return serveThrough(t, c, h, NewGate())
}

func serveThrough(t *testing.T, c redis.UniversalClient, h Handler, g *Gate) (stop func()) {
	t.Helper()
	s, err := NewServer(ServerConfig{Redis: c, Log: slog.New(slog.DiscardHandler), Handler: h, Gate: g})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, s)
}

func start(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // stop waits
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// collect returns a handler that finishes every bell and tells of it.
func collect() (Handler, <-chan Bell) {
	bells := make(chan Bell, 10_000)
	return func(_ context.Context, b Bell) (Answer, error) {
		bells <- b
		return Answer{}, nil
	}, bells
}

func ring(t *testing.T, c redis.UniversalClient, bells ...Bell) {
	t.Helper()
	if err := NewRinger(c).Ring(t.Context(), bells); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// eventually asks Redis again and again: it sends no signal.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func inspect(t *testing.T, list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error), q Queue) []*asynq.TaskInfo {
	t.Helper()
	infos, err := list(string(q), asynq.PageSize(2000))
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

// gate is a network path to Redis that can be shut.
type gate struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	open  bool
	held  chan struct{} // nil, or closed when answers come through again
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

// newGate returns a shut gate and the URL that leads through it.
func newGate(t *testing.T, raw string) (*gate, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, target: u.Host, conns: make(map[net.Conn]bool)}
	g.all.Go(g.accept)
	t.Cleanup(func() {
		g.set(false)
		g.release()
		_ = l.Close()
		g.all.Wait()
	})
	u.Host = l.Addr().String()
	return g, u.String()
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	for c := range g.conns {
		if !open {
			_ = c.Close()
		}
	}
}

// hold keeps all answers back until release.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		g.held = make(chan struct{})
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil {
		close(g.held)
		g.held = nil
	}
}

// Write waits for release, and writes nothing.
func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	if held != nil {
		<-held
	}
	return len(p), nil
}

func (g *gate) accept() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		open := g.open
		g.mu.Unlock()
		out, err := net.Dial("tcp", g.target)
		if err != nil || !open {
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			continue
		}
		g.join(in, out, out)
		g.join(out, in, io.MultiWriter(g, in))
	}
}

// join copies by way of w.
func (g *gate) join(from, to net.Conn, w io.Writer) {
	g.mu.Lock()
	g.conns[from] = true
	g.mu.Unlock()
	g.all.Go(func() {
		_, _ = io.Copy(w, from)
		_ = from.Close()
		_ = to.Close()
		g.mu.Lock()
		delete(g.conns, from)
		g.mu.Unlock()
	})
}

// lines is a log to look into while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
