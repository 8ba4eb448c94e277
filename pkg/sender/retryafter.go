package sender

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// retryAfter returns how long the receiver asks to be left alone: 0 to 24 hours,
// 0 also for what cannot be understood. Of several header lines the longest wait
// counts.
func retryAfter(lines []string, now time.Time) time.Duration {
	var longest time.Duration
	for _, line := range lines {
		longest = max(longest, parseRetryAfter(strings.TrimSpace(line), now))
	}
	return min(longest, webhook.MaxRetryAfter)
}

// parseRetryAfter takes seconds, or a date in one of the three forms of RFC 9110,
// section 5.6.7. Values beyond the cap may come back as any value beyond the cap.
func parseRetryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return webhook.MaxRetryAfter // digits, but too many
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, date.Sub(now))
}
