package webhook_test

import (
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestFailing_Exceeds(t *testing.T) {
	t.Parallel()
	tolerance := webhook.DefaultTolerance()
	for name, tc := range map[string]struct {
		lasting    time.Duration
		deliveries int
		want       bool
	}{
		"both reached":     {120 * time.Hour, 20, true},
		"a busy bad day":   {24 * time.Hour, 1_000_000, false},
		"a quiet bad week": {7 * 24 * time.Hour, 19, false},
		"a second short":   {120*time.Hour - time.Second, 20, false},
		"a quiet month":    {30 * 24 * time.Hour, 20, true},
	} {
		f := webhook.Failing{Since: instant, Until: instant.Add(tc.lasting), Deliveries: tc.deliveries}
		if got := f.Exceeds(tolerance); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

func TestFailing_Reason(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 18, 11, 0, 0, 0, time.FixedZone("", 3600))
	got := webhook.Failing{Since: at, Deliveries: 23}.Reason()
	if want := "only failures since 2026-11-18T10:00:00Z, in 23 deliveries"; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
}
