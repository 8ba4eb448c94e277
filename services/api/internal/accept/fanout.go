package accept

import (
	"sync"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// maxFanouts bounds what is remembered; what was forgotten is taken for the most
// that there can be.
const maxFanouts = 50_000

// fanouts remembers how many webhooks wanted the last event of each type. That
// may have changed since: it decides who is stored with whom, nothing else.
type fanouts struct {
	mu   sync.Mutex
	last map[subject]int
}

// subject is what webhooks subscribe to.
type subject struct {
	tenant    webhook.TenantID
	eventType string
}

func newFanouts() *fanouts { return &fanouts{last: map[subject]int{}} }

func subjectOf(e webhook.Event) subject { return subject{e.Tenant, e.Type.String()} }

// weigh is how many deliveries a submission is expected to owe; an event that
// nobody wants has to be stored, too.
func (f *fanouts) weigh(s webhook.Submission) (weight int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range s.Events {
		last, known := f.last[subjectOf(e.Event)]
		if !known {
			last = webhook.MaxWebhooksPerTenant
		}
		weight += max(last, 1)
	}
	return weight
}

// learn takes note of what a submission owed.
func (f *fanouts) learn(s webhook.Submission, receipt webhook.Receipt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, e := range receipt.Events {
		if e.Duplicate {
			continue // it tells of former times
		}
		key := subjectOf(s.Events[i].Event)
		if _, known := f.last[key]; !known && len(f.last) >= maxFanouts {
			for any := range f.last {
				delete(f.last, any)
				break
			}
		}
		f.last[key] = e.Deliveries
	}
}
