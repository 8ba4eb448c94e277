// Package proxy is a network that can be broken: a TCP proxy before one server,
// that passes, delays, stalls, cuts, or swallows.
//
// What it does holds for the connections that are open and for those that come,
// until it is told otherwise. Close ends every connection and every goroutine.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Proxy stands before one server. Make one with New; it passes at first.
type Proxy struct {
	target string
	addr   string

	mu       sync.Mutex
	listener *net.TCPListener // nil while refusing
	pairs    map[*pair]bool
	delay    time.Duration
	stalled  chan struct{} // nil, or closed when the stall is over
	swallow  bool
	running  sync.WaitGroup
}

// New listens before the server at target.
func New(ctx context.Context, target string) (*Proxy, error) {
	p := &Proxy{target: target, pairs: map[*pair]bool{}}
	// Below the range that systems take for outgoing connections, so that nobody
	// takes the port while the proxy refuses.
	const lowest, highest = 15000, 32000
	var err error
	for range 100 {
		p.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(highest-lowest))) //nolint:gosec // no secret
		if err = p.listen(ctx); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("finding a port for a proxy: %w", err)
}

// Before is New for the server of a URL, and returns the URL through the proxy.
func Before(ctx context.Context, server string) (p *Proxy, through string, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, "", errors.New("proxy: the server's URL is none")
	}
	if p, err = New(ctx, u.Host); err != nil {
		return nil, "", err
	}
	u.Host = p.addr
	return p, u.String(), nil
}

// Addr is where to connect to.
func (p *Proxy) Addr() string { return p.addr }

// Pass lets everything through again. Connections that were swallowed stay dead:
// whatever kept track of them has forgotten them.
func (p *Proxy) Pass(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay, p.swallow = 0, false
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
	if p.listener == nil {
		return p.listen(ctx)
	}
	return undrop(p.listener)
}

// Delay makes every answer of the server late.
func (p *Proxy) Delay(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = by
}

// Stall holds the server's answers back until Pass: the server hears and does
// what it is told, and whoever told it hears nothing.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Refuse resets every connection, and refuses new ones.
func (p *Proxy) Refuse() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return nil
	}
	err := p.listener.Close()
	p.listener = nil
	for pair := range p.pairs {
		pair.reset()
	}
	return err
}

// Swallow lets packets vanish: no answer, no acknowledgement, no reset, neither
// for connections that are open nor for those to come. (Where the system cannot
// drop packets, they are acknowledged all the same.)
func (p *Proxy) Swallow() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = true
	errs := []error{drop(p.listener)}
	for pair := range p.pairs {
		errs = append(errs, pair.swallow())
	}
	return errors.Join(errs...)
}

// Close ends everything.
func (p *Proxy) Close() error {
	p.mu.Lock()
	var err error
	if p.listener != nil {
		err = p.listener.Close()
		p.listener = nil
	}
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
	for pair := range p.pairs {
		pair.reset()
	}
	p.mu.Unlock()
	p.running.Wait()
	return err
}

// listen is called under the lock, or before anybody else knows the proxy.
func (p *Proxy) listen(ctx context.Context) error {
	// Sockets of Multipath TCP, which is the default, take no packet filter.
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	l, err := plain.Listen(ctx, "tcp4", p.addr)
	if err != nil {
		return err
	}
	p.listener, _ = l.(*net.TCPListener)
	p.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			p.running.Go(func() { p.join(conn) })
		}
	})
	return nil
}

// join connects a client with the server until one of them ends.
func (p *Proxy) join(client net.Conn) {
	server, err := net.Dial("tcp", p.target) //nolint:noctx // over loopback it answers at once
	if err != nil {
		abort(client)
		return
	}
	pair := newPair(client, server)
	if !p.keep(pair) {
		return
	}
	pair.run(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, pair)
}

// keep remembers a pair, and treats it as the others are treated.
func (p *Proxy) keep(pair *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		pair.reset()
		return false
	}
	p.pairs[pair] = true
	if p.swallow {
		_ = pair.swallow() // the listener has done it already, where it can be done
	}
	return true
}

// conditions is how answers travel now.
func (p *Proxy) conditions() (delay time.Duration, stalled <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay, p.stalled
}
