// Package limit bounds how fast each tenant may go, and how much of it may go on
// at once.
//
// It promises that a tenant who stays below the rate is never refused, that what
// one tenant does leaves the others' allowance alone, that a refusal costs nothing
// and says when to come back, and that memory is bounded however many tenants
// there are.
//
// Each process counts for itself: behind n of them a tenant gets up to n times
// as much. That is for protection, not for billing, and costs no round trip.
package limit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// maxTenants bounds the tenants of one generation; about 20 MiB for both.
const maxTenants = 100_000

// Limiter is a token bucket per tenant. It is safe for concurrent use; nil never
// refuses.
type Limiter struct {
	perSecond rate.Limit
	burst     int
	now       func() time.Time
	// refill is how long an empty bucket takes to be full. A tenant who was away
	// for longer needs no bucket.
	refill time.Duration

	mu sync.Mutex
	// Two generations stand for a cache by age: who is seen moves to the newer,
	// the older is forgotten as a whole.
	newer, older map[webhook.TenantID]*rate.Limiter
	since        time.Time
}

// New returns a limiter that allows perSecond in the long run and burst at once;
// nil, which allows everything, when perSecond is 0.
func New(perSecond, burst int, now func() time.Time) *Limiter {
	if perSecond == 0 {
		return nil
	}
	return &Limiter{
		perSecond: rate.Limit(perSecond), burst: burst, now: now,
		refill: time.Duration(float64(burst) / float64(perSecond) * float64(time.Second)),
		newer:  map[webhook.TenantID]*rate.Limiter{}, since: now(),
	}
}

// Take takes n from a tenant's allowance, all or nothing. When that is refused,
// wait is how long to stay away. More than the burst counts as the burst: it can
// pass when nothing else does.
func (l *Limiter) Take(tenant webhook.TenantID, n int) (wait time.Duration, ok bool) {
	if l == nil {
		return 0, true
	}
	now, n := l.now(), min(n, l.burst)
	bucket := l.bucket(tenant, now)
	// Nothing is reserved and given back: two who are refused at the same time
	// would each find the other's tokens gone, and not all of them come back.
	if bucket.AllowN(now, n) {
		return 0, true
	}
	missing := float64(n) - bucket.TokensAt(now)
	wait = time.Duration(missing / float64(l.perSecond) * float64(time.Second))
	// Whole milliseconds, upwards: who comes back then must not be early.
	return max(wait+time.Millisecond-1, time.Millisecond).Truncate(time.Millisecond), false
}

// Charge takes n from a tenant's allowance whatever is left of it: whoever comes
// next waits for it. It is for what is known afterwards.
func (l *Limiter) Charge(tenant webhook.TenantID, n int) {
	if l == nil || n <= 0 {
		return
	}
	now := l.now()
	l.bucket(tenant, now).ReserveN(now, min(n, l.burst))
}

func (l *Limiter) bucket(tenant webhook.TenantID, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.newer[tenant]; ok {
		return b
	}
	// Buckets of the older generation have not been used since the newer one
	// began, so after refill they are full. When there are too many tenants, some
	// get a full bucket before its time: that errs on the callers' side.
	if now.Sub(l.since) >= l.refill || len(l.newer) >= maxTenants {
		l.older, l.newer, l.since = l.newer, map[webhook.TenantID]*rate.Limiter{}, now
	}
	b, ok := l.older[tenant]
	if !ok {
		b = rate.NewLimiter(l.perSecond, l.burst)
	}
	l.newer[tenant] = b
	return b
}
