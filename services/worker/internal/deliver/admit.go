package deliver

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// maxAgain bounds how often lanes are looked at again at once.
const maxAgain = 3

// admitSoon keeps tickets whose timers rang for admitAllDue.
func (e *Engine) admitSoon(due []*ticket) {
	if len(due) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopping.IsZero() {
		e.turnAway(due, tasks.ErrStopping)
		return
	}
	e.due = append(e.due, due...)
	poke(e.wakeDue)
}

// admitAllDue admits deliveries whose timers rang until ctx ends. It waits for
// lanes, which claiming does not.
func (e *Engine) admitAllDue(ctx, base context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wakeDue:
		}
		for ctx.Err() == nil {
			batch := e.takeDue(maxClaim)
			if len(batch) == 0 {
				break
			}
			e.admitDue(base, batch)
		}
	}
}

func (e *Engine) takeDue(limit int) []*ticket {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(limit, len(e.due))
	batch := e.due[:n:n]
	e.due = e.due[n:]
	return batch
}

// admitDue admits the deliveries whose timers rang, as far as their webhooks'
// windows have room. Others of the same webhook may be older and go first; the
// bell of the one that was passed over is done, as its turn will come.
func (e *Engine) admitDue(ctx context.Context, batch []*ticket) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	tickets := make(map[webhook.DeliveryID]*ticket, len(batch))
	ids, wants := make([]webhook.DeliveryID, 0, len(batch)), perTenant{}
	for _, t := range batch {
		if tickets[t.id] != nil { // of two bells that came one after the other
			t.answer(result{})
			continue
		}
		tickets[t.id] = t
		ids = append(ids, t.id)
		wants[t.party.tenant]++
	}
	room := e.reserve(wants, e.holders.next())
	adm, err := e.cfg.Store.AdmitDue(ctx, ids, room)
	e.settle(nil, room.Lease, adm.Claimed)
	for _, c := range adm.Claimed {
		e.start(c, tickets[c.Delivery])
		delete(tickets, c.Delivery)
	}
	for _, t := range tickets {
		t.answer(result{err: err})
	}
	e.cfg.Doorbell.Ring(adm.Rung)
	if err != nil {
		e.doubt(webhook.Doubt{Holders: []string{room.Holder}, Deliveries: ids}) //nolint:contextcheck // it outlives ctx
		return
	}
	e.admitAgain(ctx, adm.Again, nil)
}

// admitAgain looks once more at webhooks that gained deliveries while a
// statement waited for their locks. What it misses, the relay finds. Webhooks
// without a tenant are rung for only.
func (e *Engine) admitAgain(ctx context.Context, hooks []webhook.WebhookID, tenants map[webhook.WebhookID]webhook.TenantID) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for range maxAgain {
		if len(hooks) == 0 {
			return
		}
		wants := perTenant{}
		for _, hook := range hooks {
			if tenant, known := tenants[hook]; known {
				wants[tenant]++
			}
		}
		room := e.reserve(wants, e.holders.next())
		if tenants == nil {
			room.Ring = webhook.NoLimit
		}
		adm, err := e.cfg.Store.Admit(ctx, hooks, room)
		e.goOn(adm, room.Lease)
		if err != nil {
			e.cfg.Log.WarnContext(ctx, "lanes not looked at again, the relay will", obs.Count(len(hooks)), obs.Err(err))
			e.doubt(webhook.Doubt{Holders: []string{room.Holder}, Webhooks: hooks}) //nolint:contextcheck // it outlives ctx
			return
		}
		hooks = adm.Again
	}
}
