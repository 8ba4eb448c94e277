package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRetry_exhaustedThenRetriedWithAFreshBudget(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	worker := s.worker()
	r.subscribe(c, "/", vars{"maxAttempts": 2})
	r.answer("/", func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("upstream is \xff away"))
	})
	ev := c.dispatch(event("1"))
	d := c.awaitDelivery(ev.EventID, finished)
	if d.Status != "FAILED" || text(d.FailureReason) != "ATTEMPTS_EXHAUSTED" || d.AttemptCount != 2 || d.MaxAttempts != 2 ||
		d.NextAttemptAt != nil || d.CompletedAt == nil || text(d.ResponseStatus) != "502" || !strings.Contains(text(d.LastError), "502") {
		t.Errorf("exhausted delivery = %+v, last error %s", d, text(d.LastError))
	}
	checkNumbers(t, d, 2)
	checkLoggedFailures(t, worker, d)
	if a := d.Attempts[1]; text(a.ErrorClass) != "STATUS" || !strings.Contains(text(a.ResponseBody), "upstream is") {
		t.Errorf("last attempt = %+v", a)
	}

	retry := func() delivery {
		t.Helper()
		got := get[struct {
			Delivery   *delivery
			UserErrors []userError
		}](c, retryDelivery, vars{"id": d.ID})
		if len(got.UserErrors) > 0 || got.Delivery == nil || got.Delivery.Status != "PENDING" || got.Delivery.FailureReason != nil {
			t.Fatalf("retrying: %+v", got)
		}
		return c.awaitDelivery(ev.EventID, finished)
	}
	if d = retry(); d.Status != "FAILED" || d.AttemptCount != 4 {
		t.Errorf("after a retry in vain: %+v", d)
	}
	checkNumbers(t, d, 4)
	r.answer("/", status(http.StatusOK))
	if d = retry(); d.Status != "SUCCESS" || d.AttemptCount != 5 || d.LastError != nil {
		t.Errorf("after a good retry: %+v", d)
	}
	checkNumbers(t, d, 5)
	var numbers []string
	for _, came := range r.requests("/") {
		numbers = append(numbers, came.Header.Get("Crm-Attempt"))
	}
	if !slices.Equal(numbers, []string{"1", "2", "3", "4", "5"}) {
		t.Errorf("the receiver saw attempts %v", numbers)
	}
	refusedRetry(t, c, d.ID, "CONFLICT")
	refusedRetry(t, c, "dlv_"+strings.Repeat("0", 32), "NOT_FOUND")
	refusedRetry(t, c, "nonsense", "NOT_FOUND")
}

// checkLoggedFailures compares the canonical lines of a delivery whose two attempts
// failed with what is recorded of them.
func checkLoggedFailures(t *testing.T, worker *service, d delivery) {
	t.Helper()
	for i, want := range []string{"retrying", "failed"} {
		line := worker.awaitLog(`"msg":"attempt"`, `"delivery":"`+d.ID+`"`, fmt.Sprintf(`"attempt":%d,`, i+1))
		var logged struct {
			Outcome, ErrorClass string
			Status              int
			Next                *time.Time
		}
		names := strings.NewReplacer(`"error_class"`, `"errorClass"`, `"next_attempt_at"`, `"next"`)
		if err := json.Unmarshal([]byte(names.Replace(line)), &logged); err != nil {
			t.Fatal(err)
		}
		if logged.Outcome != want || logged.ErrorClass != "STATUS" || logged.Status != http.StatusBadGateway {
			t.Errorf("attempt %d is logged as %s", i+1, line)
		}
		if (logged.Next != nil) != (want == "retrying") {
			t.Errorf("next_attempt_at of attempt %d: %s", i+1, line)
		}
		if next := logged.Next; next != nil && (next.Before(d.Attempts[0].StartedAt) || next.After(d.Attempts[1].StartedAt.Add(time.Second))) {
			t.Errorf("next_attempt_at is %s, the attempts began at %s and %s", next, d.Attempts[0].StartedAt, d.Attempts[1].StartedAt)
		}
	}
}

// checkNumbers checks that attempts are numbered 1 to n (I4).
func checkNumbers(t *testing.T, d delivery, n int) {
	t.Helper()
	for i, a := range d.Attempts {
		if a.Number != i+1 {
			t.Errorf("attempt %d has number %d", i+1, a.Number)
		}
	}
	if len(d.Attempts) != n {
		t.Fatalf("%d attempts, want %d", len(d.Attempts), n)
	}
}

// Each way to fail has a class for programs and words for people.
func TestRetry_whatWentWrongIsReadable(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	s.worker()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + nobody.Addr().String()
	_, port, err := net.SplitHostPort(nobody.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	r.answer("/moved", func(w http.ResponseWriter, req *http.Request, _ int) {
		http.Redirect(w, req, "/elsewhere", http.StatusFound)
	})
	r.answer("/hang", func(_ http.ResponseWriter, req *http.Request, _ int) { <-req.Context().Done() })
	r.answer("/gone", status(http.StatusGone))
	for name, tc := range map[string]struct {
		url, class, says, reason string
	}{
		"refused":  {refusing, "CONNECT", "connection refused", "ATTEMPTS_EXHAUSTED"},
		"redirect": {r.URL + "/moved", "STATUS", "302", "ATTEMPTS_EXHAUSTED"},
		"timeout":  {r.URL + "/hang", "TIMEOUT", "within 500ms", "ATTEMPTS_EXHAUSTED"},
		"no name":  {"http://receiver.invalid/", "DNS", "host name", "ATTEMPTS_EXHAUSTED"},
		"not TLS":  {"https" + strings.TrimPrefix(r.URL, "http") + "/", "TLS", "TLS", "ATTEMPTS_EXHAUSTED"},
		"gone":     {r.URL + "/gone", "STATUS", "410", "RECEIVER_GONE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.in(t)
			kind := "way." + strings.ToLower(strings.ReplaceAll(name, " ", "_"))
			id := c.create(tc.url, vars{"maxAttempts": 1, "timeoutMs": 500, "eventPatterns": []string{kind}}).Webhook.ID
			ev := c.dispatch(vars{"customEvent": kind, "objectId": "1", "object": vars{}})
			d := c.awaitDelivery(ev.EventID, finished)
			if d.Status != "FAILED" || text(d.FailureReason) != tc.reason || len(d.Attempts) != 1 {
				t.Fatalf("delivery = %+v, reason %s", d, text(d.FailureReason))
			}
			a := d.Attempts[0]
			if text(a.ErrorClass) != tc.class || !strings.Contains(text(a.Error), tc.says) || text(d.LastError) != text(a.Error) {
				t.Errorf("class %s, %q, last error %q, want %s and %q", text(a.ErrorClass), text(a.Error), text(d.LastError), tc.class, tc.says)
			}
			if strings.Contains(text(a.Error), port) {
				t.Errorf("the error repeats the address: %s", text(a.Error))
			}
			if tc.reason == "RECEIVER_GONE" {
				await(t, "the webhook to be disabled", func() bool {
					h := get[*hook](c, queryHook, vars{"id": id})
					return h.Status == "DISABLED" && text(h.StatusReason) != "null"
				})
			}
		})
	}
	t.Cleanup(func() {
		if n := len(r.requests("/elsewhere")); n != 0 {
			t.Errorf("a redirect was followed")
		}
	})
}

// TestI6_addressesAreCheckedAtDialTime: the api took the URL, the worker knows
// better.
func TestI6_addressesAreCheckedAtDialTime(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	worker := s.worker("HOOKS_ALLOWED_NETWORKS=")
	byAddress := r.subscribe(c, "/", vars{"maxAttempts": 1}).Webhook.ID
	byName := c.create(strings.Replace(r.URL, "127.0.0.1", "localhost", 1)+"/", vars{"maxAttempts": 1}).Webhook.ID
	ev := c.dispatch(event("1"))
	if ev.DeliveryCount != 2 {
		t.Fatalf("owes %d deliveries, want 2", ev.DeliveryCount)
	}
	s.awaitIdle()
	for _, d := range c.deliveriesOf(ev.EventID) {
		checkBlocked(t, worker, d)
	}
	for _, id := range []string{byAddress, byName} {
		got := get[tested](c, testHook, vars{"id": id})
		if got.Success || got.ResponseStatus != nil || text(got.Error) != blockedText || got.Delivery == nil {
			t.Errorf("test send = %+v, error %s", got, text(got.Error))
			continue
		}
		checkBlocked(t, worker, *got.Delivery)
	}
	if n := len(r.requests("/")); n != 0 {
		t.Errorf("%d requests left for a private address", n)
	}
}

// blockedText does not say where a host name leads.
const blockedText = "the host name leads to an address that is not public"

// checkBlocked: recorded as what it is, and only the operator learns the address.
func checkBlocked(t *testing.T, worker *service, d delivery) {
	t.Helper()
	if d.Status != "FAILED" || text(d.FailureReason) != "BLOCKED_ADDRESS" || len(d.Attempts) != 1 || text(d.LastError) != blockedText {
		t.Fatalf("delivery = %+v, reason %s, last error %s", d, text(d.FailureReason), text(d.LastError))
	}
	if a := d.Attempts[0]; text(a.ErrorClass) != "BLOCKED_ADDRESS" || text(a.Error) != blockedText {
		t.Errorf("attempt of class %s: %s", text(a.ErrorClass), text(a.Error))
	}
	if line := worker.awaitLog(`"msg":"attempt"`, d.ID); !strings.Contains(line, `"blocked_address":"127.0.0.1"`) && !strings.Contains(line, `"blocked_address":"::1"`) {
		t.Errorf("the log does not name the address: %s", line)
	}
}

// A receiver that asks for time gets it.
func TestRetry_retryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	s.worker()
	r.subscribe(c, "/", nil)
	r.answer("/", func(w http.ResponseWriter, _ *http.Request, nth int) {
		if nth == 1 {
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	ev := c.dispatch(event("1"))
	d := c.awaitDelivery(ev.EventID, finished)
	if d.Status != "SUCCESS" || d.AttemptCount != 2 {
		t.Fatalf("delivery = %+v", d)
	}
	first := d.Attempts[0]
	ended := first.StartedAt.Add(time.Duration(first.DurationMs) * time.Millisecond)
	if wait := d.Attempts[1].StartedAt.Sub(ended); wait < 1990*time.Millisecond {
		t.Errorf("tried again after %s, want 2 s", wait)
	}
}
