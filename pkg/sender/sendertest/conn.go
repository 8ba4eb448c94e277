package sendertest

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"time"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// Conn is a connection from a sender. Its methods ignore errors: a sender that
// hangs up ends the script by making the next read fail.
type Conn struct {
	net.Conn
	// Nth is the number of the request being answered, from 1, over all connections.
	Nth int
	// Request is the one being answered.
	Request Request

	raw    net.Conn // below TLS
	in     *bufio.Reader
	ctx    context.Context //nolint:containedctx // the receiver's life, which scripts outwait
	closed bool
}

// Close closes the connection in good order.
func (c *Conn) Close() error {
	c.closed = true
	return c.Conn.Close()
}

// Write sends text.
func (c *Conn) Write(text string) bool {
	_, err := io.WriteString(c.Conn, text)
	return err == nil
}

// Stall waits for the sender to hang up.
func (c *Conn) Stall() {
	_, _ = io.Copy(io.Discard, c.in)
	c.Hangup()
}

// Drip sends text a byte at a time until the sender hangs up.
func (c *Conn) Drip(text string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range text {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		if !c.Write(text[i : i+1]) {
			c.Hangup()
			return
		}
	}
}

// Pause waits.
func (c *Conn) Pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

// Flood sends text again and again, until the sender hangs up or limit bytes are out.
func (c *Conn) Flood(text string, limit int) {
	for sent := 0; sent < limit; sent += len(text) {
		if !c.Write(text) {
			c.Hangup()
			return
		}
	}
}

// CloseHalf ends what is sent and goes on to read: a connection half open.
func (c *Conn) CloseHalf() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// Protocol is what TLS negotiated to speak; empty: nothing.
func (c *Conn) Protocol() string {
	if session, ok := c.Conn.(*tls.Conn); ok {
		return session.ConnectionState().NegotiatedProtocol
	}
	return ""
}

// Hangup is Close for scripts, which have no use for an error.
func (c *Conn) Hangup() { _ = c.Close() }

// Cut closes the TCP connection under a TLS session without ending the session.
func (c *Conn) Cut() {
	c.closed = true
	_ = c.raw.Close()
}

// Reset closes the connection with a TCP reset.
func (c *Conn) Reset() {
	c.closed = true
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.raw.Close()
}
