package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	// lateAfter is what a mutation may take, and a delivery from the mutation's
	// answer to its record, before it counts as disturbed by the fault.
	lateAfter = time.Second
	// retryTakes is what a delivery may take in addition whose first attempt the
	// receiver refused.
	retryTakes = 4 * time.Second
)

// result is a row of the table.
type result struct {
	Fault string `json:"fault"`
	Title string `json:"title"`
	// Accepted counts events whose mutation was answered with success, at last.
	Accepted int `json:"accepted"`
	// Refused counts the other first answers, by what was answered.
	Refused map[string]int `json:"refused"`
	// Unanswered counts the mutations among them whose events were committed.
	Unanswered int `json:"unanswered"`
	// Owed counts the deliveries of all events that were accepted or committed.
	Owed int `json:"owed"`
	// Delivered counts those that arrived and are recorded as success, Lost the others.
	Delivered int `json:"delivered"`
	Lost      int `json:"lost"`
	// Late counts those that took more than a second.
	Late int `json:"late"`
	// Duplicated counts requests that came again, Unexcused those among them that
	// the fault does not explain, Excused those that it could have explained.
	Duplicated int `json:"duplicated"`
	Unexcused  int `json:"unexcused"`
	Excused    int `json:"excused"`
	// Unknown counts requests of which PostgreSQL knows nothing, Strays deliveries
	// that it knows and that no event owes.
	Unknown int `json:"unknown"`
	Strays  int `json:"strays"`
	// Recovery is the seconds from the fault until the last late delivery was
	// recorded, or the last mutation late or refused; 0 when there was none.
	Recovery float64 `json:"recovery"`
	// Lasted is the seconds that the fault itself took, restart included.
	Lasted float64 `json:"lasted"`
	// Broken are the promises that were not kept.
	Broken []string `json:"broken,omitempty"`
}

// books is all that is known about a row when it is over.
type books struct {
	fault     fault
	struck    time.Time
	lasted    time.Duration
	excused   excuses
	mutations []*mutation
	before    []storedEvent // before refused clients asked again
	stored    ledger
	arrived   []stage.Arrival
	drained   bool                        // nothing is owed any more
	hooks     map[webhook.TenantID][]hook // all of a tenant's are owed all of its events
	odd       []string                    // what should not be
}

// balance compares what was answered, what is stored and what arrived.
func (b books) balance() result {
	r := result{
		Fault: b.fault.name, Title: b.fault.title, Refused: map[string]int{}, Excused: len(b.excused),
		Lasted: b.lasted.Seconds(), Broken: b.odd,
	}
	trouble := b.weighMutations(&r)
	if last := b.weighDeliveries(&r); last.After(trouble) {
		trouble = last
	}
	r.Recovery = max(0, trouble.Sub(b.struck).Seconds())
	if r.Lost > 0 {
		r.breaks("%d deliveries lost", r.Lost)
	}
	if r.Strays > 0 {
		r.breaks("%d deliveries are stored that no event owes", r.Strays)
	}
	if b.fault.strands && r.Excused == 0 {
		r.breaks("nothing was in flight when the fault struck")
	}
	if limit := b.fault.limit(b.lasted); r.Recovery > limit.Seconds() {
		r.breaks("recovered after %.1f s, not within %.1f s", r.Recovery, limit.Seconds())
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Refused)) {
		if !slices.Contains(b.fault.refusals, kind) {
			r.breaks("%d mutations were answered %s", r.Refused[kind], kind)
		}
	}
	return r
}

func (r *result) breaks(format string, values ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, values...))
}

// ok tells whether the system kept its promises.
func (r result) ok() bool { return len(r.Broken) == 0 }

// weighMutations checks that answered mutations are complete, refused ones all or
// nothing, and repeated ones done once: with an idempotency key as the same, without
// as another one. It returns the last sign of trouble.
func (b books) weighMutations(r *result) (trouble time.Time) {
	before, after := countByTag(b.before), countByTag(b.stored.events)
	half, wrong, late, again := 0, 0, 0, 0
	for _, m := range b.mutations {
		if m.refusal != "" && !r.refuse(m, before[m.tag]) {
			half++
		}
		if m.refusal != "" || m.ended.Sub(m.sent) > lateAfter {
			trouble = latest(trouble, m.ended)
		}
		switch {
		case m.refusal != "" && !m.keyed:
			if after[m.tag] != before[m.tag] {
				late++
			}
		case m.again != nil:
			again++
		default:
			r.Accepted += len(m.events)
			if after[m.tag] != m.size || len(m.events) != m.size {
				wrong++
			}
		}
	}
	for _, broken := range []struct {
		n   int
		how string
	}{
		{half, "half done"},
		{wrong, "answered with success are not stored exactly once"},
		{late, "refused without a key are stored otherwise later"},
		{again, "refused again when all was well"},
	} {
		if broken.n > 0 {
			r.breaks("%d mutations %s", broken.n, broken.how)
		}
	}
	return trouble
}

// refuse counts a refused mutation, and tells whether it is whole or nothing.
func (r *result) refuse(m *mutation, stored int) bool {
	r.Refused[m.refusal]++
	if stored == m.size {
		r.Unanswered++
	}
	return stored == 0 || stored == m.size
}

func countByTag(events []storedEvent) map[string]int {
	counts := map[string]int{}
	for _, e := range events {
		counts[e.tag]++
	}
	return counts
}

// owing is an event that owes deliveries, and since when. When it was repeated,
// the system has been well again before, and all repetitions come at once.
type owing struct {
	tenant   webhook.TenantID
	since    time.Time
	repeated bool
}

func (b books) owing() map[webhook.EventID]owing {
	events := map[webhook.EventID]owing{}
	for _, e := range b.stored.events {
		events[e.id] = owing{tenant: e.tenant, since: e.id.Time()}
	}
	for _, m := range b.mutations {
		for _, id := range m.events {
			events[id] = owing{tenant: m.tenant, since: m.ended, repeated: m.refusal != "" || m.repeats}
		}
	}
	return events
}

// weighDeliveries counts what was owed, what came and what is recorded. It returns
// when the last late one was recorded.
func (b books) weighDeliveries(r *result) (trouble time.Time) {
	came := b.weighRequests(r)
	owed := make(map[webhook.DeliveryID]bool, len(b.stored.deliveries))
	for id, event := range b.owing() {
		for _, hook := range b.hooks[event.tenant] {
			r.Owed++
			delivery := webhook.DeliveryIDFor(id, hook.id)
			owed[delivery] = true
			at := b.stored.deliveries[delivery].succeeded
			if !came[delivery.String()] || at.IsZero() {
				r.Lost++
				continue
			}
			r.Delivered++
			if hook.flaky && stage.Refuses(delivery.String()) {
				at = at.Add(-retryTakes) // that much is the receiver's doing
			}
			if at.Sub(event.since) > lateAfter && !event.repeated {
				r.Late++
				trouble = latest(trouble, at)
			}
		}
	}
	for delivery := range b.stored.deliveries {
		if !owed[delivery] {
			r.Strays++
		}
	}
	return trouble
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// weighRequests returns which deliveries came and were answered with success. Every
// request must belong to a recorded attempt; one that repeats an attempt, or comes
// after a success, needs an excuse of its own.
func (b books) weighRequests(r *result) (answered map[string]bool) {
	answered, seen := map[string]bool{}, map[try]bool{}
	known := make(map[string]int, len(b.stored.deliveries))
	for id, d := range b.stored.deliveries {
		known[id.String()] = d.attempts
	}
	left := slices.Clone(b.excused)
	var repeated, unknown try // the last of those that should not be
	for _, a := range slices.SortedStableFunc(slices.Values(b.arrived), byTime) {
		this := try{a.Delivery, a.Attempt}
		if seen[this] || answered[a.Delivery] {
			r.Duplicated++
			if !left.take(this) {
				r.Unexcused++
				repeated = this
			}
		}
		if attempts, stored := known[a.Delivery]; !stored || b.drained && a.Attempt > attempts {
			r.Unknown++
			unknown = this
		}
		seen[this] = true
		answered[a.Delivery] = answered[a.Delivery] || a.Answered
	}
	if r.Unexcused > 0 {
		r.breaks("%d requests came again that no fault had cut off, as attempt %d of %s", r.Unexcused, repeated.attempt, repeated.delivery)
	}
	if r.Unknown > 0 {
		r.breaks("%d requests came that are not recorded, as attempt %d of %s", r.Unknown, unknown.attempt, unknown.delivery)
	}
	return answered
}

func byTime(a, b stage.Arrival) int { return cmp.Compare(a.Nanos, b.Nanos) }
