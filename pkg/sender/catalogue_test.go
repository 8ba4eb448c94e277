package sender_test

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Whatever a receiver does, an attempt ends in time with the right class and a
// readable error, and its connection is let go.
func TestSend_everyReceiver(t *testing.T) {
	t.Parallel()
	for _, b := range sendertest.Catalogue() {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			timeout := max(timeoutFor(b, time.Second), b.Timeout)
			r := sendertest.New(t, b)
			s := newSender(t, sender.Config{})
			req := request(t, r.URL)
			req.Timeout = timeout
			start := time.Now()
			a := send(t, s, req)

			checkAttempt(t, b.Want, a)
			if took := time.Since(start); took > timeout+2*time.Second {
				t.Errorf("took %s with a timeout of %s", took, timeout)
			}
			if b.Want.Class == webhook.ClassTimeout && a.Duration < timeout {
				t.Errorf("gave up after %s, before the timeout of %s", a.Duration, timeout)
			}
			s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := r.Abandoned(ctx); err != nil {
				t.Errorf("after the attempt: %v", err)
			}
			if n := len(r.Requests()); n > 1 {
				t.Errorf("the receiver got %d requests for one attempt", n)
			}
		})
	}
}

// timeoutFor is short where a behaviour lasts until the timeout, and else so long
// that a busy machine does not meet it.
func timeoutFor(b sendertest.Behaviour, short time.Duration) time.Duration {
	if b.Want.Class == webhook.ClassTimeout || strings.Contains(b.Name, "stalled") {
		return short
	}
	return 10 * time.Second
}

func checkAttempt(t *testing.T, want sendertest.Want, a webhook.Attempt) {
	t.Helper()
	if a.ErrorClass != want.Class || a.ResponseStatus != want.Status {
		t.Errorf("class %q, status %d (%s), want class %q, status %d", a.ErrorClass, a.ResponseStatus, a.Error, want.Class, want.Status)
	}
	if (a.Error == "") != a.OK() || !strings.Contains(a.Error, want.Text) {
		t.Errorf("error = %q, want %q in it", a.Error, want.Text)
	}
	if a.RetryAfter != want.RetryAfter {
		t.Errorf("Retry-After = %s, want %s", a.RetryAfter, want.RetryAfter)
	}
	for _, leak := range []string{"127.0.0.1", "in-the-url", "in the body", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "http:"} {
		if strings.Contains(a.Error, leak) {
			t.Errorf("the error %q shows %q", a.Error, leak)
		}
	}
	checkReadable(t, a.Error)
	checkStorable(t, a)
	checkNext(t, want, a)
}

// checkReadable: a line for a log, a terminal and a web page.
func checkReadable(t *testing.T, text string) {
	t.Helper()
	if len(text) > 200 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("the error %q is not a short line of printable characters", text)
	}
}

// checkNext: every ending leads where the contract says, from the first attempt
// and from the last.
func checkNext(t *testing.T, want sendertest.Want, a webhook.Attempt) {
	t.Helper()
	policy := webhook.Policy{MaxAttempts: 3, InitialBackoff: 8 * time.Second}
	next := webhook.Next{Status: webhook.Retrying, Delay: 4 * time.Second}
	last := webhook.Next{Status: webhook.Failed, Reason: webhook.AttemptsExhausted}
	switch {
	case want.Class == webhook.NoError:
		next = webhook.Next{Status: webhook.Succeeded}
		last = next
	case want.Status == 410:
		next = webhook.Next{Status: webhook.Failed, Reason: webhook.ReceiverGone, DisableWebhook: true}
		last = next
	case want.Class == webhook.ClassBlocked:
		last.Reason = webhook.BlockedAddress
	case want.Status == 429, want.Status == 503:
		next.Delay = max(next.Delay, want.RetryAfter)
		next.QuietFor, last.QuietFor = want.RetryAfter, want.RetryAfter
	}
	a.Number = 1
	if got := webhook.Decide(policy, a, 3, 0); got != next {
		t.Errorf("after the first attempt of three: %+v, want %+v", got, next)
	}
	a.Number = 3
	if got := webhook.Decide(policy, a, 3, 0); got != last {
		t.Errorf("after the last attempt of three: %+v, want %+v", got, last)
	}
}

// checkStorable: PostgreSQL takes it, and it is not large.
func checkStorable(t *testing.T, a webhook.Attempt) {
	t.Helper()
	total := 0
	texts := []string{a.ResponseBody, a.Error}
	for _, f := range a.ResponseHeaders {
		total += len(f.Name) + len(f.Value)
		texts = append(texts, f.Name, f.Value)
		if f.Name == "Set-Cookie" && strings.Contains(f.Value, "secret") {
			t.Errorf("a cookie is recorded: %q", f.Value)
		}
	}
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			t.Errorf("%q is not valid UTF-8 without NUL", text)
		}
	}
	if len(a.ResponseBody) > 16<<10 || total > 8<<10 || len(a.ResponseHeaders) > 50 {
		t.Errorf("kept %d bytes of body, %d bytes in %d headers", len(a.ResponseBody), total, len(a.ResponseHeaders))
	}
}

// Every status has a row.
func TestSend_everyStatus(t *testing.T) {
	t.Parallel()
	s := newSender(t, sender.Config{})
	r := sendertest.New(t, sendertest.Behaviour{Answer: func(c *sendertest.Conn) {
		c.Write("HTTP/1.1 " + strconv.Itoa(199+c.Nth) + " X\r\nContent-Length: 0\r\n\r\n")
	}})
	for code := 200; code <= 599; code++ {
		a := send(t, s, request(t, r.URL))
		want := webhook.ClassStatus
		if code < 300 {
			want = webhook.NoError
		}
		if a.ErrorClass != want || a.ResponseStatus != code {
			t.Errorf("status %d: class %q, status %d, want class %q", code, a.ErrorClass, a.ResponseStatus, want)
		}
	}
	if n := r.Connections(); n != 1 {
		t.Errorf("400 attempts took %d connections, want 1", n)
	}
}

func TestSend_refusedConnection(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	r.Close()
	a := send(t, newSender(t, sender.Config{}), request(t, r.URL))
	checkAttempt(t, sendertest.Want{Class: webhook.ClassConnect, Text: "connection refused"}, a)
}

func TestSend_unusableURL(t *testing.T) {
	t.Parallel()
	s := newSender(t, sender.Config{AllowedNetworks: []netip.Prefix{}})
	for _, url := range []string{
		"", "/", "http://", "https:///x", "ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "http://in-the-url",
		"http://[::1%25lo]/in-the-url", "http://[", "http://a b/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "https://in-the-url:secret@127.0.0.1/",
		"http://127.0.0.1:http:/", "http://\x00/", "http://①②⑦.⓪.⓪.①/", "http://%31%32%37.0.0.1/", "http://127.0.0.1:25/", "//127.0.0.1/", "http:127.0.0.1",
	} {
		a := send(t, s, request(t, url))
		if a.OK() || a.Error == "" || a.ResponseStatus != 0 {
			t.Errorf("%q: class %q, error %q", url, a.ErrorClass, a.Error)
		}
		if strings.Contains(a.Error, "in-the-url") {
			t.Errorf("the error %q shows the URL %q", a.Error, url)
		}
	}
}
