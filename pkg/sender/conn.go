package sender

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
)

// errStale is what writing to a kept connection that the receiver has closed
// gives, before a byte is written.
var errStale = errors.New("the receiver closed the connection while it was idle")

// errLongHandshake ends a handshake that goes on and on. Common ones take 2 to
// 8 KiB; crypto/tls itself would read and parse 256 KiB of certificates.
var errLongHandshake = errors.New("the receiver's TLS handshake exceeds 64 KiB")

const maxHandshakeBytes = 64 << 10

// conn refuses to begin a request on a kept connection on which something has
// arrived since the last answer: the receiver's goodbye, most likely.
//
// net/http notices a goodbye too, but only when its reading goroutine runs, which
// takes milliseconds on a busy machine. A request that is written meanwhile is
// lost and must not be repeated, because the receiver may have acted on it (I3).
// One that was not begun is repeated by net/http on a fresh connection.
type conn struct {
	net.Conn
	raw syscall.RawConn // nil where there is none
	// check is set when a kept connection is taken for a new request.
	check atomic.Bool
	// shaking is set while a handshake is read, of which left bytes may come. Only
	// the goroutine that shakes hands touches them, before others know of c.
	shaking bool
	left    int
}

func newConn(c net.Conn) *conn {
	wrapped := &conn{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			wrapped.raw = raw
		}
	}
	return wrapped
}

// beginHandshake limits what is read until endHandshake.
func (c *conn) beginHandshake() { c.shaking, c.left = true, maxHandshakeBytes }

func (c *conn) endHandshake() { c.shaking = false }

func (c *conn) Read(p []byte) (int, error) {
	if !c.shaking {
		return c.Conn.Read(p)
	}
	if c.left == 0 {
		return 0, errLongHandshake
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.check.Load() && c.check.Swap(false) && c.raw != nil && pending(c.raw) {
		return 0, errStale
	}
	return c.Conn.Write(p)
}

// withReuseCheck has kept connections checked when a request of ctx takes one.
func withReuseCheck(ctx context.Context) context.Context {
	trace := reuseTrace
	if httptrace.ContextClientTrace(ctx) != nil {
		own := *reuseTrace // the caller's hooks are added to it
		trace = &own
	}
	return httptrace.WithClientTrace(ctx, trace)
}

var reuseTrace = &httptrace.ClientTrace{GotConn: markReused} //nolint:gochecknoglobals // never assigned

func markReused(info httptrace.GotConnInfo) {
	if !info.Reused {
		return
	}
	inner := info.Conn
	if session, ok := inner.(interface{ NetConn() net.Conn }); ok {
		inner = session.NetConn()
	}
	if c, ok := inner.(*conn); ok {
		c.check.Store(true)
	}
}
