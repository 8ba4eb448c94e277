package sender_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// A receiver that hangs up between requests costs a connection, not an attempt.
func TestSend_keptConnectionClosedByReceiver(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]sendertest.Behaviour{
		"plain": {},
		"TLS":   {TLS: sendertest.Valid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b.Answer = func(c *sendertest.Conn) {
				c.Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				c.CloseHalf() // and Abandoned waits until the sender has noticed
			}
			r := sendertest.New(t, b)
			s := newSender(t, sender.Config{})
			const attempts = 50
			for range attempts {
				if a := send(t, s, request(t, r.URL)); !a.OK() {
					t.Fatalf("class %q: %s", a.ErrorClass, a.Error)
				}
				if err := r.Abandoned(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(r.Requests()); n != attempts {
				t.Errorf("%d requests for %d attempts", n, attempts)
			}
		})
	}
}

// What is written to a connection that is half open may be read and cannot be
// answered: the attempt fails, or goes to another connection, and not both.
func TestSend_keptConnectionHalfClosedByReceiver(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Named("closes its half after the answer"))
	s := newSender(t, sender.Config{})
	const attempts = 20
	answered := 0
	for range attempts {
		if a := send(t, s, request(t, r.URL)); a.OK() {
			answered++
		} else {
			checkAttempt(t, sendertest.Want{Class: webhook.ClassConnect, Text: "closed by the receiver before it answered"}, a)
		}
	}
	// A request that the end crossed on its way may not be read any more.
	if n := len(r.Requests()); n < answered || n > attempts {
		t.Errorf("%d requests for %d attempts, of which %d were answered", n, attempts, answered)
	}
}

// A receiver that reads nothing holds up the writing of a request, too.
func TestSend_receiverThatDoesNotRead(t *testing.T) {
	t.Parallel()
	ctx, goOn := context.WithCancel(t.Context())
	defer goOn()
	r := sendertest.New(t, sendertest.Behaviour{Greet: func(c *sendertest.Conn) {
		<-ctx.Done()
		c.Hangup()
	}})
	req := request(t, r.URL)
	req.Body = strings.Repeat("x", 32<<20) // more than the kernel takes
	req.Timeout = 500 * time.Millisecond
	start := time.Now()
	a := send(t, newSender(t, sender.Config{}), req)
	checkAttempt(t, sendertest.Want{Class: webhook.ClassTimeout, Text: "no answer within"}, a)
	if took := time.Since(start); took > 2500*time.Millisecond {
		t.Errorf("took %s", took)
	}
}

// A receiver that read a request may have acted on it: no second one is sent,
// not even where net/http would.
func TestI3_oneRequestPerAttempt(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*sendertest.Conn){
		"closed": (*sendertest.Conn).Hangup,
		"reset":  (*sendertest.Conn).Reset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sendertest.New(t, sendertest.Behaviour{Answer: func(c *sendertest.Conn) {
				if c.Nth == 1 {
					c.Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					return
				}
				end(c)
			}})
			s := newSender(t, sender.Config{})
			req := request(t, r.URL)
			req.Headers = []webhook.Header{{Name: "Idempotency-Key", Value: "1"}, {Name: "X-Idempotency-Key", Value: "1"}}
			send(t, s, req)
			a := send(t, s, req)
			if a.ErrorClass != webhook.ClassConnect {
				t.Errorf("class %q (%s), want %q", a.ErrorClass, a.Error, webhook.ClassConnect)
			}
			got := r.Requests()
			if len(got) != 2 || r.Connections() != 1 {
				t.Errorf("%d requests on %d connections, want 2 on 1", len(got), r.Connections())
			}
			if v := got[0].Header.Get("Idempotency-Key"); v != "1" {
				t.Errorf("Idempotency-Key = %q, want it sent", v)
			}
		})
	}
}

func TestI9_abortIsNoAttempt(t *testing.T) {
	t.Parallel()
	stop := errors.New("shutting down")
	for name, b := range map[string]sendertest.Behaviour{
		"waiting for an answer": sendertest.Named("never answers"),
		"reading the body":      sendertest.Named("stalls in the body"),
		"in the TLS handshake":  sendertest.Named("TLS never answers"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			inner := b.Answer
			if inner != nil {
				b.Answer = func(c *sendertest.Conn) { cancel(stop); inner(c) }
			} else {
				greet := b.Greet
				b.Greet = func(c *sendertest.Conn) { cancel(stop); greet(c) }
			}
			r := sendertest.New(t, b)
			req := request(t, r.URL)
			req.Timeout = 2 * time.Second
			start := time.Now()
			a, err := newSender(t, sender.Config{}).Send(ctx, req)
			if !errors.Is(err, stop) || a.Number != 0 {
				t.Errorf("attempt %+v, error %v, want no attempt and %q", a, err, stop)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("giving up took %s", took)
			}
			if err != nil && strings.Contains(err.Error(), "127.0.0.1") {
				t.Errorf("the error %q shows the URL", err)
			}
		})
	}
}

func TestI9_nothingIsSentAfterShutdown(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := sendertest.New(t, sendertest.Behaviour{})
	if _, err := newSender(t, sender.Config{}).Send(ctx, request(t, r.URL)); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want %v", err, context.Canceled)
	}
	if n := r.Connections(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}

func TestSend_redirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	target := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{})
	for _, code := range []int{301, 302, 303, 307, 308} {
		r := sendertest.New(t, sendertest.Status(code, "Location: "+target.URL))
		a := send(t, s, request(t, r.URL))
		checkAttempt(t, sendertest.Want{Class: webhook.ClassStatus, Status: code, Text: "redirects are not followed"}, a)
	}
	if n := target.Connections(); n != 0 {
		t.Errorf("%d connections to the redirects' target, want none", n)
	}
}

// Nothing is unpacked, and so nothing grows: what came is kept as it came.
func TestSend_unpacksNothing(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Named("gzip bomb"))
	a := send(t, newSender(t, sender.Config{}), request(t, r.URL))
	if v := only(t, r).Header.Get("Accept-Encoding"); v != "" {
		t.Errorf("Accept-Encoding: %s was sent", v)
	}
	if !strings.HasPrefix(a.ResponseBody, "\x1f") {
		t.Errorf("the body kept starts with %.10q, want it packed", a.ResponseBody)
	}
}

func TestSend_keepsNoCookies(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Named("cookie"))
	s := newSender(t, sender.Config{})
	send(t, s, request(t, r.URL))
	send(t, s, request(t, r.URL))
	for _, got := range r.Requests() {
		if got.Header.Get("Cookie") != "" {
			t.Errorf("a cookie came back: %q", got.Header.Get("Cookie"))
		}
	}
}

// Answers belong to their requests, also when connections are shared and some
// are broken off.
func TestSend_noCrossTalk(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{Answer: func(c *sendertest.Conn) {
		if c.Nth%7 == 0 {
			c.Write("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + c.Request.Body)
			c.Hangup()
			return
		}
		c.Write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n" + c.Request.Body + "\r\n0\r\n\r\n")
	}})
	s := newSender(t, sender.Config{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			req := request(t, r.URL)
			for j := range 50 {
				req.Body = string([]byte{'a' + byte(i), '0' + byte(j/10), '0' + byte(j%10)})
				a, err := s.Send(context.Background(), req)
				if err != nil || a.ResponseBody != req.Body {
					t.Errorf("sent %q, answer %q (%s), error %v", req.Body, a.ResponseBody, a.Error, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.Requests()); n != 400 {
		t.Errorf("%d requests for 400 attempts", n)
	}
}
