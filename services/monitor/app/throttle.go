package app

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// An address may fail burst times at once, and once per refill after that.
	addressBurst  = 10
	addressRefill = 6 * time.Second
	// All addresses together may fail this much.
	totalBurst  = 100
	totalRefill = 600 * time.Millisecond
	// maxAddresses bounds the memory that guessing can take.
	maxAddresses = 10_000
	// trusted is how long an address that logged in is spared the total limit,
	// so that guessing from elsewhere does not lock operators out.
	trusted = 24 * time.Hour
)

// throttle counts failures in leaking buckets.
type throttle struct {
	now func() time.Time

	mu        sync.Mutex
	total     bucket
	addresses map[netip.Addr]*visitor
}

type visitor struct {
	failures bucket
	loggedIn time.Time
}

// bucket holds the time at which it will be empty again.
type bucket struct{ emptyAt time.Time }

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, addresses: make(map[netip.Addr]*visitor)}
}

// attempt lets a try to log in, unless it must wait first; 0: it tried. Attempts
// come one after the other: guesses that are made at the same time count as many.
func (t *throttle) attempt(a netip.Addr, try func() bool) (in bool, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if wait := t.wait(a, now); wait > 0 {
		return false, wait
	}
	in = try()
	v := t.visitor(a, now)
	switch {
	case in && v != nil:
		v.loggedIn = now
	case !in:
		t.total.add(now, totalRefill)
		if v != nil {
			v.failures.add(now, addressRefill)
		}
	}
	return in, 0
}

// wait returns how long a must wait before it may try again; 0: it may.
func (t *throttle) wait(a netip.Addr, now time.Time) time.Duration {
	total := t.total.wait(now, totalBurst, totalRefill)
	v, known := t.addresses[a]
	if !known {
		return total
	}
	if now.Sub(v.loggedIn) < trusted {
		total = 0
	}
	return max(total, v.failures.wait(now, addressBurst, addressRefill))
}

// visitor returns nil when there is no room: then only the total limit holds.
func (t *throttle) visitor(a netip.Addr, now time.Time) *visitor {
	if v, known := t.addresses[a]; known {
		return v
	}
	if len(t.addresses) >= maxAddresses {
		for other, v := range t.addresses {
			if !v.failures.emptyAt.After(now) && now.Sub(v.loggedIn) >= trusted {
				delete(t.addresses, other)
			}
		}
		if len(t.addresses) >= maxAddresses {
			return nil
		}
	}
	v := &visitor{}
	t.addresses[a] = v
	return v
}

func (b *bucket) add(now time.Time, refill time.Duration) {
	if b.emptyAt.Before(now) {
		b.emptyAt = now
	}
	b.emptyAt = b.emptyAt.Add(refill)
}

func (b *bucket) wait(now time.Time, burst int, refill time.Duration) time.Duration {
	room := now.Add(time.Duration(burst-1) * refill)
	return max(b.emptyAt.Sub(room), 0)
}
