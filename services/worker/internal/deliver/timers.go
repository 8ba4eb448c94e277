package deliver

import (
	"slices"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// maxTimers is how many deliveries of one webhook this worker lets wait for
// their next attempt in Redis at once. The rest waits in PostgreSQL, where the
// relay and the recording of others find it when it is due: Redis stays small
// however long the backlog of a receiver that fails.
const maxTimers = 100

// timers counts the retry timers that this worker has set per webhook.
type timers struct {
	mu   sync.Mutex
	set  map[webhook.WebhookID][]time.Time
	adds int
}

// tidyEvery is how many timers are set between two looks at all webhooks.
const tidyEvery = 1000

func newTimers() *timers { return &timers{set: map[webhook.WebhookID][]time.Time{}} }

// add reports whether a timer for at may be set, and counts it if so.
func (t *timers) add(hook webhook.WebhookID, now, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.adds++; t.adds%tidyEvery == 0 {
		t.forget(now)
	}
	times := t.set[hook]
	if len(times) >= maxTimers {
		times = slices.DeleteFunc(times, func(due time.Time) bool { return !due.After(now) })
	}
	ok := len(times) < maxTimers
	if ok {
		times = append(times, at)
	}
	t.set[hook] = times
	return ok
}

// forget drops webhooks without a timer in the future. The caller holds mu.
func (t *timers) forget(now time.Time) {
	for hook, times := range t.set {
		if !slices.ContainsFunc(times, func(due time.Time) bool { return due.After(now) }) {
			delete(t.set, hook)
		}
	}
}
