package webhook_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

var update = flag.Bool("update", false, "rewrite golden files") //nolint:gochecknoglobals // flags are

// TestDecide_everyStatus classifies 100 to 599 twice: as the first of two
// attempts and as the last.
func TestDecide_everyStatus(t *testing.T) {
	t.Parallel()
	const golden = "testdata/statuses.golden"
	policy := webhook.Policy{MaxAttempts: 2, Timeout: time.Second, InitialBackoff: 8 * time.Second}
	var got bytes.Buffer
	for status := 100; status <= 599; status++ {
		first := webhook.Attempt{Number: 1, ResponseStatus: status, ErrorClass: webhook.ClassStatus, RetryAfter: time.Minute}
		if webhook.SuccessStatus(status) {
			first.ErrorClass = webhook.NoError
		}
		last := first
		last.Number = 2
		fmt.Fprintf(&got, "%d | %s | %s\n", status,
			describe(webhook.Decide(policy, first, 2, 0.5)), describe(webhook.Decide(policy, last, 2, 0.5)))
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("classification differs from %s (-want +got):\n%s", golden, diff)
	}
}

func describe(n webhook.Next) string {
	switch {
	case n.Status == webhook.Retrying:
		return fmt.Sprintf("retry in %s", n.Delay)
	case n.DisableWebhook:
		return fmt.Sprintf("%s %s, disable", n.Status, n.Reason)
	case n.Reason != "":
		return fmt.Sprintf("%s %s", n.Status, n.Reason)
	default:
		return string(n.Status)
	}
}

func TestDecide_withoutAnAnswer(t *testing.T) {
	t.Parallel()
	policy := webhook.Policy{MaxAttempts: 3, Timeout: time.Second, InitialBackoff: 4 * time.Second}
	for _, class := range []webhook.ErrorClass{
		webhook.ClassTimeout, webhook.ClassConnect, webhook.ClassDNS, webhook.ClassTLS, webhook.ClassBlocked, webhook.ClassBody,
	} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			got := webhook.Decide(policy, webhook.Attempt{Number: 2, ErrorClass: class}, 3, 0)
			if want := (webhook.Next{Status: webhook.Retrying, Delay: 4 * time.Second}); got != want {
				t.Errorf("second of three = %+v, want %+v", got, want)
			}
			got = webhook.Decide(policy, webhook.Attempt{Number: 3, ErrorClass: class}, 3, 0)
			want := webhook.Next{Status: webhook.Failed, Reason: webhook.AttemptsExhausted}
			if class == webhook.ClassBlocked {
				want.Reason = webhook.BlockedAddress
			}
			if got != want {
				t.Errorf("last of three = %+v, want %+v", got, want)
			}
		})
	}
}

func TestDecide_retryAfter(t *testing.T) {
	t.Parallel()
	policy := webhook.Policy{MaxAttempts: 3, Timeout: time.Second, InitialBackoff: 10 * time.Second}
	for name, tc := range map[string]struct {
		status int
		after  time.Duration
		want   time.Duration
		quiet  time.Duration
	}{
		"none":                  {429, 0, 5 * time.Second, 0},
		"negative":              {429, -time.Hour, 5 * time.Second, 0},
		"sooner than backoff":   {429, time.Second, 5 * time.Second, time.Second},
		"later than backoff":    {429, time.Minute, time.Minute, time.Minute},
		"503, too":              {503, time.Minute, time.Minute, time.Minute},
		"at most a day":         {503, 400 * 24 * time.Hour, 24 * time.Hour, 24 * time.Hour},
		"500 is not asked":      {500, time.Minute, 5 * time.Second, 0},
		"a redirect is neither": {302, time.Minute, 5 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := webhook.Attempt{Number: 1, ErrorClass: webhook.ClassStatus, ResponseStatus: tc.status, RetryAfter: tc.after}
			if got := webhook.Decide(policy, a, 3, 0).Delay; got != tc.want {
				t.Errorf("delay = %s, want %s", got, tc.want)
			}
			for _, last := range []int{1, 3} { // a delivery that failed for good has an ear for it, too
				if got := webhook.Decide(policy, a, last, 0).QuietFor; got != tc.quiet {
					t.Errorf("quiet for %s, want %s", got, tc.quiet)
				}
			}
		})
	}
}

func TestBackoff_bounds(t *testing.T) {
	t.Parallel()
	for _, initial := range []time.Duration{webhook.MinInitialBackoff, 5 * time.Second, time.Hour, webhook.MaxInitialBackoff} {
		interval := initial
		for n := 1; n <= 100; n++ {
			for _, jitter := range []float64{0, 0.25, 0.5, 0.999999999} {
				got := webhook.Backoff(initial, n, jitter)
				if got < interval/2 || got > interval {
					t.Fatalf("backoff(%s, %d, %g) = %s, want within %s and %s", initial, n, jitter, got, interval/2, interval)
				}
			}
			interval = min(2*interval, webhook.MaxBackoff)
		}
	}
}

func TestBackoff_values(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{
		1: 5 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 11: 5120 * time.Second, 20: webhook.MaxBackoff, 1 << 30: webhook.MaxBackoff,
	} {
		// Half of the interval is certain, the rest is jitter.
		if got := webhook.Backoff(5*time.Second, n, 0); got != want/2 {
			t.Errorf("backoff after attempt %d = %s, want %s", n, got, want/2)
		}
	}
}

func TestPolicy_Validate(t *testing.T) {
	t.Parallel()
	if err := webhook.DefaultPolicy().Validate(); err != nil {
		t.Errorf("the default policy is refused: %v", err)
	}
	for name, tc := range map[string]struct {
		policy webhook.Policy
		want   []string
	}{
		"lowest":   {webhook.Policy{MaxAttempts: 1, Timeout: 500 * time.Millisecond, InitialBackoff: 10 * time.Millisecond}, nil},
		"highest":  {webhook.Policy{MaxAttempts: 20, Timeout: 30 * time.Second, InitialBackoff: 12 * time.Hour}, nil},
		"too low":  {webhook.Policy{MaxAttempts: 0, Timeout: 499 * time.Millisecond, InitialBackoff: 9 * time.Millisecond}, []string{"invalid maxAttempts", "invalid timeoutMs", "invalid initialBackoffMs"}},
		"too high": {webhook.Policy{MaxAttempts: 21, Timeout: 30001 * time.Millisecond, InitialBackoff: 12*time.Hour + 1}, []string{"invalid maxAttempts", "invalid timeoutMs", "invalid initialBackoffMs"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, fields(t, tc.policy.Validate())); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecide_freshBudgetStartsTheBackoffAnew(t *testing.T) {
	t.Parallel()
	policy := webhook.Policy{MaxAttempts: 3, InitialBackoff: time.Minute}
	for name, tc := range map[string]struct {
		number, last int
		want         time.Duration // with full jitter left out: half the interval
	}{
		"first attempt":                   {1, 3, 30 * time.Second},
		"second attempt":                  {2, 3, time.Minute},
		"first of a fresh budget":         {4, 6, 30 * time.Second},
		"second of a fresh budget":        {5, 6, time.Minute},
		"the webhook's limit was raised":  {1, 2, 30 * time.Second},
		"the webhook's limit was lowered": {1, 9, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := webhook.Attempt{Number: tc.number, ErrorClass: webhook.ClassTimeout}
			if got := webhook.Decide(policy, a, tc.last, 0).Delay; got != tc.want {
				t.Errorf("delay = %s, want %s", got, tc.want)
			}
		})
	}
}
