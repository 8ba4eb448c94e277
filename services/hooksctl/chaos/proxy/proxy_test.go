package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/chaos/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	soon  = 10 * time.Second
	quiet = 200 * time.Millisecond
)

// echo is a server that says what it hears, line by line.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func newProxy(t *testing.T) *proxy.Proxy {
	t.Helper()
	p, err := proxy.New(t.Context(), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *proxy.Proxy) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), soon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask says something and returns how long the answer took.
func ask(conn net.Conn, patience time.Duration) (time.Duration, error) {
	began := time.Now()
	if err := conn.SetDeadline(began.Add(patience)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = errors.New("answer " + line)
	}
	return time.Since(began), err
}

func mustAnswer(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	took, err := ask(conn, soon)
	if err != nil {
		t.Fatal(err)
	}
	return took
}

func TestProxy_passesAndDelays(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	conn := dial(t, p)
	mustAnswer(t, conn)
	p.Delay(quiet)
	if took := mustAnswer(t, conn); took < quiet {
		t.Errorf("a delayed answer took %s, want %s at least", took, quiet)
	}
	if err := p.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAnswer(t, conn)
}

func TestProxy_stallHoldsAnswersBack(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	conn := dial(t, p)
	mustAnswer(t, conn)
	p.Stall()
	if _, err := ask(conn, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("error %v, want a timeout", err)
	}
	if err := p.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The answer that was held back comes first.
	mustAnswer(t, conn)
}

func TestProxy_refuseResets(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	conn := dial(t, p)
	mustAnswer(t, conn)
	if err := p.Refuse(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want a reset", err)
	}
	if _, err := net.DialTimeout("tcp", p.Addr(), soon); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v, want a refusal", err)
	}
	if err := p.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAnswer(t, dial(t, p))
}

func TestProxy_swallowLeavesNoTrace(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("packets are dropped on Linux only")
	}
	p := newProxy(t)
	conn := dial(t, p)
	mustAnswer(t, conn)
	if err := p.Swallow(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(conn, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want a timeout", err)
	}
	if c, err := net.DialTimeout("tcp", p.Addr(), quiet); err == nil {
		_ = c.Close()
		t.Error("a new connection is let in")
	}
	if err := p.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAnswer(t, dial(t, p))
	if _, err := ask(conn, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want the old connection to stay dead", err)
	}
}
