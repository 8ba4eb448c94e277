// Package sender makes one attempt of one delivery: a signed request out, one
// result back.
//
// It promises that every ending of an exchange, however the receiver behaves,
// is a webhook.Attempt with a class and a readable error, within the timeout;
// that no connection is made to an address that is not public or allowed,
// whatever a name resolves to (I6); that the body is sent as it was stored (I8);
// and that no more of an answer is read than a fixed amount. One call makes one
// request: redirects are not followed, and a request of which a byte was written
// is never repeated (I3).
//
// It keeps connections open between attempts, and nothing else: no cookies, no
// session tickets, no state about receivers.
package sender

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	defaultConcurrency = 256
	// maxHeaderBytes bounds all header lines of one answer, its 1xx ones included.
	// Parsed, short lines with different names take 16 times their length.
	maxHeaderBytes = 32 << 10
	// idleTimeout is shorter than the 60 s and 75 s after which common load
	// balancers and servers hang up, so that it is mostly us who close: a request
	// that meets their close fails, because it must not be repeated.
	idleTimeout = 30 * time.Second
)

// Request is one attempt to be made.
type Request struct {
	Delivery  webhook.DeliveryID
	Event     webhook.EventID
	EventType webhook.EventType
	Attempt   int
	URL       string
	Headers   []webhook.Header
	// Secrets sign if they are live when the request is made.
	Secrets []webhook.SigningSecret
	Body    string
	// Timeout covers the whole exchange, from the name's resolution to the end of
	// the answer's body. Zero means webhook.DefaultTimeout.
	Timeout time.Duration
	// TraceParent is the event's; the attempt is a new span of the same trace.
	TraceParent string
}

// Config says how requests go out. The zero value reaches public addresses and
// trusts the system's certificate authorities.
type Config struct {
	// Version is named in User-Agent; empty means "dev".
	Version string
	// AllowedNetworks may be reached although they are not public.
	AllowedNetworks []netip.Prefix
	// BlockedNetworks may not be reached although they are public, or allowed.
	BlockedNetworks []netip.Prefix
	// Concurrency is how many requests the caller has in flight at most: that many
	// connections to one receiver are kept open between requests. Zero means 256.
	Concurrency int
	// RootCAs replaces the system's certificate authorities.
	RootCAs *x509.CertPool
	// Resolver replaces the one that reads the system's configuration.
	Resolver *net.Resolver
	// Now replaces the clock.
	Now func() time.Time
}

// Sender sends. It is safe for concurrent use.
type Sender struct {
	transport *http.Transport
	dialer    dialer
	userAgent string
	now       func() time.Time
	buffers   sync.Pool // of *[maxKeptBytes]byte
}

// New returns a Sender. Close releases its idle connections.
func New(c Config) (*Sender, error) {
	if c.Version == "" {
		c.Version = "dev"
	}
	if strings.ContainsFunc(c.Version, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("version %q must consist of printable ASCII characters", c.Version)
	}
	if c.Concurrency == 0 {
		c.Concurrency = defaultConcurrency
	}
	if c.Concurrency < 0 {
		return nil, errors.New("concurrency must not be negative")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	guard, err := newGuard(c.AllowedNetworks, c.BlockedNetworks)
	if err != nil {
		return nil, err
	}
	s := &Sender{
		dialer:    newDialer(guard, c),
		userAgent: "crm-webhooks/" + c.Version,
		now:       c.Now,
	}
	s.buffers.New = func() any { return new([maxKeptBytes]byte) }
	s.transport = newTransport(&s.dialer, c.Concurrency)
	return s, nil
}

func newTransport(d *dialer, concurrency int) *http.Transport {
	// HTTP/1.1 only. Over HTTP/2, Go's transport repeats a request after
	// REFUSED_STREAM or GOAWAY inside one call, a receiver's frames are bounded by
	// many limits instead of one, and one connection for a whole host lets a
	// single slow stream's flow control delay others.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:          nil, // a proxy would resolve names behind the guard's back
		DialContext:    d.dial,
		DialTLSContext: d.dialTLS,
		Protocols:      protocols,
		// No gzip: neither asked for nor unpacked, so a bomb stays small.
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    concurrency,
		MaxIdleConns:           max(2*concurrency, 128),
		IdleConnTimeout:        idleTimeout,
	}
}

func newDialer(g *guard, c Config) dialer {
	resolver := c.Resolver
	if resolver == nil {
		// Go's own resolver heeds the deadline; the C library's would hold a
		// thread for each name whose servers do not answer.
		resolver = &net.Resolver{PreferGo: true}
	}
	return dialer{
		net: net.Dialer{
			Resolver:       resolver,
			ControlContext: g.control,
		},
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    c.RootCAs,
			NextProtos: []string{"http/1.1"},
			Time:       c.Now,
		},
	}
}

// Close closes idle connections. Requests in flight go on.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Send makes the attempt and returns how it ended.
//
// An error means that ctx ended first, and says why; then nothing is known about
// the request, and nothing may be recorded (I9). To let requests finish, do not
// cancel ctx: each ends by its own timeout.
func (s *Sender) Send(ctx context.Context, r Request) (webhook.Attempt, error) {
	if ctx.Err() != nil {
		return webhook.Attempt{}, aborted(ctx, r)
	}
	if r.Timeout <= 0 {
		r.Timeout = webhook.DefaultTimeout
	}
	start := s.now()
	a := webhook.Attempt{Number: r.Attempt, StartedAt: start.UTC()}
	x := &exchange{deadline: time.Now().Add(r.Timeout), timeout: r.Timeout}
	inner, cancel := context.WithDeadline(withReuseCheck(context.WithValue(ctx, exchangeKey{}, x)), x.deadline)
	defer cancel()

	outcome := s.exchange(inner, x, r, &a)
	a.Duration = s.now().Sub(start)
	if outcome.undecided && ctx.Err() != nil {
		return webhook.Attempt{}, aborted(ctx, r)
	}
	a.ErrorClass, a.Error, a.BlockedAddress = outcome.class, outcome.text, outcome.address
	return a, nil
}

func aborted(ctx context.Context, r Request) error {
	return fmt.Errorf("sending delivery %s: %w", r.Delivery, context.Cause(ctx))
}

// exchange sends the request, fills a with what was sent and what came back, and
// returns the verdict.
func (s *Sender) exchange(ctx context.Context, x *exchange, r Request, a *webhook.Attempt) outcome {
	req, fields, fault := s.build(ctx, r, a.StartedAt)
	if fault != "" {
		return outcome{class: webhook.ClassConnect, text: fault}
	}
	a.RequestHeaders = fields
	// The transport itself, not an http.Client: no redirects, no cookies.
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return x.classify(err)
	}
	if resp.StatusCode < http.StatusContinue { // "HTTP/1.1 000" gets through
		_ = resp.Body.Close()
		return outcome{class: webhook.ClassBody, text: "the answer's status is not a valid one"}
	}
	body, err := s.read(resp)
	echoed := echoesOf(r.Headers)
	a.ResponseStatus = resp.StatusCode
	a.ResponseHeaders = responseFields(resp.Header, echoed)
	a.ResponseBody = echoed.maskCut(body)
	a.RetryAfter = retryAfter(resp.Header["Retry-After"], s.now())
	switch {
	case !webhook.SuccessStatus(resp.StatusCode):
		// The status decides, whatever became of the body: a 410 is a 410.
		return outcome{class: webhook.ClassStatus, text: statusText(resp.StatusCode)}
	case err != nil:
		return x.classifyBody(err)
	default:
		return outcome{}
	}
}
