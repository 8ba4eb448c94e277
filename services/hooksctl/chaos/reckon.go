package main

import (
	"context"
	"fmt"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// lateAfter is what a delivery may take, from the mutation's answer to its
// record, before it counts as disturbed by the fault.
const lateAfter = 500 * time.Millisecond

// window is how many requests to one webhook may be in flight (the default of
// HOOKS_ENDPOINT_CONCURRENCY).
const window = 10

// result is a row of the table.
type result struct {
	Fault string `json:"fault"`
	Title string `json:"title"`
	// Accepted counts events whose mutation was answered with success, Refused
	// the other mutations by what was answered.
	Accepted int            `json:"accepted"`
	Refused  map[string]int `json:"refused"`
	// Unanswered counts refused mutations whose event is committed all the same.
	Unanswered int `json:"unanswered"`
	// Owed counts the deliveries of events that were accepted or committed.
	Owed int `json:"owed"`
	// Delivered counts those that arrived and are recorded as success, Lost the others.
	Delivered  int `json:"delivered"`
	Lost       int `json:"lost"`
	Duplicated int `json:"duplicated"`
	// MostDuplicated is how many duplicates the fault excuses.
	MostDuplicated int `json:"mostDuplicated"`
	// Recovery is the seconds from the fault until the last late delivery was
	// recorded, or the last mutation refused; 0 when there was none.
	Recovery float64 `json:"recovery"`
	// Lasted is the seconds that the fault itself took, restart included.
	Lasted float64 `json:"lasted"`
}

// ok tells whether the system kept its promises.
func (r result) ok() bool { return r.Lost == 0 && r.Duplicated <= r.MostDuplicated }

// books is all that is known about a row when it is over.
type books struct {
	fault     fault
	struck    time.Time
	mutations []mutation
	stored    ledger
	arrived   []stage.Arrival
	hooks     map[webhook.TenantID][]webhook.WebhookID // all of them are owed every event
}

// reckon collects what was answered, what is stored and what arrived.
func (s *scene) reckon(ctx context.Context, f fault, mutations []mutation, struck time.Time) (result, error) {
	stored, err := s.stored(ctx)
	if err != nil {
		return result{}, err
	}
	arrived, err := s.receiver.Arrivals(ctx)
	if err != nil {
		return result{}, err
	}
	return books{fault: f, struck: struck, mutations: mutations, stored: stored, arrived: arrived, hooks: s.hooks}.balance(), nil
}

// owing is an event that owes deliveries, and since when.
type owing struct {
	tenant webhook.TenantID
	since  time.Time
}

// balance compares.
func (b books) balance() result {
	r := result{Fault: b.fault.name, Title: b.fault.title, Refused: map[string]int{}}
	if b.fault.repeats {
		r.MostDuplicated = window * tenants * hooksPerTenant
	}
	events := map[webhook.EventID]owing{}
	for id, tenant := range b.stored.events {
		events[id] = owing{tenant, id.Time()}
	}
	var trouble time.Time // the last sign of it
	for _, m := range b.mutations {
		if m.accepted() {
			r.Accepted++
			events[m.event] = owing{m.tenant, m.ended}
			continue
		}
		r.Refused[m.refusal]++
		trouble = latest(trouble, m.ended)
	}
	r.Unanswered = len(events) - r.Accepted
	var came map[string]bool
	came, r.Duplicated = requests(b.arrived)
	for id, event := range events {
		for _, hook := range b.hooks[event.tenant] {
			r.Owed++
			delivery := webhook.DeliveryIDFor(id, hook)
			at, recorded := b.stored.succeeded[delivery]
			if !came[delivery.String()] || !recorded {
				r.Lost++
				continue
			}
			r.Delivered++
			if at.Sub(event.since) > lateAfter {
				trouble = latest(trouble, at)
			}
		}
	}
	r.Recovery = max(0, trouble.Sub(b.struck).Seconds())
	return r
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// requests returns which deliveries came and were answered, and how many
// requests came for one that had come before.
func requests(arrived []stage.Arrival) (answered map[string]bool, again int) {
	answered, seen := map[string]bool{}, map[string]bool{}
	for _, a := range arrived {
		if seen[a.Delivery] {
			again++
		}
		seen[a.Delivery] = true
		answered[a.Delivery] = answered[a.Delivery] || a.Answered
	}
	return answered, again
}

// ledger is what PostgreSQL holds.
type ledger struct {
	events    map[webhook.EventID]webhook.TenantID
	succeeded map[webhook.DeliveryID]time.Time // when that was recorded
}

func (s *scene) stored(ctx context.Context) (ledger, error) {
	l := ledger{events: map[webhook.EventID]webhook.TenantID{}, succeeded: map[webhook.DeliveryID]time.Time{}}
	var events []struct {
		ID     string `db:"id"`
		Tenant string `db:"tenant_id"`
	}
	if err := s.system.DB.SelectContext(ctx, &events, `SELECT id, tenant_id FROM events`); err != nil {
		return ledger{}, fmt.Errorf("listing events: %w", err)
	}
	for _, e := range events {
		id, err := webhook.EventIDFromUUID(e.ID)
		if err != nil {
			return ledger{}, err
		}
		l.events[id] = webhook.TenantID(e.Tenant)
	}
	var deliveries []struct {
		ID string    `db:"id"`
		At time.Time `db:"completed_at"`
	}
	if err := s.system.DB.SelectContext(ctx, &deliveries, `SELECT id, completed_at FROM deliveries WHERE status = 'success'`); err != nil {
		return ledger{}, fmt.Errorf("listing deliveries: %w", err)
	}
	for _, d := range deliveries {
		id, err := webhook.DeliveryIDFromUUID(d.ID)
		if err != nil {
			return ledger{}, err
		}
		l.succeeded[id] = d.At
	}
	return l, nil
}
