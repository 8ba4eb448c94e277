package accept

import (
	"sync"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// maxFanouts bounds what is remembered.
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
// nobody wants has to be stored, too. One of an unknown type may be wanted by as
// many webhooks as there can be.
func (f *fanouts) weigh(s webhook.Submission) (weight int, unknown []webhook.EventType) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[webhook.EventType]bool{}
	for _, e := range s.Events {
		last, known := f.last[subjectOf(e.Event)]
		if !known {
			last = webhook.MaxWebhooksPerTenant
			if !seen[e.Event.Type] {
				seen[e.Event.Type] = true
				unknown = append(unknown, e.Event.Type)
			}
		}
		weight += max(last, 1)
	}
	return weight, unknown
}

// learn takes note of what a submission owed.
func (f *fanouts) learn(s webhook.Submission, receipt webhook.Receipt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, e := range receipt.Events {
		if !e.Duplicate { // which tells of former times
			f.set(subjectOf(s.Events[i].Event), e.Deliveries)
		}
	}
}

// learnOf takes note of how many webhooks want events of each type; none want
// what is not counted.
func (f *fanouts) learnOf(tenant webhook.TenantID, types []webhook.EventType, counted map[webhook.EventType]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, typ := range types {
		f.set(subject{tenant, typ.String()}, counted[typ])
	}
}

func (f *fanouts) set(key subject, fanout int) {
	if _, known := f.last[key]; !known && len(f.last) >= maxFanouts {
		for any := range f.last {
			delete(f.last, any)
			break
		}
	}
	f.last[key] = fanout
}
