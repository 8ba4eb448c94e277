package limit_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
)

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)} }

func TestTake_burstThenRate(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := limit.New(10, 20, c.now)
	if _, ok := l.Take("acme", 20); !ok {
		t.Fatal("the burst was refused")
	}
	wait, ok := l.Take("acme", 5)
	if ok || wait != 500*time.Millisecond {
		t.Fatalf("5 beyond the burst: %s, %v, want to wait 500ms", wait, ok)
	}
	c.at = c.at.Add(wait - time.Millisecond)
	if wait, ok = l.Take("acme", 5); ok || wait != time.Millisecond {
		t.Errorf("a millisecond too early: %s, %v; a refusal must cost nothing", wait, ok)
	}
	c.at = c.at.Add(wait)
	if _, ok := l.Take("acme", 5); !ok {
		t.Error("refused after the wait")
	}
}

func TestTake_tenantsDoNotShare(t *testing.T) {
	t.Parallel()
	l := limit.New(1, 1, newClock().now)
	for _, tenant := range []webhook.TenantID{"acme", "globex"} {
		if _, ok := l.Take(tenant, 1); !ok {
			t.Errorf("%s was refused", tenant)
		}
	}
}

func TestTake_moreThanTheBurstPassesAlone(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := limit.New(10, 10, c.now)
	if _, ok := l.Take("acme", 1000); !ok {
		t.Error("a full bucket refused what no bucket can hold")
	}
	if wait, ok := l.Take("acme", 1000); ok || wait != time.Second {
		t.Errorf("again at once: %s, %v", wait, ok)
	}
}

// A bucket that is not full survives the change of generations, however often.
func TestTake_rememberedWhileItMatters(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := limit.New(10, 10, c.now)
	allowed := 0
	for range 100 { // 10 s, every 100 ms
		for range 5 {
			if _, ok := l.Take("acme", 1); ok {
				allowed++
			}
		}
		l.Take(webhook.TenantID(fmt.Sprint("other", c.at.UnixNano())), 1)
		c.at = c.at.Add(100 * time.Millisecond)
	}
	if allowed < 105 || allowed > 110 {
		t.Errorf("allowed %d in 10 s, want the burst of 10 and 10 a second", allowed)
	}
}

func TestTake_memoryIsBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := limit.New(10, 1000, c.now)
	for i := range 5 * limit.MaxTenants {
		l.Take(webhook.TenantID(fmt.Sprint("tenant", i)), 1)
	}
	if n := l.Tenants(); n > 2*limit.MaxTenants {
		t.Errorf("%d tenants are remembered", n)
	}
	c.at = c.at.Add(time.Hour)
	l.Take("acme", 1)
	c.at = c.at.Add(time.Hour)
	l.Take("globex", 1)
	if n := l.Tenants(); n > 2 {
		t.Errorf("%d tenants are remembered after two hours", n)
	}
}

func TestTake_nilAllowsEverything(t *testing.T) {
	t.Parallel()
	l := limit.New(0, 0, time.Now)
	for range 10 {
		if _, ok := l.Take("acme", 1_000_000); !ok {
			t.Fatal("refused")
		}
	}
}

// TestTake_overlappingRefusalsCostNothing: what is left stays left, however many
// are refused at the same time.
func TestTake_overlappingRefusalsCostNothing(t *testing.T) {
	t.Parallel()
	l := limit.New(1, 10, newClock().now)
	if _, ok := l.Take("acme", 5); !ok {
		t.Fatal("refused")
	}
	var refused sync.WaitGroup
	for range 8 {
		refused.Go(func() {
			for range 5_000 {
				if _, ok := l.Take("acme", 10); ok {
					t.Error("10 were taken of 5")
				}
			}
		})
	}
	refused.Wait()
	if wait, ok := l.Take("acme", 5); !ok {
		t.Errorf("the 5 that are left were refused for %s", wait)
	}
}

// TestCharge_isOwed: what a request turned out to cost is taken from what comes
// next, and no more than a full bucket is owed.
func TestCharge_isOwed(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := limit.New(10, 20, c.now)
	l.Charge("acme", 15)
	l.Charge("acme", 15)
	if wait, ok := l.Take("acme", 1); ok || wait != 1100*time.Millisecond {
		t.Errorf("10 owed: %s, %v, want to wait 1.1s", wait, ok)
	}
	if _, ok := l.Take("globex", 20); !ok {
		t.Error("another tenant was refused")
	}
	c.at = c.at.Add(1100 * time.Millisecond)
	if _, ok := l.Take("acme", 1); !ok {
		t.Error("refused after the wait")
	}
	l.Charge("acme", 1_000_000)
	if wait, ok := l.Take("acme", 1); ok || wait > 3*time.Second {
		t.Errorf("a million owed: %s, %v", wait, ok)
	}
	var none *limit.Limiter
	none.Charge("acme", 1)
}
