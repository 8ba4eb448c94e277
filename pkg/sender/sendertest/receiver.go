// Package sendertest is a receiver that behaves in every way in which receivers
// on the internet behave, the hostile ones included.
//
// A Behaviour says what the receiver does and what a correct sender makes of it;
// Catalogue lists them. The receiver speaks raw TCP and TLS, so that it can be
// wrong in ways that an HTTP server would prevent.
package sendertest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Behaviour is one way to treat a sender. Without Greet and Answer the receiver
// answers every request with 200.
type Behaviour struct {
	Name string
	TLS  Variant
	// Greet speaks first, before any request is read.
	Greet func(*Conn)
	// Answer is called after each request; when it returns without closing the
	// connection, the next request is read.
	Answer func(*Conn)
	// Timeout is how long a sender must be ready to wait to meet the behaviour;
	// zero: any time.
	Timeout time.Duration
	Want    Want
}

// Want is what a correct sender reports. A class of webhook.NoError means success.
type Want struct {
	Class      webhook.ErrorClass
	Status     int
	RetryAfter time.Duration
	// Text is a part of the readable error.
	Text string
}

// Request is what arrived.
type Request struct {
	// Lines are the request line and the header lines, as they were sent.
	Lines  []string
	Header http.Header
	Body   string
}

// Receiver listens on a free port of the loopback address.
type Receiver struct {
	// URL leads to the receiver by its address.
	URL string

	port      int
	behaviour Behaviour
	listener  net.Listener
	config    *tls.Config // nil: no TLS
	ctx       context.Context
	cancel    context.CancelFunc
	done      sync.WaitGroup // the accepting goroutine and the serving ones

	mu       sync.Mutex
	requests []Request
	accepted int
	open     map[net.Conn]bool
	changed  chan struct{} // closed and replaced when open changes
}

// Start starts a receiver on address, such as "127.0.0.1:0".
func Start(address string, b Behaviour) (*Receiver, error) {
	config, err := b.TLS.config()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("starting a receiver: %w", err)
	}
	at, err := netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		cancel()
		return nil, errors.Join(err, listener.Close())
	}
	r := &Receiver{
		URL:       b.TLS.scheme() + "://" + at.String() + "/hook?token=in-the-url",
		port:      int(at.Port()),
		behaviour: b,
		listener:  listener,
		config:    config,
		ctx:       ctx,
		cancel:    cancel,
		open:      make(map[net.Conn]bool),
		changed:   make(chan struct{}),
	}
	r.done.Go(r.accept) // Close waits
	return r, nil
}

// TB is what New needs of a testing.TB.
type TB interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
}

// New starts a receiver on 127.0.0.1 that closes with the test.
func New(t TB, b Behaviour) *Receiver {
	t.Helper()
	r, err := Start("127.0.0.1:0", b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Close hangs up on everybody and waits for all to be over.
func (r *Receiver) Close() {
	r.cancel()
	_ = r.listener.Close()
	r.mu.Lock()
	for conn := range r.open {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.done.Wait()
}

// Port is where the receiver listens.
func (r *Receiver) Port() int { return r.port }

// Requests returns what has arrived so far.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Connections returns how many connections were ever made.
func (r *Receiver) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}

// Abandoned waits until no connection is open.
func (r *Receiver) Abandoned(ctx context.Context) error {
	for {
		r.mu.Lock()
		open, changed := len(r.open), r.changed
		r.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d connections are still open: %w", open, context.Cause(ctx))
		}
	}
}

func (r *Receiver) accept() {
	for {
		raw, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.track(raw, true)
		r.done.Go(func() {
			defer r.track(raw, false)
			defer raw.Close()
			r.serve(raw)
		})
	}
}

func (r *Receiver) track(raw net.Conn, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if open {
		r.accepted++
		r.open[raw] = true
		if r.ctx.Err() != nil {
			_ = raw.Close() // Close has passed already
		}
	} else {
		delete(r.open, raw)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Receiver) serve(raw net.Conn) {
	c := &Conn{Conn: raw, raw: raw, ctx: r.ctx}
	if r.config != nil {
		server := tls.Server(raw, r.config)
		if server.HandshakeContext(r.ctx) != nil {
			return
		}
		c.Conn = server
	}
	c.in = bufio.NewReader(c.Conn)
	if r.behaviour.Greet != nil {
		r.behaviour.Greet(c)
	}
	for !c.closed {
		req, err := readRequest(c.in)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.requests = append(r.requests, req)
		c.Nth, c.Request = len(r.requests), req
		r.mu.Unlock()
		if r.behaviour.Answer == nil {
			c.Write(ok)
		} else {
			r.behaviour.Answer(c)
		}
	}
}

func readRequest(in *bufio.Reader) (Request, error) {
	var req Request
	req.Header = make(http.Header)
	lines := textproto.NewReader(in)
	for {
		line, err := lines.ReadLine()
		if err != nil {
			return Request{}, err
		}
		if line == "" {
			break
		}
		req.Lines = append(req.Lines, line)
		if name, value, ok := strings.Cut(line, ":"); ok && len(req.Lines) > 1 {
			req.Header.Add(name, strings.TrimSpace(value))
		}
	}
	length, err := strconv.Atoi(req.Header.Get("Content-Length"))
	if err != nil {
		return Request{}, fmt.Errorf("reading a request's length: %w", err)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return Request{}, err
	}
	req.Body = string(body)
	return req, nil
}
