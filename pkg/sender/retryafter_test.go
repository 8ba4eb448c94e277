package sender

import (
	"net/http"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, tc := range []struct {
		lines []string
		want  time.Duration
	}{
		{nil, 0},
		{[]string{""}, 0},
		{[]string{"0"}, 0},
		{[]string{"1"}, time.Second},
		{[]string{"  120 "}, 2 * time.Minute},
		{[]string{"86400"}, day},
		{[]string{"86401"}, day},
		{[]string{"2147483648"}, day},
		{[]string{"9223372036854775807"}, day},
		{[]string{"9223372037"}, day}, // overflows when counted in nanoseconds
		{[]string{"100000000000000000000"}, day},
		{[]string{"-1"}, 0},
		{[]string{"+5"}, 0},
		{[]string{"1.5"}, 0},
		{[]string{"1e20"}, 0},
		{[]string{"0x10"}, 0},
		{[]string{"NaN"}, 0},
		{[]string{"soon"}, 0},
		{[]string{"120, 240"}, 0},
		{[]string{"١٢"}, 0},
		{[]string{"60", "90"}, 90 * time.Second},
		{[]string{"rubbish", "90"}, 90 * time.Second},
		{[]string{"Mon, 23 Nov 2026 10:05:00 GMT"}, 5 * time.Minute},
		{[]string{"Monday, 23-Nov-26 10:05:00 GMT"}, 5 * time.Minute},
		{[]string{"Mon Nov 23 10:05:00 2026"}, 5 * time.Minute},
		{[]string{"Mon, 23 Nov 2026 09:59:59 GMT"}, 0},
		{[]string{"Thu, 01 Jan 1970 00:00:00 GMT"}, 0},
		{[]string{"Fri, 31 Dec 9999 23:59:59 GMT"}, day},
		{[]string{"2026-11-23T10:05:00Z"}, 0},
	} {
		if got := retryAfter(tc.lines, now); got != tc.want {
			t.Errorf("Retry-After %q = %s, want %s", tc.lines, got, tc.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for _, seed := range []string{"120", "-1", "1e20", "99999999999999999999", now.Format(http.TimeFormat), "Mon Nov 23 10:05:00 2026", "Sunday, 06-Nov-94 08:49:37 GMT"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if got := retryAfter([]string{line}, now); got < 0 || got > webhook.MaxRetryAfter {
			t.Errorf("Retry-After %q = %s", line, got)
		}
	})
}
