package sender

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// exchange is what the dialer and the classifier must know about a request. It
// travels as a context value, because the transport dials under a context that
// has the request's values and not its deadline.
type exchange struct {
	deadline time.Time
	timeout  time.Duration
	phase    atomic.Int32
}

type exchangeKey struct{}

// The phases of an exchange, to tell where a timeout struck.
const (
	phaseAnswer int32 = iota // on a connection, or waiting for a kept one
	phaseConnect
	phaseHandshake
)

// dialer makes guarded connections within the deadline of the request that
// wanted them. A request that meanwhile got another connection leaves the dial
// to go on: the pool gets the new one.
type dialer struct {
	net net.Dialer
	tls *tls.Config
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	x := exchangeOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, x.deadline)
	defer cancel()
	defer x.leavePhase()
	raw, err := d.connect(ctx, x, network, addr)
	if err != nil {
		return nil, err // and no *conn that is nil in a net.Conn that is not
	}
	return raw, nil
}

func (d *dialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	x := exchangeOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, x.deadline)
	defer cancel()
	defer x.leavePhase()
	raw, err := d.connect(ctx, x, network, addr)
	if err != nil {
		return nil, err
	}
	x.phase.Store(phaseHandshake)
	conn, err := d.handshake(ctx, raw, addr)
	if err != nil {
		_ = raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

func (d *dialer) connect(ctx context.Context, x *exchange, network, addr string) (*conn, error) {
	x.phase.Store(phaseConnect)
	raw, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return newConn(raw), nil
}

func (d *dialer) handshake(ctx context.Context, raw *conn, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName = host
	session := tls.Client(raw, config)
	raw.beginHandshake()
	if err := session.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	raw.endHandshake()
	return session, nil
}

// leavePhase keeps the phase in which time ran out, for whoever names it.
func (x *exchange) leavePhase() {
	if !x.expired() {
		x.phase.Store(phaseAnswer)
	}
}

// exchangeOf returns the exchange that ctx was made for; there always is one.
func exchangeOf(ctx context.Context) *exchange {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		panic("sender: dialling outside an exchange")
	}
	return x
}

// handshakeError marks what went wrong between connecting and the first byte of
// HTTP.
type handshakeError struct{ cause error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.cause.Error() }
func (e *handshakeError) Unwrap() error { return e.cause }
