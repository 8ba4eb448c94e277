package deliver

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// maxClaim bounds one statement.
	maxClaim = 500
	// storeTimeout bounds one statement when PostgreSQL does not answer at all.
	storeTimeout = 20 * time.Second
)

// holders names leases, each claim by a name of its own: a lease that ended and
// was taken again by the same worker is not the same lease.
type holders struct {
	worker string
	n      atomic.Uint64
}

func (h *holders) next() string { return h.worker + "/" + strconv.FormatUint(h.n.Add(1), 36) }

// claimAll claims for waiting tickets until ctx ends. It locks no lanes, and so
// no webhook's lane can hold it up.
func (e *Engine) claimAll(ctx, base context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for ctx.Err() == nil {
			batch := e.take(maxClaim)
			if len(batch) == 0 {
				break
			}
			e.claim(base, batch)
			e.awaitClaims(ctx, base)
		}
	}
}

// claim leases what it can of a batch, for which slots are taken, and starts
// sending it.
func (e *Engine) claim(ctx context.Context, batch []*ticket) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	tickets := make(map[webhook.DeliveryID]*ticket, len(batch))
	ids := make([]webhook.DeliveryID, 0, len(batch))
	for _, t := range batch {
		if twin := tickets[t.id]; twin != nil { // rung twice at once: the first one gets it
			t.answer(result{})
			continue
		}
		tickets[t.id] = t
		ids = append(ids, t.id)
	}
	holder, ended := e.holders.next(), e.watch()
	claims, err := e.cfg.Store.Claim(ctx, ids, holder)
	ended(err)
	e.settle(batch, nil, claims)
	for _, c := range claims {
		e.start(c, tickets[c.Delivery])
		delete(tickets, c.Delivery)
	}
	var due []*ticket
	for _, t := range tickets {
		if t.due && err == nil {
			due = append(due, t)
			continue
		}
		t.answer(result{err: err}) // what could not be claimed may be at fault itself: it is tried again more and more seldom
	}
	e.admitSoon(due)
	if err != nil {
		e.doubt(webhook.Doubt{Holders: []string{holder}, Deliveries: ids}) //nolint:contextcheck // it outlives ctx
	}
}

// doubt clears a doubt in the background. The caller is at work on claims, or
// is the one that waits for unsettled.
func (e *Engine) doubt(d webhook.Doubt) {
	e.unsettled.Add(1)
	go func() { // waited for by unsettled
		defer e.unsettled.Done()
		e.clearDoubts(context.Background(), d)
	}()
}

// start sends a claimed delivery, for which a slot is taken. It counts as
// unsettled until it is released or its outcome is dealt with: recording an
// outcome may start the next delivery, even while the engine stops.
func (e *Engine) start(c webhook.Claim, t *ticket) {
	e.unsettled.Add(1)
	e.jobs <- job{c, t} // there is room for as many as there are slots
}

// release gives up a claim whose request was not made. Unless a fault of its own
// kept it, somebody is rung for it; with a fault, the relay tries again, more
// and more seldom.
func (e *Engine) release(c webhook.Claim, t *ticket, why string, fault error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	level := slog.LevelWarn
	if fault == nil && e.isStopping() {
		level = slog.LevelInfo
	}
	e.cfg.Log.Log(ctx, level, "claim released", slog.String("reason", why),
		obs.Delivery(c.Delivery), obs.Webhook(c.Webhook), obs.Attempt(c.Attempt), obs.Err(fault))
	err := e.cfg.Store.Release(ctx, []webhook.Claim{c})
	if err == nil && fault == nil {
		e.cfg.Doorbell.Ring([]webhook.Owed{c.Owed})
	}
	t.answer(result{err: err})
}
