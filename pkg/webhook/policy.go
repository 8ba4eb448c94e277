package webhook

import "time"

const (
	// MaxBackoff caps the exponential growth.
	MaxBackoff = 12 * time.Hour
	// MaxRetryAfter caps what a receiver may ask for.
	MaxRetryAfter = 24 * time.Hour

	statusGone               = 410
	statusTooManyRequests    = 429
	statusServiceUnavailable = 503
)

// Next is what must happen to a delivery after an attempt.
type Next struct {
	Status DeliveryStatus // Succeeded, Failed or Retrying
	Reason FailureReason  // when Failed
	Delay  time.Duration  // when Retrying: from the end of the attempt
	// DisableWebhook is set by 410: the receiver wants no more.
	DisableWebhook bool
	// QuietFor is how long, from the end of the attempt, the receiver wants no
	// request at all: a Retry-After is about the webhook, not about one delivery.
	QuietFor time.Duration
}

// Decide is the retry policy, the only place that knows it: given how an attempt
// ended and the number that ends the budget, what happens next.
//
// jitter is uniform in [0,1) and spreads the delay over the upper half of the
// backoff interval.
func Decide(p Policy, a Attempt, lastAttempt int, jitter float64) Next {
	next := p.decide(a, lastAttempt, jitter)
	next.QuietFor = quietFor(a)
	return next
}

func (p Policy) decide(a Attempt, lastAttempt int, jitter float64) Next {
	switch {
	case a.OK():
		return Next{Status: Succeeded}
	case a.ErrorClass == ClassStatus && a.ResponseStatus == statusGone:
		return Next{Status: Failed, Reason: ReceiverGone, DisableWebhook: true}
	case a.Number >= lastAttempt && a.ErrorClass == ClassBlocked:
		return Next{Status: Failed, Reason: BlockedAddress}
	case a.Number >= lastAttempt:
		return Next{Status: Failed, Reason: AttemptsExhausted}
	default:
		return Next{Status: Retrying, Delay: p.delay(a, lastAttempt, jitter)}
	}
}

// SuccessStatus reports whether a response status means success: 2xx and
// nothing else. Redirects are answers, not successes.
func SuccessStatus(code int) bool { return code >= 200 && code <= 299 }

// delay is max(backoff, Retry-After). A fresh budget starts the backoff anew,
// although its attempts go on counting.
func (p Policy) delay(a Attempt, lastAttempt int, jitter float64) time.Duration {
	n := min(a.Number, max(1, a.Number-(lastAttempt-p.MaxAttempts)))
	return max(Backoff(p.InitialBackoff, n, jitter), quietFor(a))
}

// quietFor is the Retry-After of an answer that may ask for one.
func quietFor(a Attempt) time.Duration {
	if a.ResponseStatus != statusTooManyRequests && a.ResponseStatus != statusServiceUnavailable {
		return 0
	}
	return max(0, min(a.RetryAfter, MaxRetryAfter))
}

// Backoff is the wait after attempt n (n >= 1): initial * 2^(n-1), capped at
// MaxBackoff, with jitter in [0,1) over the upper half of the interval.
func Backoff(initial time.Duration, n int, jitter float64) time.Duration {
	d := initial
	for i := 1; i < n && d < MaxBackoff; i++ {
		d *= 2
	}
	d = min(d, MaxBackoff)
	return d/2 + time.Duration(jitter*float64(d/2))
}
